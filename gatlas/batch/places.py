"""Checks of output paths against input paths: no batch overwrites what it reads."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from gatlas import io
from gatlas.batch.work import Task
from gatlas.errors import GatlasError


def canonical_path(path: str | Path, *, real: Callable[[str], str] = os.path.realpath) -> str:
    """Return one name for a path however it is written. A link at its end is not followed: a rename replaces it.

    `real` follows the links of the folder; for many paths a cached one is faster.
    """
    absolute = os.path.abspath(path)
    return os.path.join(real(os.path.dirname(absolute)), os.path.basename(absolute))


def _cached_canonical_path() -> Callable[[Any], str]:
    return partial(canonical_path, real=cache(os.path.realpath))


def makers(tasks: Sequence[Task]) -> set[str]:
    """Return the keys of the tasks whose results lie where the input of another one does."""
    canonical = _cached_canonical_path()
    results = {canonical(task.output): task for task in tasks if task.output is not None}
    inputs = ((task, canonical(task.source)) for task in tasks if isinstance(task.source, Path))
    return {results[path].key for task, path in inputs if path in results and results[path] is not task}


def without_products(tasks: Sequence[Task], made: Mapping[str, Mapping[str, Any]], verb: str) -> list[Task]:
    """Return the tasks whose inputs are no results of other tasks, by the manifest lines of what was `made`.

    Results in the folder that is read would otherwise be the inputs of the next run.
    """
    canonical = _cached_canonical_path()
    makers = {canonical(task.output): task for task in tasks if task.output is not None}

    def is_product(task: Task) -> bool:
        maker = makers.get(canonical(task.source)) if isinstance(task.source, Path) else None
        if maker is None or maker is task:
            return False
        return _has_made(maker, made, verb)

    return [task for task in tasks if not is_product(task)]


def _has_made(maker: Task, made: Mapping[str, Mapping[str, Any]], verb: str) -> bool:
    line = made.get(maker.key, {})
    return (line.get("status"), line.get("verb"), line.get("input")) == ("ok", verb, maker.name)


def refuse_found(tasks: Iterable[Task], made: Mapping[str, Mapping[str, Any]], verb: str) -> None:
    """Raise a GatlasError where an input that is `found` in the place of a task's result is no result of it.

    `made` are the manifest lines of results, read after the inputs were listed: the line of a result stands there
    before the result.
    """
    for task in tasks:
        if task.found and not _has_made(task, made, verb):
            raise _overwritten(task.found)


def _overwritten(name: str) -> GatlasError:
    return GatlasError(f"{name}: is an input, and a result would be written over it: name another -o")


def without_members(tasks: Sequence[Task], tar: re.Pattern[str], sources: Sequence[str]) -> list[Task]:
    """Return the tasks whose inputs do not lie in a tar with the real path `tar`, which this batch writes.

    One that is among the named `sources` is a GatlasError.
    """
    real = cache(os.path.realpath)
    for source in sources:
        if tar.fullmatch(real(source)):
            raise GatlasError(f"{source}: is an input, and the results would be written over it: name another -o")
    return [
        task for task in tasks if not (isinstance(task.source, io.Member) and tar.fullmatch(real(task.source.shard)))
    ]


def refuse_equal_names(tasks: Iterable[Task]) -> None:
    """Raise a GatlasError where two tasks have one key."""
    first: dict[str, Task] = {}
    for task in tasks:
        other = first.setdefault(task.key, task)
        if other is not task:
            raise GatlasError(
                f"two inputs have the name {task.key!r}, {other.name} and {task.name}: rename one of them, or name the "
                "folder above them, whose folders become part of the names"
            )


def refuse_overwriting(tasks: Sequence[Task]) -> None:
    """Raise a GatlasError where an output is an input, or a folder that holds an input or another output."""
    canonical = _cached_canonical_path()
    outputs = {canonical(task.output): task for task in tasks if task.output is not None}
    files = ((task, getattr(task.source, "shard", task.source)) for task in tasks)
    inputs = {canonical(file): task for task, file in files if isinstance(file, Path)}
    for path, task in inputs.items():
        if path in outputs or (os.path.islink(path) and os.path.realpath(path) in outputs):
            raise _overwritten(task.name)
    for path in (*inputs, *outputs):
        for above in map(str, Path(path).parents):
            if above in outputs:
                raise GatlasError(
                    f"{outputs[above].output}: a result would be this whole folder, and {path} lies in it: "
                    "name another -o"
                )


def refuse_captions(tasks: Sequence[Task], others: Callable[[Task], Iterable[Path]]) -> None:
    """Raise a GatlasError where a caption would go to the place of a result, or of one of the `others` of a task."""
    canonical = _cached_canonical_path()
    results = [task.output for task in tasks if task.output is not None]
    written = {canonical(path): path for path in (*results, *(path for task in tasks for path in others(task)))}
    for task in tasks:
        for suffix, path in task.caption_places.items():
            other = written.get(canonical(path))
            if other is not None and suffix in io.captions_of(task.source):
                raise GatlasError(f"{other}: the {suffix} beside {task.name} goes there: name another place")
