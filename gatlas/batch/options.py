"""Options of a batch, and what a batch must know of a verb. Light: the command line is built from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Literal

from gatlas.config import Options, option

STEM = "{stem}"  # in the name of an output: the object's name
SHARD = "{shard}"  # the shard's number, five digits


@dataclass(frozen=True)
class BatchOptions(Options):
    """Options of a batch beside those of its verb."""

    files_from: str | None = option(
        None, metavar="FILE", help="Read the names of inputs from FILE, one per line; - is standard input."
    )
    null: bool = option(False, "-0", help="Names in --files-from end in NUL, as find -print0 writes them.")
    shard: str | None = option(
        None,
        metavar="I/N",
        help="Process only every N-th object, from the I-th on, I from 0 (batch only); Slurm's array sets it.",
    )
    jobs: int = option(1, "-j", min=1, help="Worker processes (batch only).")
    engine: Literal["processes", "dask", "ray"] = option(
        "processes",
        help="What runs the objects: --jobs processes here, or Dask or Ray (batch only; extras dask, ray).",
    )
    cluster: str | None = option(
        None,
        metavar="ADDRESS",
        help="Dask scheduler or Ray cluster of --engine; left out: --jobs workers of its own on this machine.",
    )
    timeout: float | None = option(None, min=0.1, metavar="SECONDS", help="Time limit per object (batch only).")
    retry_failed: bool = option(False, help="Retry the objects that failed in an earlier run.")
    dry_run: bool = option(False, help="Print the plan and do nothing.")
    tar: bool = option(False, help="Write a tar stream to standard output.")

    @property
    def makes_batch(self) -> bool:
        """True where one of the options makes a batch of even one input."""
        return self.files_from is not None or self.shard is not None or self.dry_run or self.tar


@dataclass(frozen=True)
class Batchable:
    """Properties of a verb that a batch needs."""

    suffix: str  # of its result
    accepts: tuple[str, ...]  # suffixes of its inputs in folders and tars
    others: tuple[str, ...] = ()  # suffixes that a result may have instead, where -o '{stem}.SUFFIX' says so
    gathered: tuple[str, ...] = ()  # suffixes of outputs that take all objects in one: no batch
    gathering: Callable[[Any], bool] | None = None  # returns True for options with which any output does
    meshes: bool = False  # splats in glTF that lie in a folder of inputs are left out
    photos: bool = False  # a folder of photos is one input
    folder_results: Callable[[Any], bool] | None = None  # returns True for options with which each result is a folder
    may_fill_folder: bool = False  # -o DIR/ of a single input is one result
    joins: Callable[[Any], bool] | None = None  # returns True for options with which all inputs give one result
    chosen: str = ""  # the noun whose format the output's suffix has to name; "": another suffix is the usual format
    keyed: bool = False  # the function takes the name of the object, by which others may be named that belong to it

    def named(self, output: str) -> Batchable:
        """Return the properties for an output whose name, with {stem} in it, may ask for another suffix."""
        named = [suffix for suffix in self.others if STEM in output and PurePath(output).name.lower().endswith(suffix)]
        return replace(self, suffix=max(named, key=len)) if named else self  # ".compressed.ply" before ".ply"

    def gathers(self, output: str, options: Options) -> bool:
        """Return True for an output that takes all objects in one."""
        if self.gathering is not None and self.gathering(options):
            return True
        return PurePath(output).suffix.lower() in self.gathered and STEM not in output and SHARD not in output

    def result_suffix(self, options: Options) -> str:
        """Return the suffix of a result; "/" is a folder."""
        return "/" if self.folder_results is not None and self.folder_results(options) else self.suffix
