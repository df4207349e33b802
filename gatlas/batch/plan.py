"""What of a batch is to be done, by what its manifest says of earlier runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gatlas import io
from gatlas.batch.places import caption_places
from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from pathlib import Path

    from gatlas.io.results import Line


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

    A task is done where its line is of the same input and options and `holds` finds its result in its place. A result
    that this verb made of the task's input as it was, or with other options, is made anew; any other file in its place
    is foreign. What failed by a fault of the machine, as for want of memory, is tried again. With `force` everything is
    to do.
    """
    plan = Plan([], [], [], [])
    for task in tasks:
        line = known.get(task.key, {})
        made = _made(line)
        if force:
            plan.todo.append(task)
        elif made and _fits(made, task, fingerprint) and holds(made, task):
            plan.done.append(task)
        elif foreign_file(task, line, verb) is not None:
            plan.foreign.append(task)
        elif (
            line.get("status") == "failed"
            and not (line.get("passing") or retry_failed)
            and _fits(line, task, fingerprint)
        ):
            plan.failed.append(task)
        else:
            plan.todo.append(task)
    return plan


def foreign_file(task: Task, line: Line, verb: str) -> Path | None:
    """What stands in the place of a task's result, or of what goes with it, and was not made by this batch.

    What this verb made of this input, as it was or with other options, may be made anew.
    """
    made = _made(line)
    ours = made.get("verb") == verb and made.get("input") == task.name
    if not ours and task.output is not None and io.exists(task.output):
        return task.output
    beside = made.get("files", ()) if ours else ()
    for path in task.files:
        if str(path) not in beside and io.exists(path):
            return path
    written = made.get("captions", ()) if ours else ()
    for suffix, place in caption_places(task).items():
        if suffix not in written and io.exists(place):
            caption = io.sidecars(task.source).get(suffix)
            if caption is not None and io.sha256_of(place) != io.sha256_of(io.Blob(str(place), caption)):
                return place
    return None


def _made(line: Line) -> Line:
    """What the manifest says of the result that is in its place, after failures too."""
    made: Line = line if line.get("status") == "ok" else line.get("kept", {})
    return made


def _fits(line: Line, task: Task, fingerprint: str) -> bool:
    """Whether a manifest's line is of this input, as it is now, with these options."""
    if line.get("options") != fingerprint:
        return False
    now = io.stamp(task.source)
    if now is not None and line.get("input_stamp") == now:
        return True
    try:
        return line.get("input_sha256") == io.sha256_of(task.source)
    except GatlasError:
        return False  # it cannot be read: whoever tries says why
