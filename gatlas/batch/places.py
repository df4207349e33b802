"""Where results go, seen against where the inputs are: no batch writes over what it reads."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.sets.inputs import CAPTIONS
from gatlas.io.sets.results import caption_place, spelled

if TYPE_CHECKING:
    from gatlas.batch.plan import Task
    from gatlas.io.sets.results import Line

Place = Callable[[Any], str]


def without_products(tasks: Sequence[Task], known: Mapping[str, Line], verb: str) -> list[Task]:
    """The tasks whose inputs are not themselves results that this verb made of others, by its manifest lines.

    Results that go into the folder that is read would else be the inputs of the next run.
    """
    place = _places()
    makers: dict[str, list[Task]] = {}
    for task in tasks:
        if task.output is not None:
            makers.setdefault(place(task.output), []).append(task)

    def made_by(maker: Task) -> bool:
        line = known.get(maker.key, {})
        return line.get("status") == "ok" and line.get("verb") == verb and line.get("input") == maker.name

    def is_product(task: Task) -> bool:
        if not isinstance(task.source, Path):
            return False
        return any(maker is not task and made_by(maker) for maker in makers.get(place(task.source), ()))

    return [task for task in tasks if not is_product(task)]


def without_members(tasks: Sequence[Task], tar: re.Pattern[str], sources: Sequence[str]) -> list[Task]:
    """The tasks whose inputs do not lie in a tar with the real path `tar`, which this batch or a shard of it writes.

    One that is among the named `sources` is a GatlasError.
    """
    real = cache(os.path.realpath)
    for source in sources:
        if tar.fullmatch(real(source)):
            raise GatlasError(f"{source}: is an input, and the results would be written over it: name another -o")
    return [task for task in tasks if isinstance(task.source, Path) or not tar.fullmatch(real(task.source.shard))]


def refuse_overwriting(tasks: Sequence[Task]) -> None:
    """An output that is an input, or a folder that holds an input or another output, is a GatlasError."""
    place = _places()
    outputs = {place(task.output): task for task in tasks if task.output is not None}
    inputs = {place(source): task for task in tasks if (source := _source(task)) is not None}
    for path, task in inputs.items():
        if path in outputs or (os.path.islink(path) and os.path.realpath(path) in outputs):
            raise GatlasError(f"{task.name}: is an input, and a result would be written over it: name another -o")
    for path in (*inputs, *outputs):
        above = os.path.dirname(path)
        while above != os.path.dirname(above):
            if above in outputs:
                raise GatlasError(
                    f"{outputs[above].output}: a result would be this whole folder, and {path} lies in it: "
                    "name another -o"
                )
            above = os.path.dirname(above)


def caption_places(task: Task) -> dict[str, Path]:
    """Where the captions of an object in a shard would go, by their suffixes: beside its result."""
    if task.output is None or isinstance(task.source, (Path, io.Blob)):
        return {}
    return {suffix: caption_place(task.output, suffix) for suffix in CAPTIONS}


def refuse_captions(tasks: Sequence[Task], others: Callable[[Task], Iterable[Path]]) -> None:
    """A caption whose place is that of a result, or of one of the `others` that a task writes, is a GatlasError."""
    place = _places()
    results = [task.output for task in tasks if task.output is not None]
    written = {place(path): path for path in (*results, *(path for task in tasks for path in others(task)))}
    for task in tasks:
        for suffix, path in caption_places(task).items():
            other = written.get(place(path))
            if other is not None and suffix in io.sidecars(task.source):
                raise GatlasError(f"{other}: the {suffix} beside {task.name} goes there: name another place")


def _source(task: Task) -> Path | None:
    """The file that an input is, or lies in; None for what came through a pipe."""
    return task.source if isinstance(task.source, Path) else getattr(task.source, "shard", None)


def _places() -> Place:
    """`spelled` for many paths."""
    return partial(spelled, real=cache(os.path.realpath))
