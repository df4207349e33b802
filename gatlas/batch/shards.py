"""Shard I of N: every N-th of one sorted list of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatlas.errors import GatlasError


def take_shard(items: list[Any], index: int, shards: int) -> list[Any]:
    """Return every `shards`-th item from the `index`-th on: over all indices, each item once."""
    if not 0 <= index < shards:
        raise ValueError(f"index must be in 0..{shards - 1}, got {index}")
    return items[index::shards]


def slurm_shard(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Return index and number of this task among those of a Slurm array `a-b:step`; None outside an array.

    An array of other numbers, such as 3,7,9, has no such index and is a GatlasError, as is a task outside its array.
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
    # Slurm gives the step of a range; a list of numbers may look like one, so its count must match.
    regular = step >= 1 and (last - first) // step + 1 == count and (task - first) % step == 0
    if not regular:
        raise GatlasError("the Slurm array is no range a-b:step, so it has no shards: give --shard I/N")
    return (task - first) // step, count


def parse_shard(text: str) -> tuple[int, int]:
    """Return index and number of "I/N", 0 <= I < N."""
    index, slash, count = text.partition("/")
    if slash and index.isdecimal() and count.isdecimal() and 0 <= int(index) < int(count):
        return int(index), int(count)
    raise GatlasError(f"--shard {text}: must be I/N with 0 <= I < N, as 0/4 for the first of four")
