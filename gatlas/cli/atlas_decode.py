"""gatlas atlas-decode"""

from __future__ import annotations

from typing import Any

from gatlas import io
from gatlas.atlas import DecodeOptions, check_atlas, decode
from gatlas.atlas.sog import from_grid
from gatlas.cli.layouts import check_layout_outputs, report_check, save_gaussianverse
from gatlas.cli.terminal import about
from gatlas.cli.verb import Input


def run(source: Input, output: str, options: DecodeOptions, *, force: bool) -> dict[str, Any]:
    """Decode one atlas."""
    check_layout_outputs(output, options, noun="splat", force=force)
    blob = io.as_blob(source)
    meta = io.sog_atlas_meta(blob)
    atlas = from_grid(io.load_gaussians(blob), meta) if meta is not None else io.load_atlas(blob)
    with about(source):
        gaussians = decode(atlas)
        if options.check or options.report is not None:
            report_check(check_atlas(atlas), options.report, force)
    if options.layout == "gaussianverse":
        save_gaussianverse(output, atlas, force=force)
    else:
        io.save_gaussians(output, gaussians, force=force)
    return {"count": len(gaussians)}
