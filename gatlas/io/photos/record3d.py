"""Recordings of Record3D: a metadata.json (or "metadata", as in an unpacked .r3d) beside numbered pictures.

    rgb/0.jpg ... or rgbd/0.jpg ...    pictures
    metadata.json                      w, h; K, column after column, or perFrameIntrinsicCoeffs: fx, fy, cx, cy of each;
                                       poses: quaternion xyzw and position of each camera, camera -> world, OpenGL axes

The world's axes are left as they are: y is up.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import viewmats_of_opengl
from gatlas.geometry.lens import Lens
from gatlas.geometry.rotations import quats_to_matrices, rigid_motions
from gatlas.io import streams
from gatlas.io.json_reader import read_json_object
from gatlas.io.photos.layouts import of_picture, pictures_in, vector, whole_size
from gatlas.io.photos.posed_photos import PosedPhoto, pinhole

if TYPE_CHECKING:
    from jaxtyping import Float

INDEXES = ("metadata.json", "metadata")
PLACES = ("rgb", "rgbd")


def has_scene(folder: str | Path) -> bool:
    """Return True for a folder with metadata and a folder of pictures."""
    return _index_of(Path(folder)) is not None and any((Path(folder) / place).is_dir() for place in PLACES)


def read_posed_photos(folder: str | Path) -> tuple[str, list[PosedPhoto]]:
    """Return the name of the metadata, and the pictures that they have poses of, in the order of their numbers."""
    path = _index_of(Path(folder))
    if path is None:
        raise GatlasError(f"{folder}: there is no {INDEXES[0]} in this folder")
    index, document = str(path), read_json_object(streams.read(path), fault="no metadata of Record3D")
    poses = document.get("poses")
    if not isinstance(poses, list) or not poses:
        raise GatlasError(f"{index}: no metadata of Record3D: it has no list of 'poses'")
    pictures = _numbered(Path(folder))
    size = whole_size(index, document, "w", "h")
    photos = []
    for i in sorted(pictures):
        if i >= len(poses):
            raise GatlasError(f"{index}: has {len(poses)} poses, and none of {pictures[i]}")
        where = f"{index}: frame {i}"
        K, its_size = of_picture(where, _intrinsics(where, document, i), size, pictures[i])
        viewmat = viewmats_of_opengl(_pose(where, poses[i]))
        photos.append(PosedPhoto(pictures[i].name, pictures[i], None, viewmat, K, Lens(), its_size))
    if not photos:
        raise GatlasError(f"{index}: there are no numbered pictures in {' or '.join(PLACES)}, as 0.jpg")
    return index, photos


def read_points(folder: str | Path) -> None:
    """Return None: a recording has depths, and no points."""


def _index_of(folder: Path) -> Path | None:
    return next((path for name in INDEXES if (path := folder / name).is_file()), None)


def _numbered(folder: Path) -> dict[int, Path]:
    """Return the pictures of the first place that has numbered ones, by number."""
    for place in PLACES:
        named = [path for path in pictures_in(folder / place) if path.stem.isascii() and path.stem.isdigit()]
        found = {int(path.stem): path for path in reversed(named) if len(path.stem) < 10}
        if found:
            return found
    return {}


def _pose(where: str, values: Any) -> Float[np.ndarray, "4 4"]:
    """Return the matrix camera -> world of a pose."""
    x, y, z, w, *position = vector(where, values, 7, "a pose")
    if not 0.5 < np.linalg.norm((x, y, z, w)) < 2:
        raise GatlasError(f"{where}: its quaternion {x:g}, {y:g}, {z:g}, {w:g} is no rotation")
    return rigid_motions(quats_to_matrices(np.array([w, x, y, z])), np.array(position))


def _intrinsics(where: str, document: dict[str, Any], i: int) -> Float[np.ndarray, "3 3"]:
    """Return K of a picture, in pixels of the size that the metadata state."""
    own = document.get("perFrameIntrinsicCoeffs")
    if isinstance(own, list) and i < len(own):
        return pinhole(where, *vector(where, own[i], 4, "perFrameIntrinsicCoeffs"))
    K = vector(where, document.get("K"), 9, "'K'").reshape(3, 3).T
    return pinhole(where, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
