"""kill -9 at random moments: nothing that was made is lost, nothing is half, and in the end all is as without it.

    python -m tests.robustness.kills [--moments 200] [--seed N] [SCENARIO...]

prints a line per scenario. Half of the moments are of time, half are right before a call that changes a file or folder.
"""

import argparse
import random
import shutil
import tempfile
import time
from pathlib import Path

from tests.robustness.forked import Child
from tests.robustness.scenarios import SCENARIOS, faults_of, prepare, reference, results


def kill_often(folder, name, moments, rng):
    """Kill a scenario so many times, going on in between; return kills, whole runs and a list of what was wrong."""
    scenario = SCENARIOS[name]
    began = time.perf_counter()
    made, events = reference(folder, name)
    seconds = time.perf_counter() - began
    place, wrong, kills, whole, begun = folder / "killed", [], 0, 0, set()
    place.mkdir()
    while kills < moments:
        at = rng.randrange(1, events + 1) if kills % 2 else None
        child = Child(scenario.resumed, place, kill_at=at)
        if at is None:
            time.sleep(rng.uniform(0, seconds))
            child.kill(alone=rng.random() < 0.3)
        code = child.wait()
        if code == -9:
            kills += 1
            wrong += [f"after kill {kills} at {at}: {fault}" for fault in faults_of(place, made, grows=scenario.grows)]
            begun, lost = _whole(place, made), begun - _whole(place, made)
            if lost and not scenario.grows and "--force" not in scenario.words:
                wrong.append(f"after kill {kills} at {at}: lost {sorted(lost)}")
            continue
        if code != 0:
            wrong.append(f"after kill {kills}: exit {code}: {child.said()}")
        else:
            whole += 1
            wrong += _differences(results(place), made)
        if wrong:
            break
        shutil.rmtree(place)
        place.mkdir()
        begun = set()
    code = Child(scenario.resumed, place).wait()
    wrong += _differences(results(place), made) if code == 0 else [f"the last run ended with {code}"]
    return kills, whole + 1, wrong


def _whole(place, made):
    return {name for name in made if name.endswith((".ply", ".npz", ".png", ".tar")) and (place / name).is_file()}


def _differences(found, made):
    names = sorted(found.keys() ^ made.keys())
    return [f"{name} only here or there" for name in names] + [
        f"{name} differs in the end" for name in sorted(found.keys() & made.keys()) if found[name] != made[name]
    ]


def main():
    """Print a line per scenario."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="*", default=list(SCENARIOS))
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    words = parser.parse_args()
    if unknown := set(words.scenarios) - set(SCENARIOS):
        parser.error(f"{sorted(unknown)[0]}: the scenarios are {', '.join(SCENARIOS)}")
    with tempfile.TemporaryDirectory(prefix="gatlas-kills-") as name:
        prepare(Path(name))
        for scenario in words.scenarios:
            folder = Path(name) / scenario.replace(" ", "")
            folder.mkdir()
            rng = random.Random(words.seed)
            began = time.perf_counter()
            kills, whole, wrong = kill_often(folder, scenario, words.moments, rng)
            print(
                f"{scenario:16} {kills:4} kills, {whole:3} whole runs, {len(wrong)} wrong, seed {words.seed}, "
                f"{time.perf_counter() - began:.0f} s",
                flush=True,
            )
            for fault in wrong[:5]:
                print("   ", fault, flush=True)


if __name__ == "__main__":
    main()
