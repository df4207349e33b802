"""Reconstructions of OpenSfM, and of OpenDroneMap, which runs it: a reconstruction.json beside the photos.

    reconstruction.json, or opensfm/reconstruction.json    a list of reconstructions: cameras, shots, points
    images/                                                the photos, by the names of the shots

Poses are world -> camera with OpenCV axes, their rotations as axes times angles. Focal lengths and centers are in units
of the longer side of the picture, the center from its middle. The world's axes are left as they are: z is up.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.lens import Lens
from gatlas.geometry.rotations import rigid_motions, so3_exp
from gatlas.io import streams
from gatlas.io.json_reader import read_json
from gatlas.io.photos.layouts import number, of_picture, vector, whole_size
from gatlas.io.photos.named_files import find_named, say_once
from gatlas.io.photos.points import Points, checked_points
from gatlas.io.photos.posed_photos import PosedPhoto, pinhole

if TYPE_CHECKING:
    from jaxtyping import Float

INDEX = "reconstruction.json"
MOST_TURN = 100.0  # radians; OpenSfM writes at most pi
_PLACES = ("", "opensfm")
_LENSES = ("perspective", "simple_radial", "radial", "brown")


def has_scene(folder: str | Path) -> bool:
    """Return True for a folder with a reconstruction."""
    return _index_of(Path(folder)) is not None


def read_posed_photos(folder: str | Path) -> tuple[str, list[PosedPhoto]]:
    """Return the name of the index, and the photos of its largest reconstruction, sorted by name."""
    index, document = _reconstruction(Path(folder))
    cameras, shots = document["cameras"], document["shots"]
    names = sorted(shots)
    roots = [place for base in (Path(folder), index.parent) for place in (base / "images", base)]
    pictures = find_named(str(index), roots, names, noun="picture")
    return str(index), [
        _photo(str(index), name, shots[name], cameras, picture) for name, picture in zip(names, pictures, strict=True)
    ]


def read_points(folder: str | Path) -> Points | None:
    """Return the points of the largest reconstruction; None where it has none."""
    index, document = _reconstruction(Path(folder))
    points = document.get("points", {})
    if not isinstance(points, dict) or not all(isinstance(point, dict) for point in points.values()):
        raise GatlasError(f"{index}: 'points' must be an object of points by their names")
    if not points:
        return None
    xyz, rgb = (
        np.stack([vector(f"{index}: point {name:.50}", point.get(key), 3, repr(key)) for name, point in points.items()])
        for key in ("coordinates", "color")
    )
    return checked_points(str(index), xyz, rgb / 255.0)


def _index_of(folder: Path) -> Path | None:
    return next((path for place in _PLACES if (path := folder / place / INDEX).is_file()), None)


def _reconstruction(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the file and its largest reconstruction, whose cameras and shots are objects of objects."""
    index = _index_of(folder)
    if index is None:
        raise GatlasError(f"{folder}: there is no {INDEX} in this folder")
    found = read_json(streams.read(index), fault="no reconstruction of OpenSfM")
    if not isinstance(found, list) or not all(_is_whole(each) for each in found):
        raise GatlasError(f"{index}: no reconstruction of OpenSfM: it must be a list of objects with cameras and shots")
    if not any(each["shots"] for each in found):
        raise GatlasError(f"{index}: the reconstruction has no shots: nothing was registered")
    largest = max(found, key=lambda each: len(each["shots"]))
    if len(found) > 1:
        say_once(
            f"{index}: the largest of its {len(found)} reconstructions is taken, of {len(largest['shots'])} photos"
        )
    return index, largest


def _is_whole(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    return all(
        isinstance(entries := document.get(key), dict) and all(isinstance(each, dict) for each in entries.values())
        for key in ("cameras", "shots")
    )


def _photo(index: str, name: str, shot: dict[str, Any], cameras: dict[str, Any], picture: Path | None) -> PosedPhoto:
    where = f"{index}: {name:.200}"
    key = shot.get("camera")
    camera = cameras.get(key) if isinstance(key, str) else None
    if camera is None:
        raise GatlasError(f"{where}: its camera {key!r:.100} is not among the cameras")
    rotation = vector(where, shot.get("rotation"), 3, "'rotation'")
    if np.linalg.norm(rotation) > MOST_TURN:
        raise GatlasError(f"{where}: its rotation, an axis times an angle in radians, is of {rotation} radians")
    viewmat = rigid_motions(so3_exp(rotation), vector(where, shot.get("translation"), 3, "'translation'"))
    K, lens, stated = _intrinsics(f"{index}: camera {key:.100}", camera)
    K, size = of_picture(where, K, stated, picture)
    return PosedPhoto(name, picture, None, viewmat, K, lens, size)


def _intrinsics(where: str, camera: dict[str, Any]) -> tuple[Float[np.ndarray, "3 3"], Lens, tuple[int, int]]:
    """Return K in pixels, the lens and the size that they are of."""
    kind = camera.get("projection_type")
    if kind not in _LENSES:
        raise GatlasError(f"{where}: its projection {kind!r:.50} is not read: undistort the photos, opensfm undistort")
    width, height = whole_size(where, camera, "width", "height")
    side = max(width, height)
    focal_x = number(where, camera, "focal_x" if "focal_x" in camera else "focal")
    focal_y = number(where, camera, "focal_y", focal_x)
    cx, cy = number(where, camera, "c_x", 0.0), number(where, camera, "c_y", 0.0)
    K = pinhole(where, side * focal_x, side * focal_y, 0.5 * width + side * cx, 0.5 * height + side * cy)
    names = [name for name in ("k1", "k2", "k3", "p1", "p2") if name in camera]
    return K, Lens(**{name: number(where, camera, name) for name in names}), (width, height)
