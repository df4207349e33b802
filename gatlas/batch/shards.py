"""Shard I of N: every N-th of one sorted list of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from gatlas.errors import GatlasError

Each = TypeVar("Each")


def take_shard(items: Sequence[Each], index: int, shards: int) -> list[Each]:
    """Return every `shards`-th item from the `index`-th on: over all indices, each item once."""
    if not 0 <= index < shards:
        raise ValueError(f"index must be in 0..{shards - 1}, got {index}")
    return list(items[index::shards])


class ArrayTask(NamedTuple):
    """One task of a Slurm array."""

    task: int
    first: int
    last: int
    step: int
    tasks: int  # of the array

    def __str__(self) -> str:
        """Return the array as sbatch takes it, for manifests."""
        return f"{self.first}-{self.last}:{self.step}"

    def shard(self) -> tuple[int, int] | None:
        """Return index and number of this task among those of an array `a-b:step`; None in an array with gaps."""
        # Slurm gives the step of a range; a list of numbers may look like one, so its count must match.
        if self.step < 1 or (self.last - self.first) // self.step + 1 != self.tasks:
            return None
        index, rest = divmod(self.task - self.first, self.step)
        return None if rest else (index, self.tasks)


def slurm_task(environment: Mapping[str, str]) -> ArrayTask | None:
    """Return the task of a Slurm array that this process is; None outside an array.

    A task outside its array is a GatlasError, as are variables that are missing.
    """
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return None
    try:
        task, first, last, count = (
            int(environment[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "MAX", "COUNT")
        )
        step = int(environment.get("SLURM_ARRAY_TASK_STEP", "1"))
    except (KeyError, ValueError) as error:
        raise GatlasError(f"Slurm's array variables are incomplete ({error}): give --shard I/N") from None
    if not first <= task <= last:
        raise GatlasError(f"Slurm's array variables say task {task} of {first}-{last}: give --shard I/N")
    return ArrayTask(task, first, last, step, count)


def parse_shard(text: str) -> tuple[int, int]:
    """Return index and number of "I/N", 0 <= I < N."""
    index, slash, count = text.partition("/")
    if slash and index.isdecimal() and count.isdecimal() and 0 <= int(index) < int(count):
        return int(index), int(count)
    raise GatlasError(f"--shard {text}: must be I/N with 0 <= I < N, as 0/4 for the first of four")
