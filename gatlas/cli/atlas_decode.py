"""gatlas atlas-decode"""

from __future__ import annotations

from typing import Any

from gatlas import io
from gatlas.atlas import DecodeOptions, check_atlas, decode
from gatlas.cli.layouts import check_layout_outputs, report_check, save_gaussianverse
from gatlas.cli.terminal import about
from gatlas.cli.verb import Input


def run(source: Input, output: str, options: DecodeOptions, *, force: bool) -> dict[str, Any]:
    """Decode one atlas."""
    check_layout_outputs(output, options, noun="splat", force=force)
    atlas = io.load_atlas(source)
    with about(source):
        gaussians = decode(atlas)
        if options.check or options.report is not None:
            report_check(check_atlas(atlas), options.report, force)
    if options.layout == "gaussianverse":
        save_gaussianverse(output, atlas, force=force)
    else:
        io.save_gaussians(output, gaussians, force=force)
    return {"count": len(gaussians)}
