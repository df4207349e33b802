"""COLMAP's text files: cameras.txt, images.txt and points3D.txt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io.photos.colmap_records import CameraRecord, ImageRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float

    from gatlas.io.streams import Blob


def decode_cameras(blob: Blob) -> dict[int, CameraRecord]:
    """CAMERA_ID MODEL WIDTH HEIGHT PARAMS[], one camera a line."""
    cameras = {}
    for number, line in _lines(blob):
        words = line.split()
        if not words:
            continue
        if len(words) < 5:
            raise _damaged(blob, number, "a camera has an id, a model, a width, a height and parameters")
        (camera, width, height), values = _integers(blob, number, [words[0], *words[2:4]]), words[4:]
        cameras[camera] = CameraRecord(words[1], width, height, tuple(_floats(blob, number, values)))
    return cameras


def decode_images(blob: Blob) -> list[ImageRecord]:
    """IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, each followed by a line of X Y POINT3D_ID, which may be empty."""
    images = []
    lines = _lines(blob)
    for number, line in lines:
        words = line.split(maxsplit=9)  # a name may have spaces
        if not words:
            continue
        if len(words) < 10:
            raise _damaged(blob, number, "an image has an id, a pose of 7 numbers, a camera and a name")
        pose = _floats(blob, number, words[1:8])
        (camera,) = _integers(blob, number, words[8:9])
        images.append(ImageRecord(words[9].strip(), tuple(pose[:4]), tuple(pose[4:]), camera))
        seen = next(lines, None)
        if seen is not None and len(seen[1].split()) % 3:
            raise _damaged(blob, seen[0], "an image takes two lines, the second of triples X Y POINT3D_ID")
    return images


def decode_points(blob: Blob) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """POINT3D_ID X Y Z R G B ERROR TRACK[]: positions, and colors from 0 to 255."""
    rows = []
    for number, line in _lines(blob):
        words = line.split(maxsplit=8)
        if not words:
            continue
        if len(words) < 8:
            raise _damaged(blob, number, "a point has an id, a position, a color and an error")
        rows.append(_floats(blob, number, words[1:7], finite=False))
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return table[:, :3], table[:, 3:]


def _lines(blob: Blob) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, without comments; empty ones are kept, since they may stand for no points."""
    for number, line in enumerate(blob.data.decode("utf-8", "surrogateescape").splitlines(), start=1):
        if not line.lstrip("\ufeff \t").startswith("#"):
            yield number, line


def _integers(blob: Blob, number: int, words: list[str]) -> list[int]:
    try:
        return [int(word) for word in words]
    except ValueError:
        raise _damaged(blob, number, f"{' '.join(words)[:60]!r} must be whole numbers") from None


def _floats(blob: Blob, number: int, words: list[str], *, finite: bool = True) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise _damaged(blob, number, f"{' '.join(words)[:60]!r} must be numbers") from None
    if finite and not all(math.isfinite(value) for value in values):
        raise _damaged(blob, number, "it has numbers that are NaN or infinite")
    return values


def _damaged(blob: Blob, number: int, rule: str) -> GatlasError:
    return GatlasError(f"{blob.name}: line {number}: {rule}")
