"""gatlas convert"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.cli.terminal import about, check_outputs, message
from gatlas.cli.verb import Input
from gatlas.convert import ConvertOptions, convert, merge
from gatlas.errors import GatlasError
from gatlas.io.registry import suffixes

if TYPE_CHECKING:
    from gatlas.types import Gaussians


def run(source: Input | list[str], output: str, options: ConvertOptions, *, force: bool) -> dict[str, Any]:
    """Convert one splat, or several that are merged."""
    check_outputs(output, options, noun="splat", force=force)
    if isinstance(source, list):
        items = io.list_items(source, suffixes("splat")) if source != ["-"] else []
        blobs = [io.read_item(item) for item in items] or [io.as_blob("-")]
        parts = [_load(blob, options) for blob in blobs]
        made = convert(merge(parts, report=message), options, report=message)
    else:
        blob = io.as_blob(source)
        loaded = _load(blob, options)
        with about(source):
            made = convert(loaded, options, report=message)
    version = options.spz_version if options.spz_version != 4 else None
    io.save_gaussians(output, made, force=force, spz_version=version)
    return {"count": len(made)}


def _load(blob: io.Blob, options: ConvertOptions) -> Gaussians:
    """Return the Gaussians of a splat, or those that an atlas holds."""
    if blob.kind != "atlas":
        return io.load_gaussians(blob, up=options.up, drop_invalid=options.drop_invalid, report=message)
    from gatlas.atlas import decode

    if options.up is not None:
        raise GatlasError("--up is for splats: an atlas is upright")
    with about(blob):
        return decode(io.load_atlas(blob))
