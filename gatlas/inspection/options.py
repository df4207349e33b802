"""Options of `gatlas info`."""

from __future__ import annotations

from dataclasses import dataclass

from gatlas.config import Options, option


@dataclass(frozen=True)
class InspectOptions(Options):
    """Show facts of files: splats, atlases, statistics, meshes, point clouds, pictures, films, cameras, views, models,
    runs, manifests.

    After the facts, one line for each thing that is wrong, with its remedy.

    Example: gatlas info scan.ply
    """

    check: bool = option(False, help="Exit with status 1 if something is wrong with a file.")
    json: bool = option(False, help="Write JSON: an object for each file, in a list.")
