"""gatlas render -o x.html"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.atlas import decode
from gatlas.cli.terminal import about, check_outputs, counting_bar, message
from gatlas.errors import GatlasError
from gatlas.images.colors import parse_background
from gatlas.io.registry import written_suffixes
from gatlas.render.page import PageSplat, splat_page

if TYPE_CHECKING:
    from gatlas.cli.verb import Input
    from gatlas.io import Blob
    from gatlas.render import RenderOptions


def names_page(output: str) -> bool:
    """Return True where an output is a page for a browser."""
    return PurePath(output).suffix.lower() in written_suffixes("page")


def run_page(sources: Iterable[Input], output: str, options: RenderOptions, *, force: bool) -> dict[str, Any]:
    """Write one page of all the splats and atlases."""
    check_outputs(output, options, noun="page", force=force)
    options.check_page()
    parse_background(options.background or "white")
    with counting_bar("splats", None) as count:
        splats = [_counted(_load(io.as_blob(source), options), count) for source in sources]
    io.save_page(output, splat_page(splats, replace(options, up=None)), force=force)
    return {"splats": len(splats)}


def _counted(splat: PageSplat, count: Any) -> PageSplat:
    count()
    return splat


def _load(blob: Blob, options: RenderOptions) -> PageSplat:
    """Return a splat, or the one that an atlas holds."""
    if blob.kind == "atlas":
        if options.up is not None:
            raise GatlasError("--up is for meshes and splats: an atlas is upright")
        atlas = io.load_atlas(blob)
        with about(blob):
            gaussians = decode(atlas)
        return PageSplat(blob.stem or gaussians.origin.name, gaussians, atlas if options.with_atlas else None)
    if blob.kind == "mesh":
        raise GatlasError(f"{blob.name}: a page shows splats and atlases: fit the mesh first, gatlas fit")
    if options.with_atlas:
        raise GatlasError(f"{blob.name}: --with-atlas is for atlases, and this is none")
    gaussians = io.load_gaussians(blob, up=options.up, drop_invalid=options.drop_invalid, report=message)
    return PageSplat(blob.stem or gaussians.origin.name, gaussians)
