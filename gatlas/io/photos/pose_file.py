"""Cameras that were found, as a transforms.json with what is known of each; and what they are found from."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.lens import Lens
from gatlas.io import streams
from gatlas.io.photos.photo_loader import pair_frames
from gatlas.io.photos.transforms import camera_entry, read_shots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

    from gatlas.io.streams import Blob


class PoseRecord(NamedTuple):
    """One photo's camera, or why there is none."""

    photo: str  # path, or "-"
    size: tuple[int, int]  # width, height
    K: Float[np.ndarray, "3 3"]  # of the photo as it lies there
    lens: Lens  # of the photo as it lies there
    viewmat: Float[np.ndarray, "4 4"] | None  # world -> camera, OpenCV; None: not found
    said: Mapping[str, Any]  # inliers, residuals, losses, runner-up, or the reason


def write_poses(out: str | Path, records: Sequence[PoseRecord], *, force: bool, summary: Mapping[str, Any]) -> None:
    """Write a transforms.json whose frames are the photos that were found; the others stand in `not_found`.

    Paths are relative to the file's folder; on standard output they are as they were given.
    """
    frames, lost = [], []
    for record in records:
        path = _relative(record.photo, out)
        if record.viewmat is None:
            lost.append({"file_path": path, **record.said})
        else:
            entry = camera_entry(record.viewmat, record.K, *record.size, record.lens)
            frames.append({"file_path": path, **entry, **record.said})
    document = {**summary, "frames": frames, **({"not_found": lost} if lost else {})}
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    streams.write(out, [text.encode()], force=force, suffix=".json", what="cameras", name="poses", text=True)


def zoomed_lens(lens: Lens, factor: float) -> Lens:
    """The lens that bends the same pixels in the same way where the focal length is `factor` times as long.

    The coefficients act on rays, which are shorter by that factor.
    """
    powers = Lens(k1=2, k2=4, k3=6, k4=8, p1=1, p2=1)
    return Lens(*(value * factor**power for value, power in zip(lens, powers, strict=True)))


def _relative(photo: str, out: str | Path) -> str:
    if streams.is_stream(out) or streams.is_stream(photo):
        return photo
    return Path(os.path.relpath(photo, Path(out).resolve().parent)).as_posix()


def read_viewmats(source: str | Path | Blob, photos: Sequence[str]) -> Float[np.ndarray, "n 4 4"]:
    """The camera (world -> camera) that a transforms.json, or its folder, has of each photo; see `pair_frames`."""
    name, shots, _, _ = read_shots(source)
    numbers = pair_frames(name, [shot.name for shot in shots], [shot.picture for shot in shots], photos)
    chosen = []
    for photo, number in zip(photos, numbers, strict=True):
        if number is None:
            raise GatlasError(f"{name}: has no camera of {photo}")
        chosen.append(shots[number].viewmat)
    return np.stack(chosen)


def read_matches(blob: Blob) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m 2"]]:
    """`points` [m 3] (world units) and `pixels` [m 2] (x, y; the first pixel's centre is 0.5, 0.5) of an NPZ file."""
    try:
        with np.load(io.BytesIO(blob.data), allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], dtype=np.float64) for name in ("points", "pixels")}
    except (
        KeyError,
        ValueError,
        TypeError,
        EOFError,
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        AttributeError,
    ) as error:
        raise GatlasError(f"{blob.name}: no matches: it must be an NPZ of 'points' and 'pixels': {error}") from None
    points, pixels = arrays["points"], arrays["pixels"]
    if points.ndim != 2 or points.shape[1] != 3 or pixels.shape != (len(points), 2):
        raise GatlasError(
            f"{blob.name}: 'points' must be [m 3] and 'pixels' [m 2], got {list(points.shape)} and {list(pixels.shape)}"
        )
    return points, pixels
