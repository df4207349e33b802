"""Numbers in JSON, and intrinsics of pictures of another size, for the layouts of photos with cameras."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import registry, streams
from gatlas.io.images import read_header
from gatlas.io.photos.colmap_records import MOST_PIXELS
from gatlas.io.photos.posed_photos import pinhole

if TYPE_CHECKING:
    from jaxtyping import Float

LARGEST = float(np.finfo(np.float32).max)
ASPECT_TOLERANCE = 0.01  # largest |log| of the ratio of two aspect ratios that are the same but for rounding


def number(where: str, entry: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """Return a number of a JSON object, within float32's range; one that is missing or none is a GatlasError."""
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise GatlasError(f"{where}: {key!r} must be a number, got {value!r:.100}")
    return float(value)


def vector(where: str, values: Any, count: int, what: str) -> Float[np.ndarray, " n"]:
    """Return `count` numbers of a JSON list, float64 and within float32's range; anything else is a GatlasError."""
    plain = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    found = np.array(values, dtype=np.float64) if plain and len(values) == count else np.empty(0)
    if len(found) != count or not (np.abs(found) <= LARGEST).all():
        raise GatlasError(f"{where}: {what} must be {count} numbers, got {values!r:.100}")
    return found


def whole_size(where: str, entry: Mapping[str, Any], width: str, height: str) -> tuple[int, int]:
    """Return the size of a picture in pixels, which two keys of a JSON object hold."""
    size = number(where, entry, width), number(where, entry, height)
    if not all(1 <= side <= MOST_PIXELS and side == int(side) for side in size):
        raise GatlasError(f"{where}: {width!r} and {height!r} must be a picture's size in pixels, got {size}")
    return int(size[0]), int(size[1])


def of_picture(
    where: str, K: Float[np.ndarray, "3 3"], stated: tuple[int, int], picture: Path | None
) -> tuple[Float[np.ndarray, "3 3"], tuple[int, int]]:
    """Return K and the size of a picture as it lies there, whose K is stated for another size of the same shape.

    A picture of another shape keeps what is stated, and is refused when it is read, unless its EXIF tag turns it.
    """
    if picture is None:
        return K, stated
    header = read_header(picture)
    if stated in (header.size, header.turned_size):
        return K, stated
    size = next((size for size in (header.size, header.turned_size) if _same_shape(size, stated)), None)
    if size is None:
        return K, stated
    x, y = size[0] / stated[0], size[1] / stated[1]
    return pinhole(where, K[0, 0] * x, K[1, 1] * y, K[0, 2] * x, K[1, 2] * y), size


def _same_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    return abs(math.log((first[0] / first[1]) / (second[0] / second[1]))) <= ASPECT_TOLERANCE


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures in a folder, sorted by name; [] where there is no such folder."""
    with streams.os_errors(folder):
        found = sorted(folder.iterdir()) if folder.is_dir() else []
    suffixes: Sequence[str] = registry.suffixes("image")
    return [path for path in found if path.suffix.lower() in suffixes and not path.name.startswith(".")]
