"""Photos without poses, and the intrinsics that a file or a field of view gives them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import streams
from gatlas.io.images import decode_image
from gatlas.io.lens import pinhole, undistort
from gatlas.io.transforms import lens_of, picture_size, projection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from gatlas.io.streams import Blob

    Shown = tuple[str, Float[np.ndarray, "h w d"], Float[np.ndarray, "3 3"]]

LEAST_SIDE = 16  # pixels of a photo
ASPECT = 0.01  # by how much a photo's shape may differ from what the file says


def read_photos(names: Sequence[str], *, fov: float | None = None, source: str | None = None) -> list[Shown]:
    """(name, picture, K) of each photo; K in pixels of the picture, which is upright and undistorted.

    `fov` is the field of view in degrees of the photo's shorter side, its principal point in the middle. `source` is a
    JSON file of the kind of transforms.json instead: fl_x, fl_y, cx, cy, w, h or camera_angle_x at the top, and where
    it has frames, those of the frame whose file_path has the photo's name. What is said of another size than the
    photo's is scaled to it.
    """
    if (fov is None) == (source is None):
        raise GatlasError("the photos' field of view is needed: give --fov DEGREES, or a file with --intrinsics")
    if fov is not None and not 0 < fov < 180:
        raise GatlasError(f"--fov must be between 0 and 180 degrees, got {fov:g}")
    document = None if source is None else _document(streams.read(source))
    shown = []
    for name in names:
        blob = streams.read(name)
        picture = decode_image(blob)
        height, width = picture.shape[:2]
        if min(height, width) < LEAST_SIDE:
            raise GatlasError(f"{blob.name}: has {width} x {height} pixels; a photo needs {LEAST_SIDE} a side")
        if document is None:
            focal = 0.5 * min(width, height) / math.tan(0.5 * math.radians(fov or 0.0))
            K = np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])
        else:
            picture, K = _as_pinhole(*document, Path(name).stem, blob.name, picture)
        shown.append((blob.stem, picture, K))
    return shown


def _document(blob: Blob) -> tuple[Blob, dict[str, Any]]:
    try:
        document = json.loads(blob.data)
    except (ValueError, RecursionError) as error:
        raise GatlasError(f"{blob.name}: no intrinsics: it is no JSON: {error}") from None
    frames = document.get("frames", []) if isinstance(document, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise GatlasError(f"{blob.name}: no intrinsics: it must be a JSON object with fl_x, fl_y, cx, cy, w and h")
    return blob, document


def _as_pinhole(
    blob: Blob, document: dict[str, Any], stem: str, photo: str, picture: Float[np.ndarray, "h w d"]
) -> tuple[Float[np.ndarray, "h w d"], Float[np.ndarray, "3 3"]]:
    frames = [frame for frame in document.get("frames", []) if Path(str(frame.get("file_path"))).stem == stem]
    if len(frames) > 1:
        raise GatlasError(
            f"{blob.name}: {len(frames)} of its frames are called {stem!r}: name one with that photo only"
        )
    frame = frames[0] if frames else {}
    height, width = picture.shape[:2]
    stated = picture_size(blob, document, frame) or (width, height)
    if abs(math.log((stated[0] / stated[1]) / (width / height))) > ASPECT:
        raise GatlasError(
            f"{photo}: has {width} x {height} pixels, and {blob.name} is of {stated[0]} x {stated[1]}: "
            "another shape, cut from another photo"
        )
    try:
        K, lens = projection(blob, document, frame, *stated), lens_of(blob, document, frame)
    except GatlasError as error:
        raise GatlasError(f"{error} (for {photo})") from None
    K = K * np.array([[width / stated[0]], [height / stated[1]], [1.0]])
    if not lens.bends:
        return picture, K
    straight = pinhole(blob.name, K, lens, width, height)
    return undistort(picture, K, lens, straight), straight
