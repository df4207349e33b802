"""gatlas atlas-encode"""

from __future__ import annotations

from typing import Any

from gatlas import io
from gatlas.atlas import EncodeOptions, check_atlas, encode, from_published
from gatlas.atlas.encoding import summary
from gatlas.atlas.sog import as_grid, from_grid
from gatlas.cli.layouts import check_layout_outputs, names_sog, report_check, save_gaussianverse
from gatlas.cli.terminal import about, message
from gatlas.cli.verb import Input
from gatlas.errors import GatlasError


def run(source: Input, output: str, options: EncodeOptions, *, force: bool) -> dict[str, Any]:
    """Encode one splat."""
    if (options.gs2sphere is None) != (options.sphere2plane is None):
        raise GatlasError("--gs2sphere and --sphere2plane go together")
    published = options.gs2sphere is not None
    if published and options.up is not None:
        raise GatlasError("--up cannot be combined with --gs2sphere: the index maps hold in the axes of the file")
    sog = names_sog(output)
    check_layout_outputs(output, options, noun="splat" if sog else "atlas", force=force)
    blob = io.as_blob(source)
    gaussians = io.load_gaussians(
        blob, as_stored=published, up=options.up, drop_invalid=options.drop_invalid, report=message
    )
    with about(source):
        if options.gs2sphere is not None and options.sphere2plane is not None:
            maps = io.load_indices(options.gs2sphere), io.load_indices(options.sphere2plane)
            frame = io.stored_frame(blob)
            atlas, reading = from_published(gaussians, *maps, projection=options.projection, frame=frame)
            message(
                f"read gs2sphere as {reading.gs2sphere} of the {reading.order} Gaussians and sphere2plane as "
                f"{reading.sphere2plane}: grid neighbors are {reading.locality:.3f} of a random pair's distance apart"
            )
        elif (meta := io.sog_atlas_meta(blob)) is not None and _fits(meta, options):
            atlas = from_grid(gaussians, meta)
            message("its pixels are the cells of an atlas: no transport is needed")
        else:
            atlas = encode(gaussians, options)
    message(summary(atlas, gaussians))
    if options.check or options.report is not None:
        report_check(check_atlas(atlas, None if published else gaussians), options.report, force)
    if options.layout == "gaussianverse":
        save_gaussianverse(output, atlas, force=force)
    elif sog:
        io.save_gaussians(output, as_grid(atlas), force=force, atlas=atlas.meta)
    else:
        io.save_atlas(output, atlas, force=force)
    return {"count": atlas.meta["count"], "gap": atlas.meta["transport"]["gap"]}


def _fits(meta: dict[str, Any], options: EncodeOptions) -> bool:
    """Return True for the meta of an atlas that has the layout of the options."""
    return (meta.get("size"), meta.get("projection")) == (options.size, options.projection)
