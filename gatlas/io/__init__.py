"""Files and streams: the only code that opens one.

Every `source` is a path, "-" for standard input, or a `Blob` that has been read; every `out` is a path or "-" for
standard output. What the user can fix is a GatlasError that begins with the name of the file. Results are written
whole or not at all, and an existing output is kept unless `force` is given. The readers and writers are loaded on
first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io.streams import Blob, as_blob, check_output, exists, is_folder, make_folder, read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from jaxtyping import Float, Int

    from gatlas.io.models.lpips_weights import LpipsWeights
    from gatlas.io.photos.points import Points
    from gatlas.io.sets.digests import sha256_of, stamp
    from gatlas.io.sets.inputs import Item, names_many, read_item, sidecars
    from gatlas.io.sets.results import FolderResults, StreamResults, TarResults
    from gatlas.io.sets.shards import Member, ShardWriter, read_member, shard_key, stream_members
    from gatlas.types import Atlas, AtlasStats, Cameras, Gaussians, Mesh, Views

    Source = str | Path | Blob

__all__ = [
    "Blob",
    "FolderResults",
    "Item",
    "Member",
    "ShardWriter",
    "StreamResults",
    "TarResults",
    "as_blob",
    "atlas_bytes",
    "check_output",
    "exists",
    "is_folder",
    "list_items",
    "load_atlas",
    "load_cameras",
    "load_checkpoint",
    "load_gaussians",
    "load_image",
    "load_indices",
    "load_lines",
    "load_lpips_weights",
    "load_mesh",
    "load_names",
    "load_points",
    "load_stats",
    "load_views",
    "make_folder",
    "missing_lpips_weights",
    "names_many",
    "read",
    "read_item",
    "read_member",
    "remove_checkpoint",
    "save_atlas",
    "save_checkpoint",
    "save_gaussians",
    "save_image",
    "save_json",
    "save_published",
    "save_stats",
    "save_text",
    "save_views",
    "sha256_of",
    "shard_key",
    "sidecars",
    "stamp",
    "stored_frame",
    "stream_members",
]


_LAZY = {
    "FolderResults": "gatlas.io.sets.results",
    "Item": "gatlas.io.sets.inputs",
    "Member": "gatlas.io.sets.shards",
    "ShardWriter": "gatlas.io.sets.shards",
    "StreamResults": "gatlas.io.sets.results",
    "TarResults": "gatlas.io.sets.results",
    "names_many": "gatlas.io.sets.inputs",
    "read_item": "gatlas.io.sets.inputs",
    "read_member": "gatlas.io.sets.shards",
    "sha256_of": "gatlas.io.sets.digests",
    "shard_key": "gatlas.io.sets.shards",
    "sidecars": "gatlas.io.sets.inputs",
    "stamp": "gatlas.io.sets.digests",
    "stream_members": "gatlas.io.sets.shards",
}


def list_items(inputs: Sequence[str], suffix: str | tuple[str, ...], *, photos: bool = False) -> list[Item]:
    """The files that the words of a command line mean, those in folders and shards too. See `gatlas.io.sets.inputs`."""
    from gatlas.io.sets.inputs import gather

    return gather(inputs, suffix, photos=photos)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'gatlas.io' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name]), name)


def load_gaussians(source: Source, *, as_stored: bool = False) -> Gaussians:
    """The Gaussians of a splat (float32), in the object's own frame, y up: 3DGS PLY, compressed PLY, .splat, .spz.

    `as_stored` keeps the axes of the file, for index maps that were made on them.
    """
    from gatlas.io.splats.ply import decode_ply

    return decode_ply(as_blob(source), as_stored=as_stored)


def stored_frame(source: Source) -> str:
    """ "y-down" or "y-up": the frame of a splat PLY's axes."""
    from gatlas.io.splats.ply import frame_of

    return frame_of(as_blob(source))


def save_gaussians(out: str | Path, gaussians: Gaussians, *, force: bool = False, frame: str = "y-down") -> None:
    """Write the 3DGS PLY that every viewer reads. `frame` "y-up" leaves out the half turn that viewers undo."""
    from gatlas.io.splats.ply import write_ply

    write_ply(out, gaussians, force=force, frame=frame)


def load_indices(source: Source) -> Int[np.ndarray, " n"]:
    """The index map of an NPY file (int64)."""
    from gatlas.io.atlases.gaussianverse import decode_indices

    return decode_indices(as_blob(source))


def save_published(
    folder: str | Path,
    gaussians: Gaussians,
    gs2sphere: Int[np.ndarray, " n"],
    sphere2plane: Int[np.ndarray, " n"],
    *,
    force: bool = False,
) -> None:
    """Write GaussianVerse's layout: point_cloud.ply, gs2sphere.npy and sphere2plane.npy in a folder."""
    from gatlas.io.atlases.gaussianverse import write_folder

    write_folder(folder, gaussians, gs2sphere, sphere2plane, force=force)


def load_atlas(source: Source) -> Atlas:
    """The planes (float32, raw) and the meta of an atlas NPZ. See `gatlas.io.atlases.npz`."""
    from gatlas.io.atlases.npz import decode_atlas

    return decode_atlas(as_blob(source))


def save_atlas(out: str | Path, atlas: Atlas, *, force: bool = False) -> None:
    """Write an atlas NPZ; the same atlas gives the same bytes."""
    from gatlas.io.atlases.npz import write_atlas

    write_atlas(out, atlas, force=force)


def atlas_bytes(atlas: Atlas) -> bytes:
    """The bytes that `save_atlas` writes."""
    from gatlas.io.atlases.npz import encode_atlas

    return encode_atlas(atlas)


def load_stats(source: Source) -> AtlasStats:
    """The statistics of a statistics NPZ (float64, raw units)."""
    from gatlas.io.atlases.npz import decode_stats

    return decode_stats(as_blob(source))


def save_stats(out: str | Path, stats: AtlasStats, *, force: bool = False) -> None:
    """Write a statistics NPZ; the same statistics give the same bytes."""
    from gatlas.io.atlases.npz import write_stats

    write_stats(out, stats, force=force)


def load_mesh(source: Source) -> Mesh:
    """The mesh of a GLB, glTF, OBJ or PLY file. See `gatlas.io.meshes.read`."""
    from gatlas.io.meshes.read import mesh_from_blob

    return mesh_from_blob(as_blob(source))


def load_image(source: Source) -> Float[np.ndarray, "h w d"]:
    """An RGB or straight RGBA picture (PNG, JPEG or WebP), sRGB-encoded float32 in [0, 1]."""
    from gatlas.io.images import decode_image

    return decode_image(as_blob(source))


def save_image(out: str | Path, image: Float[np.ndarray, "h w d"], *, force: bool = False, name: str = "") -> None:
    """Write an RGB or RGBA picture in [0, 1] as an 8-bit PNG. `name` names the file where the output is a terminal."""
    from gatlas.io.images import write_png

    write_png(out, image, force=force, name=name)


def load_cameras(source: Source) -> Cameras:
    """The cameras of a transforms.json, of the folder that holds it, or of a COLMAP model's folder.

    Pictures need not be there. Cameras with lens distortion are given as the pinholes of the undistorted pictures.
    """
    if _is_colmap(source):
        from gatlas.io.photos.colmap import read_cameras as read_colmap_cameras

        return read_colmap_cameras(str(source))
    from gatlas.io.photos.transforms import read_cameras

    return read_cameras(source)


def load_views(folder: str | Path, *, side: int | None = None) -> Views:
    """The pictures and cameras of a folder of photos, undistorted, their longer side at most `side` pixels.

    The folder holds a transforms.json (which may itself be named), else a COLMAP model in sparse/0, sparse or the
    folder itself. Missing pictures are left out with one warning; see `gatlas.io.photos`.
    """
    if _is_colmap(folder):
        from gatlas.io.photos.colmap import read_views as read_colmap_views

        return read_colmap_views(folder, side=side)
    from gatlas.io.photos.transforms import read_views

    return read_views(folder, side=side)


def load_points(source: Source) -> Points | None:
    """Coloured points: of a point-cloud PLY, of a COLMAP model's folder, or those that a transforms.json names.

    None where a folder or a transforms.json has none.
    """
    if _is_colmap(source):
        from gatlas.io.photos.colmap import read_points as read_colmap_points

        return read_colmap_points(str(source))
    if not isinstance(source, Blob) and is_folder(source):
        from gatlas.io.photos.transforms import read_points

        return read_points(source)
    blob = as_blob(source)
    if blob.kind == "transforms":
        from gatlas.io.photos.transforms import read_points

        return read_points(blob)
    from gatlas.io.photos.points import ply_points

    return ply_points(blob)


def _is_colmap(source: Source) -> bool:
    """Whether a source is a folder with a COLMAP model and no transforms.json. Neither is a GatlasError."""
    if isinstance(source, Blob) or not is_folder(source):
        return False
    from gatlas.io.photos.colmap import find_model
    from gatlas.io.photos.transforms import INDEX, has_index, picture_suffix

    if has_index(source):
        return False
    if find_model(source) is None:
        photos = "; photos need cameras: run COLMAP on them first" if picture_suffix(source) else ""
        raise GatlasError(
            f"{source}: there is no {INDEX} in this folder, and no COLMAP model (images.bin or images.txt, "
            f"in sparse/0, sparse, the folder itself or colmap/sparse){photos}"
        )
    return True


def save_views(folder: str | Path, views: Views, *, force: bool = False) -> None:
    """Write PNGs and their transforms.json into a folder, which is made where it is missing."""
    from gatlas.io.photos.transforms import write_views

    write_views(folder, views, force=force)


def load_checkpoint(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The arrays and meta of a checkpoint; None where there is no such file yet."""
    from gatlas.io.runs.fit_snapshot import decode_checkpoint, is_there

    return decode_checkpoint(read(path)) if is_there(path) else None


def save_checkpoint(path: str | Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Write a checkpoint over the one that is there."""
    from gatlas.io.runs.fit_snapshot import write_checkpoint

    write_checkpoint(path, arrays, meta)


def remove_checkpoint(path: str | Path) -> None:
    """Remove a checkpoint whose work is done, if there is one."""
    from gatlas.io.runs.fit_snapshot import remove

    remove(path)


def load_lines(source: Source) -> list[str]:
    """The lines of a UTF-8 text that hold anything, without the space around them."""
    blob = as_blob(source)
    try:
        lines = blob.data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise GatlasError(f"{blob.name}: not a UTF-8 text: {error.reason} at byte {error.start}") from None
    return [line.strip() for line in lines if line.strip()]


def load_names(source: Source, *, null: bool = False) -> list[str]:
    """The file names of a list, one a line, or each ended by NUL as `find -print0` writes them."""
    import os

    blob = as_blob(source)
    names = blob.data.split(b"\0" if null else b"\n")
    return [os.fsdecode(name if null else name.rstrip(b"\r")) for name in names if name.strip()]


def load_lpips_weights(path: str | Path | None = None) -> LpipsWeights:
    """Backbone and heads of LPIPS, from `path` or where torch keeps its weights."""
    from gatlas.io.models.lpips_weights import load_lpips_weights as load

    return load(path)


def missing_lpips_weights() -> str | None:
    """One line that says what LPIPS lacks and how to get it; None where all is there."""
    from gatlas.io.models.lpips_weights import missing_lpips_weights as missing

    return missing()


def save_json(out: str | Path, obj: Any, *, force: bool = False, name: str = "") -> None:
    """Write an object as JSON. NaN and infinity, which JSON does not have, are a ValueError."""
    import json

    from gatlas.io.streams import write

    text = json.dumps(obj, indent=2, allow_nan=False) + "\n"
    write(out, [text.encode()], force=force, suffix=".json", what="JSON", name=name, text=True)


def save_text(out: str | Path, text: str, *, force: bool = False) -> None:
    """Write a text in UTF-8."""
    from gatlas.io.streams import write

    write(out, [text.encode()], force=force, suffix="", what="text", text=True)
