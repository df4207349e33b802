"""Commands that are killed, run out of disk and run twice at once; and what their outputs must hold in the end."""

import json
import os
from pathlib import Path
from typing import NamedTuple

from gatlas import io
from tests.helpers.command_line import expect, run_here
from tests.helpers.splat_files import gaussians_of
from tests.robustness.forked import run

LOG = "log.jsonl"
SELDOM = (".lock", "tensorboard")  # of a run: not its results


class Scenario(NamedTuple):
    """A command, run in a folder with `in/` beside it."""

    words: tuple[str, ...]
    out: str  # what it makes
    again: tuple[str, ...] = ()  # what is added to the command to go on
    grows: bool = False  # its folder holds more than results while it is at work

    @property
    def resumed(self):
        return [*self.words, *self.again]


PRUNE = ("prune", "../in", "-n", "20", "--score", "opacity")
ENCODE = ("atlas-encode", "../in", "--size", "6", "--check", "--report", "out/{stem}.json")
TRAIN = (
    *("train", "10", "-o", "run", "--system", "toy", "--resume", "latest", "--device", "cpu"),
    *("--log-every", "5", "--set", "checkpoint_every=3", "--set", "sample_every=10"),
)
SCENARIOS = {
    "folder": Scenario((*PRUNE, "-o", "out/"), "out"),
    "reports": Scenario((*ENCODE, "-o", "out/"), "out"),
    "tar": Scenario((*PRUNE, "-o", "x.tar"), "."),
    "folder --jobs 2": Scenario((*PRUNE, "-o", "out/", "--jobs", "2"), "out"),
    "tar --jobs 2": Scenario((*PRUNE, "-o", "x.tar", "--jobs", "2"), "."),
    "render": Scenario(
        ("render", "../in", "--orbit", "2", "--width", "8", "--threads", "1", "-o", "out/{stem}/"), "out"
    ),
    "render --force": Scenario(
        ("render", "../in/a.ply", "--orbit", "3", "--width", "8", "--threads", "1", "-o", "out/", "--force"), "out"
    ),
    "one file": Scenario(("prune", "../in/a.ply", "-n", "20", "--score", "opacity", "-o", "x.ply", "--force"), "."),
    "train": Scenario(TRAIN, "run", grows=True),
}  # fmt: skip


def prepare(folder, names="abcd"):
    """Write the inputs, and make everything once in this process: children share what is compiled and imported."""
    import torch

    import gatlas.systems

    torch.set_num_threads(1)
    gatlas.systems.SYSTEMS["toy"] = "tests.helpers.toy_system"
    (folder / "in").mkdir()
    for number, name in enumerate(names):
        io.save_gaussians(folder / "in" / f"{name}.ply", gaussians_of(36, seed=number))
    for number, scenario in enumerate(SCENARIOS.values()):
        place = folder / f"warm-{number}"
        place.mkdir()
        expect(run_here(scenario.words, place), 0)


def reference(folder, name):
    """Return what a scenario makes without a fault, in a folder beside the inputs, and the number of its events."""
    (folder / "in").symlink_to("../in")
    place = folder / "reference"
    place.mkdir()
    run(SCENARIOS[name].words, place)
    made = results(place)
    assert made
    return made, int(Path(f"{place}.count").read_text())


def results(place):
    """Return what is in a folder, path -> content, without what differs from run to run."""
    found = {}
    for path in sorted(Path(place).rglob("*")):
        name = path.relative_to(place).as_posix()
        if path.is_dir() or any(part in name.split("/") for part in SELDOM):
            continue
        content = path.read_bytes()
        if name.endswith("manifest.jsonl") or "manifest-" in name:
            content = _manifest(content)
        elif name.endswith(LOG):
            content = _log(content)
        elif name.endswith(".json"):
            content = _without_times(json.loads(content))
        found[name] = content
    return found


def _manifest(content):
    lines = {}
    for raw in content.splitlines():
        line = json.loads(raw)
        lines[line["id"]] = (
            line.get("status"),
            line.get("output_sha256"),
            sorted(map(os.path.basename, line.get("files", {}))),
        )
    return lines


def _log(content):
    lines = [json.loads(raw) for raw in content.splitlines()]
    return [{key: value for key, value in line.items() if key != "steps_per_second"} for line in lines]


def _without_times(value):
    if isinstance(value, dict):
        return {key: _without_times(each) for key, each in value.items() if "seconds" not in key and key != "sha256"}
    return value


def faults_of(place, made, *, grows):
    """Return what stands in a folder after a kill that is not a whole result: [] is as it must be.

    Names that begin with a dot and a tar that is not yet whole are what a run leaves that goes on.
    """
    faults = []
    for path in sorted(Path(place).rglob("*")):
        name = path.relative_to(place).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/")) or name.endswith(".partial")
        if (
            path.is_dir()
            or hidden
            or "manifest" in name
            or name.endswith((LOG, "loss.png", "curves.png", "samples.png"))
            or "tensorboard" in name
        ):
            continue
        content = path.read_bytes()
        if name.endswith(".json"):
            try:
                content = _without_times(json.loads(content))
            except ValueError:
                faults.append(f"{name} is half")
                continue
        if name in made and content != made[name]:
            faults.append(f"{name} differs")
        if name not in made and not grows:
            faults.append(f"{name} is too much")
    return faults
