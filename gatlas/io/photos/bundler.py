"""Reconstructions of Bundler, which many programs write: a bundle.out, and a list.txt of the names of its photos.

    # Bundle file v0.3
    CAMERAS POINTS
    for each camera: f k1 k2, the three rows of R, and t; all 0 for a photo that was not registered
    for each point: position, color, and how many photos show it: camera, feature, x and y of each

A camera sees R X + t with OpenGL axes (it looks along -z, y is up); f is in pixels, the center is in the middle of the
picture. The world's axes are left as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.lens import Lens
from gatlas.io import streams
from gatlas.io.images import read_header
from gatlas.io.photos.named_files import find_named, say_once
from gatlas.io.photos.points import Points, checked_points
from gatlas.io.photos.posed_photos import PosedPhoto, orthonormalized, pinhole
from gatlas.io.text import load_lines

if TYPE_CHECKING:
    from jaxtyping import Float

_PLACES = ("", "bundle", "bundler")
_INDEX = "bundle.out"
_LISTS = ("list.txt", f"{_INDEX}.list.txt", "list_images.txt", "image_list.txt")
_CAMERA, _SEEN = 15, 4  # numbers of a camera, and of a photo that shows a point
_AXES = np.array([1.0, -1.0, -1.0])


class _Bundle(NamedTuple):
    """Numbers of a bundle file."""

    cameras: Float[np.ndarray, "c 15"]
    xyz: Float[np.ndarray, "p 3"]
    rgb: Float[np.ndarray, "p 3"]  # 0 to 255


def has_scene(folder: str | Path) -> bool:
    """Return True for a folder with a bundle.out."""
    return _index_of(Path(folder)) is not None


def read_posed_photos(folder: str | Path) -> tuple[str, list[PosedPhoto]]:
    """Return the name of the bundle file, and the photos that were registered, in the order of the list."""
    index = _found_index(folder)
    cameras = _read_bundle(index).cameras
    names = _names(Path(folder), index, len(cameras))
    there = np.flatnonzero(cameras[:, 0] > 0)
    if not len(there):
        raise GatlasError(f"{index}: none of its {len(cameras)} photos was registered")
    if len(there) < len(cameras):
        say_once(f"{index}: {len(there)} of {len(cameras)} photos have cameras")
    roots = [place for base in (Path(folder), index.parent, index.parent.parent) for place in (base, base / "images")]
    pictures = find_named(str(index), roots, [names[i] for i in there], noun="picture")
    found = next((picture for picture in pictures if picture is not None), None)
    if found is None:
        raise GatlasError(f"{index}: none of its {len(there)} pictures is there: the first would be {names[there[0]]}")
    viewmats = _viewmats(str(index), cameras[there])
    photos = []
    for i, viewmat, picture in zip(there, viewmats, pictures, strict=True):
        focal, k1, k2 = cameras[i, :3]
        width, height = read_header(picture or found).size
        K = pinhole(f"{index}: {names[i]:.200}", focal, focal, 0.5 * width, 0.5 * height)
        photos.append(PosedPhoto(names[i], picture, None, viewmat, K, Lens(k1, k2), (width, height), False))
    return str(index), photos


def read_points(folder: str | Path) -> Points | None:
    """Return the points of the bundle file; None where it has none."""
    index = _found_index(folder)
    bundle = _read_bundle(index)
    return checked_points(str(index), bundle.xyz, bundle.rgb / 255.0) if len(bundle.xyz) else None


def _index_of(folder: Path) -> Path | None:
    return next((path for place in _PLACES if (path := folder / place / _INDEX).is_file()), None)


def _found_index(folder: str | Path) -> Path:
    index = _index_of(Path(folder))
    if index is None:
        raise GatlasError(f"{folder}: there is no {_INDEX} in this folder")
    return index


def _names(folder: Path, index: Path, count: int) -> list[str]:
    """Return the names of the photos, of which the first words of the lines of a list are."""
    places = (folder, index.parent, index.parent.parent)
    found = next((path for place in places for name in _LISTS if (path := place / name).is_file()), None)
    if found is None:
        raise GatlasError(f"{index}: there is no {_LISTS[0]} beside it with the names of its photos")
    names = [line.split()[0] for line in load_lines(found) if line.strip()]
    if len(names) != count:
        raise GatlasError(f"{found}: has {len(names)} names, and {index} has {count} cameras")
    return names


def _read_bundle(index: Path) -> _Bundle:
    """Return the numbers of a bundle file. One that is cut off, or holds other words, is a GatlasError."""
    blob = streams.read(index)
    lines = blob.data.decode("ascii", "replace").splitlines()
    words = " ".join(line for line in lines if not line.lstrip().startswith("#")).split()
    try:
        numbers = np.array(words, dtype=np.float64)
    except ValueError:
        raise GatlasError(f"{index}: not a bundle file of Bundler: it holds words that are no numbers") from None
    counts = numbers[:2] if len(numbers) >= 2 else np.array([np.nan, np.nan])
    if not (np.isfinite(counts).all() and (counts >= 0).all() and (counts == np.floor(counts)).all()):
        raise GatlasError(
            f"{index}: not a bundle file of Bundler: it must begin with its numbers of cameras and points"
        )
    cameras, points = (int(min(count, len(numbers))) for count in counts)
    end = 2 + _CAMERA * cameras
    if end > len(numbers) or cameras < counts[0]:
        raise GatlasError(
            f"{index}: truncated or damaged: it promises {counts[0]:.0f} cameras, and ends before the last"
        )
    rows, at = [], end
    for i in range(points):
        seen = numbers[at + 6] if at + 6 < len(numbers) else np.nan
        if not 0 <= seen <= len(numbers):
            raise GatlasError(f"{index}: truncated or damaged: it promises {counts[1]:,.0f} points, and has {i:,}")
        rows.append(numbers[at : at + 6])
        at += 7 + _SEEN * int(seen)
    if points < counts[1]:
        raise GatlasError(
            f"{index}: truncated or damaged: it promises {counts[1]:,.0f} points, and ends before the last"
        )
    table = np.stack(rows) if rows else np.empty((0, 6))
    return _Bundle(numbers[2:end].reshape(-1, _CAMERA), table[:, :3], table[:, 3:])


def _viewmats(index: str, cameras: Float[np.ndarray, "n 15"]) -> Float[np.ndarray, "n 4 4"]:
    """Return the matrices world -> camera, OpenCV."""
    if not (np.abs(cameras) < np.finfo(np.float32).max).all():
        raise GatlasError(f"{index}: a camera has numbers that are NaN or infinite")
    viewmats = np.tile(np.eye(4), (len(cameras), 1, 1))
    viewmats[:, :3, :3] = cameras[:, 3:12].reshape(-1, 3, 3)
    viewmats[:, :3, 3] = cameras[:, 12:]
    viewmats[:, :3] *= _AXES[:, None]
    return orthonormalized(viewmats, index, "camera")
