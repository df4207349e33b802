"""The command line of the fuzzer: see `tests.fuzz`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy: a forked child has none of its parent's threads
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SAVE = "GATLAS_FUZZ_FAILURES"  # folder of failures


def main() -> int:
    """Fuzz some readers, or read saved failures again; return 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Read damaged inputs with every reader.")
    parser.add_argument("--reader", action="append", help="only this one; may be given several times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=20_000, help="inputs, over all chosen readers")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each reader")
    parser.add_argument("--failures", type=Path, help=f"folder to save failures in; default ${SAVE}, else a new one")
    parser.add_argument("--replay", type=Path, help="a saved failure, or a folder of them")
    parser.add_argument("--list", action="store_true", help="the names of the readers")
    words = parser.parse_args()
    from tests.fuzz.campaign import fuzz, replay
    from tests.fuzz.readers import READERS

    if words.list:
        print("\n".join(READERS))
        return 0
    if words.replay is not None:
        return _replay(replay(words.replay))
    unknown = [name for name in words.reader or () if name not in READERS]
    if unknown:
        parser.error(f"there is no reader {unknown[0]}; there are {', '.join(READERS)}")
    names = words.reader or list(READERS)
    save = words.failures or Path(os.environ.get(SAVE) or tempfile.mkdtemp(prefix="gatlas-fuzz-failures-"))
    shares = sum(READERS[name].share for name in names)
    failed = 0
    for name in names:
        count = max(words.count * READERS[name].share // shares, 1)
        outcome = fuzz(name, seed=words.seed, count=count, first=words.first, save=save)
        print(outcome.line(), flush=True)
        failed += sum(outcome.failures.values())
    print(f"{failed} failures" + (f", saved in {save}" if failed else ""))
    return int(failed > 0)


def _replay(found: list) -> int:
    bad = 0
    for folder, entry in found:
        good = entry["status"] in ("ok", "refused")
        bad += not good
        print(f"{'good' if good else 'BAD '} {folder.name}: {entry['status']} {entry['where']} {entry['said'][:150]!r}")
    print(f"{bad} of {len(found)} fail")
    return int(bad > 0 or not found)


if __name__ == "__main__":
    sys.exit(main())
