"""The number of shards of a batch, held against the manifests of earlier tasks in the same place.

A task that ran alone in an array of its own, as after a failure, is not the only shard: its objects are those that it
had among all tasks, and the others have theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from glob import escape, glob
from pathlib import Path
from typing import NamedTuple

from gatlas.batch.manifest import manifests_in
from gatlas.batch.options import SHARD
from gatlas.batch.shards import ArrayTask, parse_shard
from gatlas.errors import GatlasError
from gatlas.io.sets.scratch import read_first_line

_RECORDED = re.compile(r"\d+/(\d+)")


class Earlier(NamedTuple):
    """A manifest of an earlier shard in the place of this one."""

    manifest: Path
    shards: int | None  # their number then; None where a version of gatlas wrote it that did not record it
    number: int  # of this shard, at least; 0 where it is unknown


def choose_shard(
    output: str, folder: Path | None, asked: str | None, task: ArrayTask | None, *, whole: bool, force: bool
) -> tuple[int, int]:
    """Return index and number of this shard: those `asked` for, else of Slurm's array, else 0 of 1.

    Results go to a `folder`, or to a tar or a stream where it is None; `whole` is an input that is not split. Where
    other shards than those have been made in the same place, it is a GatlasError.
    """
    tar = folder is None and output.lower().endswith(".tar")
    if task is not None and whole and (shard := task.shard()) is not None:
        return shard
    if task is not None:
        return array_shard(task, output, earlier_shards(output, folder), tar=tar)
    index, shards = parse_shard(asked or "0/1")
    if tar and not force:
        refuse_other_number(output, shards, earlier_shards(output, None))
    return index, shards


def earlier_shards(output: str, folder: Path | None) -> list[Earlier]:
    """Return the manifests of shards in a `folder`, or those of the tars that `output` names, whatever {shard} is."""
    if folder is not None:
        named = [folder] if SHARD not in str(folder) else map(Path, sorted(glob(_any_shard(str(folder)))))
        found = (path for each in named for path in manifests_in(each))
        return [Earlier(path, int(path.stem.rpartition("-")[2]), 0) for path in found]
    if SHARD not in output or not output.lower().endswith(".tar"):
        return []
    manifest = f"{output[: -len('.tar')]}.manifest.jsonl"
    number = re.compile(re.escape(manifest).replace(re.escape(SHARD), r"(\d{5})", 1).replace(re.escape(SHARD), r"\1"))
    earlier = []
    for name in sorted(glob(_any_shard(manifest))):
        match = number.fullmatch(name)
        if match is not None:
            recorded = _RECORDED.fullmatch(str(read_first_line(Path(name)).get("shard", "")))
            earlier.append(Earlier(Path(name), None if recorded is None else int(recorded[1]), int(match[1])))
    return earlier


def _any_shard(name: str) -> str:
    """Return the pattern of a name in which {shard} is any number."""
    return escape(name).replace(SHARD, "[0-9]" * 5)


def array_shard(task: ArrayTask, output: str, earlier: Iterable[Earlier], *, tar: bool) -> tuple[int, int]:
    """Return index and number of a task's shard; a GatlasError where the earlier shards in its place are others.

    In a folder an array of more tasks is none: what is done is not done again. A tar of another number of shards would
    hold objects that others hold too. An array with gaps has no shards, nor has one task of a number other than 0,
    unless it was the only one before.
    """
    earlier = list(earlier)
    shard = task.shard()
    counts = {each.shards for each in earlier if each.shards is not None}
    beyond = max((each.number for each in earlier if each.shards is None), default=0)
    others = {count for count in counts if shard is None or count > shard[1] or (tar and count != shard[1])}
    if others or (shard is not None and beyond >= shard[1]):
        what = f"shards of {max(others)}" if others else f"more than {beyond} shards"
        array = "has gaps" if shard is None else f"has {task.tasks} task{'s' * (task.tasks > 1)}"
        advice = _advice(task, max(others), earlier) if others else f"{task.task}/N"
        raise GatlasError(f"{output}: was made as {what}, and this Slurm array {array}: give --shard {advice}")
    if shard is None:
        raise GatlasError("the Slurm array is no range a-b:step, so it has no shards: give --shard I/N")
    if task.tasks == 1 and task.first and not counts:
        raise GatlasError(
            f"an array of the one task {task.task} does not say how many shards there are: give --shard {task.task}/N, "
            "or --shard 0/1 for all"
        )
    return shard


def _advice(task: ArrayTask, shards: int, earlier: Iterable[Earlier]) -> str:
    """Return "I/N" of a task, counted as in the array that a manifest records, else from 0; "I/N" as such beyond it."""
    first, step = 0, 1
    for each in earlier:
        array = re.fullmatch(r"(\d+)-\d+:(\d+)", str(read_first_line(each.manifest).get("array", "")))
        if each.shards == shards and array is not None:
            first, step = int(array[1]), int(array[2])
            break
    index, rest = divmod(task.task - first, step)
    return f"{index}/{shards}" if not rest and 0 <= index < shards else f"I/{shards}"


def refuse_other_number(output: str, shards: int, earlier: Iterable[Earlier]) -> None:
    """Raise a GatlasError where tars of another number of shards hold some of the same objects."""
    others = {each.shards for each in earlier if each.shards not in (None, shards)}
    if others:
        raise GatlasError(
            f"{output}: was made as shards of {max(filter(None, others))}, not of {shards}, and its tars would hold "
            "objects twice: give that number to --shard, or name another place"
        )
