"""Files and streams: the only code that opens one.

Every `source` is a path, "-" for standard input, or a `Blob` that has been read; every `out` is a path or "-" for
standard output. What the user can fix is a GatlasError that begins with the name of the file. Results are written
whole or not at all, and an existing output is kept unless `force` is given. The readers and writers are loaded on
first use, so that importing this package costs nothing. Which formats there are is in `gatlas.io.registry`.
"""
# ruff: noqa: F401

from __future__ import annotations

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.io.atlases.gaussianverse import load_indices, save_published
    from gatlas.io.atlases.npz import atlas_bytes
    from gatlas.io.models.lpips_weights import load_lpips_weights, missing_lpips_weights
    from gatlas.io.nouns import (
        load_atlas,
        load_gaussians,
        load_image,
        load_mesh,
        load_stats,
        save_arrays,
        save_atlas,
        save_film,
        save_gaussians,
        save_image,
        save_mesh,
        save_page,
        save_stats,
    )
    from gatlas.io.outputs import check_output
    from gatlas.io.photos.object_views import unpacked_views, views_ahead
    from gatlas.io.photos.scenes import load_cameras, load_points, load_views, photo_names
    from gatlas.io.photos.transforms import save_views
    from gatlas.io.runs.fit_snapshot import load_checkpoint, remove_checkpoint, save_checkpoint
    from gatlas.io.sets.digests import sha256_of, stamp
    from gatlas.io.sets.inputs import captions_of, list_items, names_many, read_item
    from gatlas.io.sets.items import Item
    from gatlas.io.sets.shards import Member, ShardWriter, read_member, shard_key, stream_members
    from gatlas.io.splats.ply import stored_frame
    from gatlas.io.splats.sog import sog_atlas_meta
    from gatlas.io.streams import Blob, as_blob, exists, is_folder, make_folder, read
    from gatlas.io.text import load_lines, load_names, save_json, save_text

_NAMES = {
    "atlases.gaussianverse": "load_indices save_published",
    "atlases.npz": "atlas_bytes",
    "models.lpips_weights": "load_lpips_weights missing_lpips_weights",
    "nouns": (
        "load_atlas load_gaussians load_image load_mesh load_stats save_arrays save_atlas save_film save_gaussians"
        " save_image save_mesh save_page save_stats"
    ),
    "outputs": "check_output",
    "photos.object_views": "unpacked_views views_ahead",
    "photos.scenes": "load_cameras load_points load_views photo_names",
    "photos.transforms": "save_views",
    "runs.fit_snapshot": "load_checkpoint remove_checkpoint save_checkpoint",
    "sets.digests": "sha256_of stamp",
    "sets.inputs": "captions_of list_items names_many read_item",
    "sets.items": "Item",
    "sets.shards": "Member ShardWriter read_member shard_key stream_members",
    "splats.ply": "stored_frame",
    "splats.sog": "sog_atlas_meta",
    "streams": "Blob as_blob exists is_folder make_folder read",
    "text": "load_lines load_names save_json save_text",
}
_HOMES = {name: f"gatlas.io.{module}" for module, names in _NAMES.items() for name in names.split()}

__all__ = list(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
