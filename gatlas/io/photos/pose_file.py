"""Files of camera poses: writing found cameras as a transforms.json, and reading cameras and correspondences."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import outputs, streams
from gatlas.io.array_reader import read_npz
from gatlas.io.photos.exif_turns import KEY as EXIF_TURNED
from gatlas.io.photos.photo_loader import pair_frames
from gatlas.io.photos.transforms import camera_entry, read_posed_photos

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

    from gatlas.geometry.lens import Lens
    from gatlas.io.streams import Blob


class PoseRecord(NamedTuple):
    """The entry of one photo in a file of poses."""

    photo: str  # path, or "-"
    size: tuple[int, int]  # width, height
    K: Float[np.ndarray, "3 3"]  # of the photo as it was taken
    lens: Lens  # of the photo as it was taken
    viewmat: Float[np.ndarray, "4 4"] | None  # world -> camera, OpenCV; None: not found
    details: Mapping[str, Any]  # inliers, residuals, losses, runner-up, or the reason
    exif_turned: bool = False  # size, K and viewmat are of the photo as its EXIF tag turns it


def write_poses(out: str | Path, records: Sequence[PoseRecord], *, force: bool, summary: Mapping[str, Any]) -> None:
    """Write a transforms.json with a frame per camera that was found; the other photos are listed in `not_found`.

    Paths are relative to the file's folder; on standard output they are as they were given. Numbers that JSON does not
    have are written as null.
    """
    frames, not_found = [], []
    for record in records:
        path = _relative(record.photo, out)
        if record.viewmat is None:
            not_found.append({"file_path": path, **record.details})
        else:
            entry = camera_entry(record.viewmat, record.K, *record.size, record.lens)
            turned = {EXIF_TURNED: True} if record.exif_turned else {}
            frames.append({"file_path": path, **entry, **turned, **record.details})
    document = {**summary, "frames": frames, **({"not_found": not_found} if not_found else {})}
    text = json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"
    outputs.write(out, [text.encode()], force=force, suffix=".json", what="cameras", name="poses", text=True)


def _finite(value: Any) -> Any:
    """Return a JSON-able value with None in place of NaN and infinity."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _relative(photo: str, out: str | Path) -> str:
    if streams.is_stream(out) or streams.is_stream(photo):
        return photo
    return Path(os.path.relpath(photo, Path(out).resolve().parent)).as_posix()


def read_viewmats(source: str | Path | Blob, photos: Sequence[str]) -> Float[np.ndarray, "n 4 4"]:
    """Return the camera (world -> camera) of each photo in a transforms.json or its folder; see `pair_frames`."""
    name, posed = read_posed_photos(source)
    numbers = pair_frames(name, [each.name for each in posed], [each.picture for each in posed], photos)
    viewmats = []
    for photo, number in zip(photos, numbers, strict=True):
        if number is None:
            raise GatlasError(f"{name}: has no camera of {photo}")
        viewmats.append(posed[number].viewmat)
    return np.stack(viewmats)


def read_matches(blob: Blob) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m 2"]]:
    """Return `points` [m 3] (world units) and `pixels` [m 2] (x, y; first pixel center at 0.5, 0.5) of an NPZ file."""
    fault = "no matches: it must be an NPZ of 'points' and 'pixels'"
    arrays = read_npz(blob, ("points", "pixels"), finite=True, fault=fault)
    for name in ("points", "pixels"):
        if name not in arrays:
            raise GatlasError(f"{blob.name}: {fault}: it has no array '{name}'")
        if arrays[name].dtype.kind not in "iuf":
            raise GatlasError(f"{blob.name}: {fault}: '{name}' must be real numbers, got {arrays[name].dtype}")
    points, pixels = arrays["points"], arrays["pixels"]
    if points.ndim != 2 or points.shape[1] != 3 or pixels.shape != (len(points), 2):
        raise GatlasError(
            f"{blob.name}: 'points' must be [m 3] and 'pixels' [m 2], got {list(points.shape)} and {list(pixels.shape)}"
        )
    return points.astype(np.float64), pixels.astype(np.float64)
