"""Options of a batch, and what a batch must know of a verb. Light: the command line is built from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gatlas.config import Options, option


@dataclass(frozen=True)
class BatchOptions(Options):
    """Options of a batch beside those of its verb."""

    files_from: str | None = option(
        None, metavar="FILE", help="Read the inputs' names from FILE, one a line; - is standard input."
    )
    null: bool = option(False, "-0", help="The names in --files-from end in NUL, as find -print0 writes them.")
    shard: str | None = option(
        None,
        metavar="I/N",
        help="Of many, only every N-th object from the I-th on, I from 0; Slurm's array sets it.",
    )
    jobs: int = option(1, "-j", min=1, help="Of many, objects at once, a process each.")
    timeout: float | None = option(None, min=0.1, metavar="SECONDS", help="Of many, give an object up after this long.")
    retry_failed: bool = option(False, help="Try again what failed in an earlier run.")
    dry_run: bool = option(False, help="Print what would be done, and do nothing.")
    tar: bool = option(False, help="Write a tar stream to standard output.")

    @property
    def makes_batch(self) -> bool:
        """True where one of the options makes a batch of even one input."""
        return self.files_from is not None or self.shard is not None or self.dry_run or self.tar


@dataclass(frozen=True)
class Batchable:
    """What a batch must know of a verb."""

    suffix: str  # of its result; "/" is a folder
    accepts: tuple[str, ...]  # suffixes of its inputs in folders and tars
    photos: bool = False  # a folder of photos is one input
    folder_results: Callable[[Any], bool] = lambda options: False  # whether each result is a folder, by the options
    may_fill_folder: bool = False  # -o DIR/ of a single input is one result
