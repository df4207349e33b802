"""The remaining work of a batch, from what its manifest records of earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gatlas import io
from gatlas.batch.manifest import Line, last_success, sidecar_contents
from gatlas.batch.places import canonical_path
from gatlas.batch.work import BatchWork, Task
from gatlas.errors import GatlasError
from gatlas.io.sets.scratch import folder_contents


class Plan(NamedTuple):
    """The tasks of a shard, sorted."""

    todo: list[Task]
    done: list[Task]  # earlier, of the same input with the same options
    failed: list[Task]  # earlier, of the same input with the same options
    unowned: list[Task]  # a file stands in one of their places that this batch did not make
    other: list[Task]  # done earlier, of the same input with other options


def make_plan(
    tasks: Sequence[Task],
    known: Mapping[str, Line],
    work: BatchWork,
    *,
    holds: Callable[[Line, Path | None], bool],
    retry_failed: bool = False,
    force: bool = False,
) -> Plan:
    """Return the tasks sorted by the newest manifest line of each, `known`.

    A task is done where its line is of the same input and options, `holds` finds its result in its place, and its
    sidecars exist. A result that this function made of another version of the input is to do again; one made with
    `other` options is not, and any other file in its place is unowned. Failures of the machine, as for want of memory,
    are tried again. With `force` everything is to do.
    """
    plan = Plan([], [], [], [], [])

    def group_of(task: Task, line: Line) -> list[Task]:
        made = last_success(line)
        stands = bool(made) and holds(made, task.output)
        if stands and _matches(made, task, work) and _has_sidecars(made, task):
            return plan.done
        if unowned_file(task, line, work.name) is not None:
            return plan.unowned
        if stands and made.get("options") != work.fingerprint:
            return plan.other
        retry = line.get("passing") or retry_failed
        if line.get("status") == "failed" and not retry and _matches(line, task, work):
            return plan.failed
        return plan.todo

    for task in tasks:
        try:
            group = plan.todo if force else group_of(task, known.get(task.key, {}))
        except GatlasError:
            group = plan.todo  # storing it reports what is wrong with its place
        group.append(task)
    return plan


def unowned_file(task: Task, line: Line, verb: str) -> Path | None:
    """Return a file in a place of a task that this batch did not make: of its result, a sidecar or a caption; or None.

    What this verb made of this input, as it was or with other options, may be replaced.
    """
    made = last_success(line)
    owned = made.get("verb") == verb and (made.get("input") == task.name or _is_of_input(made, task))
    if task.output is not None and io.exists(task.output):
        found = _unowned_in(task.output, owned, made.get("contents"))
        if found is not None:
            return found
    for path in task.sidecars:
        if io.exists(path):
            found = _unowned_in(path, owned and _names_sidecar(made, path), sidecar_contents(made, path))
            if found is not None:
                return found
    for suffix, place in task.caption_places.items():
        if not (owned and suffix in made.get("captions", ())) and io.exists(place):
            caption = io.captions_of(task.source).get(suffix)
            if caption is not None and io.sha256_of(place) != io.sha256_of(io.Blob(str(place), caption)):
                return place
    return None


def _unowned_in(place: Path, owned: bool, contents: Mapping[str, int] | None) -> Path | None:
    """Return a place that is not owned, or a file in an owned folder that its `contents` do not name, or None."""
    if not owned:
        return place
    if contents is None or not io.is_folder(place):
        return None
    return next((place / name for name in sorted(folder_contents(place).keys() - contents.keys())), None)


def _has_sidecars(made: Line, task: Task) -> bool:
    return all(_names_sidecar(made, path) and io.exists(path) for path in task.sidecars)


def _names_sidecar(made: Line, path: Path) -> bool:
    return "files" not in made or canonical_path(path) in made["files"]  # a line of an earlier version names none


def _matches(line: Line, task: Task, work: BatchWork) -> bool:
    """Return True where a manifest line is of this input, as it is now, with these options."""
    return line.get("options") == work.fingerprint and _is_of_input(line, task)


def _is_of_input(line: Line, task: Task) -> bool:
    """Return True where a manifest line is of this input, as it is now, by whatever name."""
    now = io.stamp(task.source)
    if now is not None and line.get("input_stamp") == now:
        return True
    try:
        return line.get("input_sha256") == io.sha256_of(task.source)
    except GatlasError:
        return False  # processing it reports why it cannot be read
