"""gatlas atlas-encode"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any

import typer

from gatlas.cli.layouts import fills_folder
from gatlas.cli.many import Output, many
from gatlas.cli.options import Check, CheckReport, Force, Input, Layout, LayoutOption, Threads


class Projection(str, Enum):
    equirect = "equirect"
    octahedral = "octahedral"


class Fill(str, Enum):
    duplicate = "duplicate"
    cut = "split"  # `split` is a method of str


class Solver(str, Enum):
    auction = "auction"
    emd = "emd"


@many(".npz", accepts=(".ply", ".splat", ".spz"), fills_folder=fills_folder)
def atlas_encode(
    splat: Input = "-",
    output: Output = "-",
    size: Annotated[
        int, typer.Option(min=2, metavar="N", help="Side of the square grid; it holds N x N Gaussians.")
    ] = 128,
    projection: Annotated[
        Projection, typer.Option(metavar="equirect|octahedral", help="How the sphere is flattened.")
    ] = Projection.equirect,
    fill: Annotated[
        Fill,
        typer.Option(
            metavar="duplicate|split",
            help="Too few Gaussians: copies of the smallest at opacity 0, or the largest cut in two.",
        ),
    ] = Fill.duplicate,
    solver: Annotated[
        Solver,
        typer.Option(metavar="auction|emd", help="Exact transport: ours, or POT's as an independent check (slow)."),
    ] = Solver.auction,
    gs2sphere: Annotated[
        str | None, typer.Option(metavar="FILE.npy", help="Keep a published assignment to the sphere.")
    ] = None,
    sphere2plane: Annotated[
        str | None, typer.Option(metavar="FILE.npy", help="The published flattening that goes with it.")
    ] = None,
    layout: LayoutOption = Layout.gatlas,
    check: Check = False,
    report: CheckReport = None,
    threads: Threads = None,
    force: Force = False,
) -> dict[str, Any]:
    """Lay the Gaussians of a splat PLY out as a square atlas.

    The Gaussians move one-to-one onto a sphere by exact optimal transport, and the sphere is flattened onto the grid.
    Fewer Gaussians than cells: see --fill. More: the smallest are dropped.

    With --gs2sphere and --sphere2plane, GaussianVerse's index maps are used instead of a transport of our own; which
    way round they go is found out, and maps that fit in no way are refused.

    Example: gatlas atlas-encode obj.ply --size 128 -o obj.npz
    """
    from gatlas import io
    from gatlas.atlas import encode
    from gatlas.atlas.check import check_atlas
    from gatlas.cli.layouts import check_layout_output, save_layout, say_check
    from gatlas.cli.terminal import about, refuse_shared_names, say
    from gatlas.errors import GatlasError

    if (gs2sphere is None) != (sphere2plane is None):
        raise GatlasError("--gs2sphere and --sphere2plane go together")
    published = gs2sphere is not None
    check_layout_output(output, layout, suffix=".npz", what="an atlas", force=force)
    if report is not None:
        io.check_output(report, force=force, suffix=".json", what="a report")

    refuse_shared_names(output, report)
    blob = io.as_blob(splat)
    gaussians = io.load_gaussians(blob, as_stored=published)
    with about(splat):
        if gs2sphere is not None and sphere2plane is not None:
            from gatlas.atlas.gaussianverse import from_published

            maps = io.load_indices(gs2sphere), io.load_indices(sphere2plane)
            atlas, reading = from_published(gaussians, *maps, projection=projection.value, frame=io.stored_frame(blob))
            say(
                f"read gs2sphere as {reading.gs2sphere} of the {reading.order} Gaussians and sphere2plane as "
                f"{reading.sphere2plane}: grid neighbours are {reading.locality:.3f} of a random pair's distance apart"
            )
        else:
            atlas = encode(
                gaussians,
                size,
                projection=projection.value,
                fill=fill.value,
                solver=solver.value,
                threads=threads,
            )
    say(_summary(atlas.meta))
    if check or report is not None:
        say_check(check_atlas(atlas, None if published else gaussians), report, force)
    save_layout(output, layout, atlas, force=force)
    return {"count": atlas.meta["count"], "gap": atlas.meta["transport"]["gap"]}


def _summary(meta: Mapping[str, Any]) -> str:
    """What became of the Gaussians, in one line."""
    clamped, transport = meta["clamped"], meta["transport"]
    notes = {
        f"{meta['padded']:,} cells padded with copies at opacity 0": meta["padded"],
        f"{meta['split']:,} cells filled by cutting the largest in two": meta["split"],
        f"the {meta['dropped']:,} smallest dropped": meta["dropped"],
        f"{clamped['scales']:,} with scales outside the atlas's range": clamped["scales"],
        f"{clamped['colors']:,} with colours outside 0..1": clamped["colors"],
        f"{clamped['view_dependent']:,} lost view-dependent colour": clamped["view_dependent"],
    }
    gap = "published" if transport["gap"] is None else f"certified gap {transport['gap']:.1e}"
    return "; ".join(
        [
            f"{meta['count']:,} Gaussians on {meta['size']} x {meta['size']} cells",
            *(note for note, happened in notes.items() if happened),
            f"transport cost {transport['cost']:.6f}, {gap}",
        ]
    )
