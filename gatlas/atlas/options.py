"""Options of the verbs that make, open and measure atlases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option

LAYOUT_HELP = "gaussianverse: -o DIR/ gets point_cloud.ply, gs2sphere.npy and sphere2plane.npy."
CHECK_HELP = "Measure the atlas and print it; an atlas that is wrong is an error."


@dataclass(frozen=True)
class EncodeOptions(Options):
    """Lay the Gaussians of a splat PLY out as a square atlas.

    The Gaussians move one-to-one onto a sphere by exact optimal transport, and the sphere is flattened onto the grid.
    Fewer Gaussians than cells: see --fill. More: the smallest are dropped.

    With --gs2sphere and --sphere2plane, GaussianVerse's index maps are used instead of a transport of our own; which
    way round they go is found out, and maps that fit in no way are refused.

    Example: gatlas atlas-encode obj.ply --size 128 -o obj.npz
    """

    size: int = option(128, min=2, help="Side of the square grid; it holds N x N Gaussians.")
    projection: Literal["equirect", "octahedral"] = option("equirect", help="How the sphere is flattened.")
    fill: Literal["duplicate", "split"] = option(
        "duplicate", help="Too few Gaussians: copies of the smallest at opacity 0, or the largest cut in two."
    )
    solver: Literal["auction", "emd"] = option(
        "auction", help="Exact transport: ours, or POT's as an independent check (slow)."
    )
    gs2sphere: str | None = option(None, metavar="FILE.npy", help="Keep a published assignment to the sphere.")
    sphere2plane: str | None = option(None, metavar="FILE.npy", help="The published flattening that goes with it.")
    layout: Literal["gatlas", "gaussianverse"] = option("gatlas", help=LAYOUT_HELP)
    check: bool = option(False, help=CHECK_HELP)
    report: str | None = option(None, metavar="FILE.json", output=".json", help="Write what --check measures.")
    threads: int | None = option(
        None, min=1, affects_result=False, help="Threads; default and at most all processors it may run on."
    )


@dataclass(frozen=True)
class DecodeOptions(Options):
    """Turn an atlas back into a splat PLY, without its padding: the exact inverse of atlas-encode.

    Example: gatlas atlas-decode obj.npz -o obj.ply
    """

    layout: Literal["gatlas", "gaussianverse"] = option("gatlas", help=LAYOUT_HELP)
    check: bool = option(False, help=CHECK_HELP)
    report: str | None = option(None, metavar="FILE.json", output=".json", help="Write what --check measures.")


@dataclass(frozen=True)
class StatisticsOptions(Options):
    """Measure the mean and standard deviation of every pixel over any number of atlases.

    Each atlas is read once and dropped, so that a set of any size takes the same memory. Atlases of different sizes,
    value spaces or projections are refused. Objects that are unlike the others and channels that look wrong are named
    on standard error. Standard input holds one atlas or a tar stream of them.

    Parts of a set can be measured apart: --merge gives what one pass over all of them would give.

    Example: gatlas normalize-stats atlases/ -o stats.npz
    """

    merge: bool = option(False, help="The inputs are statistics: write those of all their atlases together.")
    report: str | None = option(None, metavar="FILE.json", output=".json", help="Write what is odd about the set.")
