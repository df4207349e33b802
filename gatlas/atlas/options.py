"""Options of the verbs that make, open and measure atlases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option
from gatlas.io.splats.options import drop_invalid_option, up_option

LAYOUT_HELP = "gaussianverse writes point_cloud.ply, gs2sphere.npy and sphere2plane.npy into -o DIR/."
CHECK_HELP = "Check the atlas and print the measurements; a failed check is an error."


@dataclass(frozen=True)
class EncodeOptions(Options):
    """Lay the Gaussians of a splat PLY out as a square atlas.

    The Gaussians move one-to-one onto a sphere by exact optimal transport, and the sphere is flattened onto the grid.
    Fewer Gaussians than cells: see --fill. More Gaussians than cells: the smallest are dropped.

    An atlas has one color per Gaussian: color that depends on the direction becomes its mean over the directions from
    which the Gaussian is seen.

    An output x.sog is a SOG whose pixels are the cells, which viewers show; as an input it needs no transport.

    With --gs2sphere and --sphere2plane, GaussianVerse's index maps are used instead of solving a transport; their
    direction is detected, and maps that do not fit the splat are refused.

    Example: gatlas atlas-encode obj.ply --size 128 -o obj.npz
    """

    size: int = option(128, min=2, help="Cells per side of the square grid; it holds N x N Gaussians.")
    projection: Literal["equirect", "octahedral"] = option("equirect", help="Projection of the sphere onto the grid.")
    fill: Literal["duplicate", "split"] = option(
        "duplicate", help="Padding: copies of the smallest Gaussians at opacity 0, or the largest split in two."
    )
    solver: Literal["auction", "emd"] = option(
        "auction", help="Exact transport solver: auction, or POT's emd as an independent check (slow)."
    )
    gs2sphere: str | None = option(None, metavar="FILE.npy", help="Published assignment to the sphere, used as it is.")
    sphere2plane: str | None = option(
        None, metavar="FILE.npy", help="Published flattening of the sphere; needs --gs2sphere."
    )
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = up_option()
    drop_invalid: bool = drop_invalid_option()
    layout: Literal["gatlas", "gaussianverse"] = option("gatlas", help=LAYOUT_HELP)
    check: bool = option(False, help=CHECK_HELP)
    report: str | None = option(
        None, metavar="FILE.json", output=".json", help="Write the measurements of --check as JSON."
    )
    threads: int | None = option(
        None, min=1, affects_result=False, help="Number of threads; default and maximum: all available processors."
    )


@dataclass(frozen=True)
class DecodeOptions(Options):
    """Turn an atlas back into a splat PLY, without its padding: the exact inverse of atlas-encode.

    Example: gatlas atlas-decode obj.npz -o obj.ply
    """

    layout: Literal["gatlas", "gaussianverse"] = option("gatlas", help=LAYOUT_HELP)
    check: bool = option(False, help=CHECK_HELP)
    report: str | None = option(
        None, metavar="FILE.json", output=".json", help="Write the measurements of --check as JSON."
    )


@dataclass(frozen=True)
class StatisticsOptions(Options):
    """Measure the mean and standard deviation of every pixel over any number of atlases.

    Each atlas is read once and dropped, so that a set of any size takes the same memory. Atlases of different sizes,
    value spaces or projections are refused. Outliers and channels that look wrong are reported on
    standard error. Standard input holds one atlas or a tar stream of them.

    Parts of a set can be measured separately, by tasks of an array with --shard I/N: --merge gives the result of one
    pass over all of them, to rounding (1e-12 of a value), and refuses shards of which one is missing.

    Example: gatlas normalize-stats atlases/ -o stats.npz
    """

    merge: bool = option(False, help="Merge statistics files instead of measuring atlases.")
    shard: str | None = option(
        None, metavar="I/N", help="Measure only every N-th atlas, from the I-th on, I from 0; {shard} in OUTPUT is I."
    )
    report: str | None = option(None, metavar="FILE.json", output=".json", help="Write the report on the set as JSON.")
    plot: str | None = option(
        None, metavar="FILE.png", output=".png", help="Draw mean and deviation of every channel (extra plot)."
    )
