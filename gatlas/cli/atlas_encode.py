"""gatlas atlas-encode"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from gatlas.cli.options import Force, Input, Output


class Projection(str, Enum):
    equirect = "equirect"
    octahedral = "octahedral"


class Solver(str, Enum):
    auction = "auction"
    emd = "emd"


def atlas_encode(
    splat: Input = "-",
    output: Output = "-",
    size: Annotated[
        int, typer.Option(min=2, metavar="N", help="Side of the square grid; it holds size x size Gaussians.")
    ] = 128,
    projection: Annotated[
        Projection, typer.Option(metavar="equirect|octahedral", help="How the sphere is flattened.")
    ] = Projection.equirect,
    solver: Annotated[
        Solver,
        typer.Option(metavar="auction|emd", help="Exact transport: ours, or POT's as an independent check (slow)."),
    ] = Solver.auction,
    force: Force = False,
) -> None:
    """Lay the Gaussians of a splat PLY out as a square atlas.

    The Gaussians move one-to-one onto a sphere by exact optimal transport, and the sphere is flattened onto the grid.
    Fewer Gaussians than cells: copies of the smallest, at opacity 0, fill the rest. More: the smallest are dropped.

    Example: gatlas atlas-encode obj.ply --size 128 -o obj.npz
    """
    from gatlas import io
    from gatlas.atlas import encode
    from gatlas.cli.terminal import say

    io.check_output(output, force=force, suffix=".npz", what="an atlas")
    gaussians = io.load_gaussians(splat)
    atlas = encode(gaussians, size, projection=projection.value, solver=solver.value)
    meta = atlas.meta
    notes = {
        f"{meta['padded']:,} cells padded with copies at opacity 0": meta["padded"],
        f"the {meta['dropped']:,} smallest Gaussians dropped": meta["dropped"],
        f"{meta['clamped']['scales']:,} Gaussians had scales outside the atlas's range": meta["clamped"]["scales"],
        f"{meta['clamped']['colors']:,} had colours outside 0..1": meta["clamped"]["colors"],
        f"{meta['clamped']['view_dependent']:,} lost view-dependent colour": meta["clamped"]["view_dependent"],
    }
    said = [note for note, happened in notes.items() if happened]
    transport = meta["transport"]
    say(
        "; ".join(
            [
                f"{len(gaussians):,} Gaussians on {size} x {size} cells",
                *said,
                f"transport cost {transport['cost']:.6f}, certified gap {transport['gap']:.1e}",
            ]
        )
    )
    io.save_atlas(output, atlas, force=force)
