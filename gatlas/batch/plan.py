"""What of a batch is to be done, by what its manifest says of earlier runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gatlas import io
from gatlas.batch.places import caption_places
from gatlas.errors import GatlasError
from gatlas.io.sets.results import contents_beside, folder_contents, spelled

if TYPE_CHECKING:
    from pathlib import Path

    from gatlas.io.sets.results import Line


class Task(NamedTuple):
    """One object and the place of its result."""

    key: str  # its name, and its id in the manifest
    source: Any  # Path, Member or Blob
    name: str  # of the source, for messages
    output: Path | None  # None: it goes into a tar
    captions: Mapping[str, bytes] | None = None  # that came with it through a pipe, suffix -> content
    files: tuple[Path, ...] = ()  # places of what it writes beside its result: a report, its views


class Plan(NamedTuple):
    """The tasks of a shard, sorted out."""

    todo: list[Task]
    done: list[Task]  # earlier, of the same input with the same options
    failed: list[Task]  # earlier, likewise: they would fail again
    foreign: list[Task]  # a file stands in a place of theirs and was not made by this batch
    other: list[Task]  # earlier, of the same input with other options


def fingerprint_of(verb: str, options: Mapping[str, Any]) -> str:
    """What the options make of an input, in one word. Equal options (JSON-able) have equal fingerprints."""
    return hashlib.sha256(json.dumps([verb, options], sort_keys=True).encode()).hexdigest()[:16]


def make_plan(
    tasks: Sequence[Task],
    known: Mapping[str, Line],
    fingerprint: str,
    verb: str,
    *,
    holds: Callable[[Line, Task], bool],
    retry_failed: bool = False,
    force: bool = False,
) -> Plan:
    """Sort the tasks out by the newest manifest line of each, `known`.

    A task is done where its line is of the same input and options, `holds` finds its result in its place, and what is
    asked for beside it is there. A result that this verb made of the task's input as it was is made anew; one that
    stands and was made with `other` options is not, and any other file in its place is foreign. What failed by a fault
    of the machine, as for want of memory, is tried again. With `force` everything is to do.
    """
    plan = Plan([], [], [], [], [])
    for task in tasks:
        line = known.get(task.key, {})
        try:
            place = plan.todo if force else _sort(plan, task, line, fingerprint, verb, holds, retry_failed)
        except GatlasError:
            place = plan.todo  # whoever makes it says what is wrong with its place
        place.append(task)
    return plan


def _sort(
    plan: Plan,
    task: Task,
    line: Line,
    fingerprint: str,
    verb: str,
    holds: Callable[[Line, Task], bool],
    retry_failed: bool,
) -> list[Task]:
    made = made_line(line)
    stands = bool(made) and holds(made, task)
    if stands and _fits(made, task, fingerprint) and _has_files(made, task):
        return plan.done
    if foreign_file(task, line, verb) is not None:
        return plan.foreign
    if stands and made.get("options") != fingerprint:
        return plan.other
    again = line.get("passing") or retry_failed
    if line.get("status") == "failed" and not again and _fits(line, task, fingerprint):
        return plan.failed
    return plan.todo


def foreign_file(task: Task, line: Line, verb: str) -> Path | None:
    """What stands in the place of a task's result, or of what goes with it, and was not made by this batch.

    What this verb made of this input, as it was or with other options, may be made anew.
    """
    made = made_line(line)
    ours = made.get("verb") == verb and (made.get("input") == task.name or _is_of_input(made, task))
    if task.output is not None and io.exists(task.output):
        found = _strangers(task.output, made.get("contents") if ours else None, ours)
        if found is not None:
            return found
    for path in task.files:
        if io.exists(path):
            # A line of an earlier version names none.
            named = ours and ("files" not in made or spelled(path) in made["files"])
            found = _strangers(path, contents_beside(made, path) if named else None, named)
            if found is not None:
                return found
    written = made.get("captions", ()) if ours else ()
    for suffix, place in caption_places(task).items():
        if suffix not in written and io.exists(place):
            caption = io.sidecars(task.source).get(suffix)
            if caption is not None and io.sha256_of(place) != io.sha256_of(io.Blob(str(place), caption)):
                return place
    return None


def _strangers(place: Path, contents: Mapping[str, int] | None, ours: bool) -> Path | None:
    """What stands in a place and is not `ours`: of our folder, a file that its contents do not name."""
    if not ours:
        return place
    if contents is None or not io.is_folder(place):
        return None
    return next((place / name for name in sorted(folder_contents(place).keys() - contents.keys())), None)


def _has_files(made: Line, task: Task) -> bool:
    """Whether what a task asks for beside its result was made with it and is there."""
    return all(("files" not in made or spelled(path) in made["files"]) and io.exists(path) for path in task.files)


def made_line(line: Line) -> Line:
    """What the manifest says of the result that is in its place, after failures too."""
    made: Line = line if line.get("status") == "ok" else line.get("kept", {})
    return made


def _fits(line: Line, task: Task, fingerprint: str) -> bool:
    """Whether a manifest's line is of this input, as it is now, with these options."""
    return line.get("options") == fingerprint and _is_of_input(line, task)


def _is_of_input(line: Line, task: Task) -> bool:
    """Whether a manifest's line is of this input, as it is now, by whatever name."""
    now = io.stamp(task.source)
    if now is not None and line.get("input_stamp") == now:
        return True
    try:
        return line.get("input_sha256") == io.sha256_of(task.source)
    except GatlasError:
        return False  # it cannot be read: whoever tries says why
