"""gatlas atlas-decode"""

from __future__ import annotations

from typing import Any

from gatlas.cli.layouts import fills_folder
from gatlas.cli.many import Output, many
from gatlas.cli.options import Check, CheckReport, Force, Input, Layout, LayoutOption


@many(".ply", accepts=(".npz",), fills_folder=fills_folder)
def atlas_decode(
    atlas: Input = "-",
    output: Output = "-",
    layout: LayoutOption = Layout.gatlas,
    check: Check = False,
    report: CheckReport = None,
    force: Force = False,
) -> dict[str, Any]:
    """Turn an atlas back into a splat PLY, without its padding: the exact inverse of atlas-encode.

    Example: gatlas atlas-decode obj.npz -o obj.ply
    """
    from gatlas import io
    from gatlas.atlas import decode
    from gatlas.atlas.check import check_atlas
    from gatlas.cli.layouts import check_layout_output, save_layout, say_check
    from gatlas.cli.terminal import about, refuse_shared_names

    check_layout_output(output, layout, suffix=".ply", what="Gaussians", force=force)
    if report is not None:
        io.check_output(report, force=force, suffix=".json", what="a report")
    refuse_shared_names(output, report)
    loaded = io.load_atlas(atlas)
    with about(atlas):
        gaussians = decode(loaded)
        if check or report is not None:
            say_check(check_atlas(loaded), report, force)
    if layout is Layout.gatlas:
        io.save_gaussians(output, gaussians, force=force)
    else:
        save_layout(output, layout, loaded, force=force)
    return {"count": len(gaussians)}
