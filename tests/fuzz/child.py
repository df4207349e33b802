"""The process that reads damaged inputs, one after another, within limits of memory and time.

It is forked, so that what the reader imports is there already. Before each input it sets the timer whose end kills it;
the parent sees which input that was, and forks the next child behind it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from gatlas.errors import GatlasError
from gatlas.io.outputs import remove
from tests.fuzz.damage import Files, damaged
from tests.fuzz.readers import Reader, RefusalsError
from tests.fuzz.verdicts import nameless, not_finite, unplain, warning_fault

GROWTH = 1 << 30  # bytes of memory, for one input
_ADDRESSES = 4 << 30  # bytes of address space beyond what the process has: more is a MemoryError
_FRESH = 2  # part of GROWTH: a child whose peak lies higher is replaced, as its next inputs would seem to grow
REFUSED, OK = "refused", "ok"


def make_input(
    name: str, seeds: list[Files], seed: int, number: int, fixed: tuple[str, ...]
) -> tuple[Files, Files, str]:
    """Return a valid input, the files of it that are damaged, and the name of the first of these."""
    rng = Random(f"{name} {seed} {number}")
    valid = rng.choice(seeds)
    if not name:
        return valid, {}, next(iter(valid))  # a saved input, as it is
    return valid, *damaged(valid, rng, fixed)


def run_child(
    name: str, reader: Reader, seeds: list[Files], seed: int, numbers: range, folder: Path, results: int
) -> None:
    """Read the inputs of some numbers, write a line of JSON for each to the descriptor `results`, and exit."""
    output = _limit(folder)
    place = folder / "input"
    present: Files = {}
    for number in numbers:
        valid, changed, file = make_input(name, seeds, seed, number, reader.fixed)
        present = lay_out(place, {**valid, **changed}, present)
        entry = {"number": number, "file": file, **examine(reader, place, output)}
        os.write(results, json.dumps(entry).encode() + b"\n")
        if peak() - resident() > GROWTH // _FRESH:
            break
    os._exit(0)


def lay_out(place: Path, wanted: Files, present: Files) -> Files:
    """Make a folder hold these files, of which `present` are there, and nothing else; return what is there now."""
    for path in list(_others(place, wanted)):
        remove(path)
    for name, content in wanted.items():
        path = place / name
        if present.get(name) is not content or not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return wanted


def _others(place: Path, wanted: Files) -> Iterator[Path]:
    kept = {str(parent) for name in wanted for parent in Path(name).parents}
    for folder, folders, names in os.walk(place):
        for name in [*folders, *names]:
            path = Path(folder, name)
            below = os.path.relpath(path, place)
            if below not in wanted and (below not in kept or path.is_symlink()):
                yield path


def _limit(folder: Path) -> int:
    """Set the limits of this process, and have its streams and the last words of a dying one go to files."""
    output = os.open(folder / "output", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    last_words = os.open(folder / "last-words", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    faulthandler.enable(last_words, all_threads=False)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    faulthandler.register(signal.SIGPROF, last_words, all_threads=False, chain=True)
    space = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + _ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (space, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return output


def examine(reader: Reader, place: Path, output: int = 2) -> dict[str, Any]:
    """Read one input and judge what comes out: its status, what it said, and in which line of code."""
    before = os.fstat(output).st_size
    start = resident()
    signal.setitimer(signal.ITIMER_PROF, reader.seconds)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = _outcome(reader, place)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if found["status"] in (OK, REFUSED):
        sys.stdout.flush()
        if peak() - start > GROWTH:
            found |= {"status": "memory", "said": f"memory grew by {(peak() - start) >> 20} MB"}
        elif os.fstat(output).st_size > before:
            said = os.pread(output, 2000, before).decode("utf-8", "replace")
            found |= {"status": "printed", "said": said}
        elif fault := warning_fault(caught):
            found |= {"status": "warning", "said": fault}
    return found


def _outcome(reader: Reader, place: Path) -> dict[str, Any]:
    try:
        fault = not_finite(reader.read(place))
        return {"status": "nonfinite" if fault else OK, "said": fault or "", "where": ""}
    except GatlasError as error:
        return _refusal([error], reader, place)
    except RefusalsError as refusals:
        return _refusal(refusals.errors, reader, place)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        status = "memoryerror" if isinstance(error, MemoryError) else f"exc_{type(error).__name__}"
        trace = "".join(traceback.format_exception(error, limit=-12))[-4000:]
        return {
            "status": status,
            "said": f"{type(error).__name__}: {error}"[:300],
            "where": _place(error),
            "trace": trace,
        }


def _refusal(errors: list[GatlasError], reader: Reader, place: Path) -> dict[str, Any]:
    """Return the judgement of messages: all must be plain, and name a file."""
    names = [path.name for path in place.rglob("*")]
    for error in errors:
        message = str(error)
        fault = unplain(message.replace(str(place), "")) or (nameless(message, names) if reader.named else None)
        if fault:
            return {"status": "message", "said": f"{fault}: {message[:300]!a}", "where": _place(error)}
    return {"status": REFUSED, "said": str(errors[0])[:300], "where": ""}


def _place(error: BaseException) -> str:
    """Return the last line of ours that an exception went through, as FILE_LINE."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/gatlas/" in frame.filename] or list(frames)
    return f"{Path(ours[-1].filename).name}_{ours[-1].lineno}" if ours else ""


def peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident() -> int:
    """Return the memory that this process has, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
