"""Children that read damaged inputs, the count of what came out, and failures saved as folders."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.fuzz.child import OK, REFUSED, lay_out, make_input, run_child
from tests.fuzz.damage import Files
from tests.fuzz.model_seeds import files_in
from tests.fuzz.readers import READERS, Reader, prepare

HANG = 120.0  # seconds of the clock without a word: it waits for something that never comes
WHY = "WHY.txt"


@dataclass
class Outcome:
    """What came of some inputs of one reader."""

    reader: str
    counts: Counter[str] = field(default_factory=Counter)  # by status
    failures: dict[str, int] = field(default_factory=dict)  # name of each kind of failure -> how many
    seconds: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def line(self) -> str:
        """Return one line of a report."""
        bad = "; ".join(f"{name} x{count}" for name, count in self.failures.items())
        rate = self.total / max(self.seconds, 1e-9)
        return (
            f"{self.reader:<15} {self.total:>6} inputs  {self.counts[OK]:>6} read  {self.counts[REFUSED]:>6} refused  "
            f"{self.total - self.counts[OK] - self.counts[REFUSED]:>4} failed  {rate:>6.0f}/s  {bad}"
        ).rstrip()


def fuzz(name: str, *, seed: int, count: int, first: int = 0, save: Path | None = None) -> Outcome:
    """Read `count` damaged inputs with a reader; failures are saved below `save`, one of each kind."""
    reader = READERS[name]
    seeds = prepare(reader)
    outcome = Outcome(name)
    start, number, end = time.monotonic(), first, first + count
    _check_valid(outcome, reader, seeds)
    with TemporaryDirectory(prefix="gatlas-fuzz-", dir=_memory_folder()) as folder:
        while number < end:
            for entry in _read_in_child(name, reader, seeds, seed, range(number, end), Path(folder)):
                outcome.counts[entry["status"]] += 1
                if entry["status"] not in (OK, REFUSED):
                    _note(outcome, reader, seeds, seed, entry, save)
                number = entry["number"] + 1
    outcome.seconds = time.monotonic() - start
    return outcome


def _check_valid(outcome: Outcome, reader: Reader, seeds: list[Files]) -> None:
    """Note valid inputs that are not read: damage to those would show nothing."""
    for files in seeds:
        entry = read_once(reader, files, seconds=100.0)  # kernels may have to be compiled
        if entry["status"] != OK:
            outcome.failures[f"{outcome.reader}_valid_input_{entry['status']}: {entry['said']}"] = 1


def _memory_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _read_in_child(name: str, reader: Reader, seeds: list[Files], seed: int, numbers: range, folder: Path) -> Any:
    """Yield what a child says of its inputs and, where it dies, of the one that it died of."""
    results, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(results)
        try:
            run_child(name, reader, seeds, seed, numbers, folder, end)
        except BaseException:
            traceback.print_exc()  # a fault of the fuzzer itself
        finally:
            os._exit(3)
    os.close(end)
    hung, pending, number = False, b"", numbers.start
    with open(results, "rb", buffering=0) as stream:
        while True:
            if not select.select([stream], [], [], HANG * max(reader.seconds / 5.0, 1.0))[0]:
                hung = True
                os.kill(child, signal.SIGABRT)
                time.sleep(0.5)
                os.kill(child, signal.SIGKILL)
            piece = stream.read(1 << 16)
            if not piece:
                break
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                entry = json.loads(line)
                number = entry["number"] + 1
                yield entry
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        yield _death(name, reader, seeds, seed, number, status, hung, folder)


def _death(
    name: str, reader: Reader, seeds: list[Files], seed: int, number: int, status: int, hung: bool, folder: Path
) -> dict[str, Any]:
    words = (folder / "last-words").read_text(errors="replace")
    said = (folder / "output").read_text(errors="replace")[-2000:]
    if hung:
        kind, what = "hang", f"nothing for {HANG:g} s"
    elif status == -signal.SIGPROF:
        kind, what = "slow", f"more than {reader.seconds:g} s of a processor"
    else:
        kind, what = "killed", f"the process ended with {status}"
    ours = re.findall(r'File "[^"]*/gatlas/(?:[^"]*/)?([^"/]+)", line (\d+)', words)
    file = make_input(name, seeds, seed, number, reader.fixed)[2]
    where = f"{ours[0][0]}_{ours[0][1]}" if ours else ""
    return {"number": number, "file": file, "status": kind, "said": what, "where": where, "trace": words[-4000:] + said}


def _note(
    outcome: Outcome, reader: Reader, seeds: list[Files], seed: int, entry: dict[str, Any], save: Path | None
) -> None:
    """Count a failure, and save the first of its kind."""
    name = re.sub(r"[^\w.-]", "_", f"{outcome.reader}_{entry['status']}_{entry['where']}")
    outcome.failures[name] = outcome.failures.get(name, 0) + 1
    if save is None or outcome.failures[name] > 1:
        return
    valid, changed, _ = make_input(outcome.reader, seeds, seed, entry["number"], reader.fixed)
    folder = save / name
    lay_out(folder, {**valid, **changed}, {})
    words = [
        f"reader {outcome.reader}", f"mutated {entry['file']}", f"status {entry['status']}", entry["said"], "",
        f"made by: python -m tests.fuzz --reader {outcome.reader} --seed {seed} --first {entry['number']} --count 1",
        f"to see it again: python -m tests.fuzz --replay {folder}", "", entry.get("trace", ""),
    ]  # fmt: skip
    (folder / WHY).write_text("\n".join(words), errors="backslashreplace")


def replay(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return what comes of saved inputs: of one folder, or of every folder in it. Each is read in a child."""
    saved = [folder] if (folder / WHY).is_file() else sorted(path.parent for path in folder.glob(f"*/{WHY}"))
    found = []
    for each in saved:
        name = (each / WHY).read_text(errors="replace").split("\n")[0].removeprefix("reader ").strip()
        if name in READERS:
            prepare(READERS[name])
            files = files_in(each)
            files.pop(WHY, None)
            found.append((each, read_once(READERS[name], files)))
    return found


def read_once(reader: Reader, files: Files, seconds: float | None = None) -> dict[str, Any]:
    """Return what comes of an input that is not damaged further, read in a child; `seconds` of a processor at most."""
    once = replace(reader, seconds=seconds or reader.seconds)
    with TemporaryDirectory(prefix="gatlas-fuzz-", dir=_memory_folder()) as scratch:
        return next(iter(_read_in_child(_AS_IT_IS, once, [files], 0, range(1), Path(scratch))))


_AS_IT_IS = ""  # the name of a reader whose inputs are not damaged
__all__ = ["Outcome", "fuzz", "read_once", "replay"]
