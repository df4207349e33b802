"""Raw data of Polycam: photos of a phone, a file of the camera of each.

    keyframes/images/TIME.jpg              keyframes/cameras/TIME.json
    keyframes/corrected_images/TIME.jpg    keyframes/corrected_cameras/TIME.json    after its optimization; preferred

A camera holds fx, fy, cx, cy, width, height and the rows t_00 ... t_23 of the matrix camera -> world, with OpenGL axes.
The world's axes are left as they are: y is up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import viewmats_of_opengl
from gatlas.geometry.lens import Lens
from gatlas.io import streams
from gatlas.io.json_reader import read_json_object
from gatlas.io.photos.layouts import number, of_picture, pictures_in, whole_size
from gatlas.io.photos.named_files import say_once
from gatlas.io.photos.posed_photos import PosedPhoto, orthonormalized, pinhole

ROOT = "keyframes"
_PARTS = (("corrected_cameras", "corrected_images"), ("cameras", "images"))


def has_scene(folder: str | Path) -> bool:
    """Return True for a folder of raw data."""
    return _parts_of(Path(folder)) is not None


def read_posed_photos(folder: str | Path) -> tuple[str, list[PosedPhoto]]:
    """Return the name of the folder of cameras, and the photos that have one, sorted by name."""
    parts = _parts_of(Path(folder))
    if parts is None:
        raise GatlasError(f"{folder}: there are no {ROOT}/cameras with {ROOT}/images in this folder")
    cameras, images = parts
    pictures = {path.stem: path for path in pictures_in(images)}
    files = [path for path in _files_in(cameras) if path.stem in pictures]
    if not files:
        raise GatlasError(f"{cameras}: none of its cameras has a picture in {images}")
    if len(files) < len(pictures):
        say_once(f"{cameras}: {len(files)} of {len(pictures)} photos have cameras")
    entries = [read_json_object(streams.read(path), fault="no camera of Polycam") for path in files]
    poses = np.stack([_pose(str(path), entry) for path, entry in zip(files, entries, strict=True)])
    viewmats = viewmats_of_opengl(orthonormalized(poses, str(cameras), "camera"))
    rows = zip(files, entries, viewmats, strict=True)
    return str(cameras), [_photo(path, entry, viewmat, pictures[path.stem]) for path, entry, viewmat in rows]


def read_points(folder: str | Path) -> None:
    """Return None: the raw data have depths, and no points."""


def _parts_of(folder: Path) -> tuple[Path, Path] | None:
    """Return the folders of the cameras and of the images."""
    for cameras, images in _PARTS:
        found = folder / ROOT / cameras, folder / ROOT / images
        if all(path.is_dir() for path in found) and _files_in(found[0]):
            return found
    return None


def _files_in(cameras: Path) -> list[Path]:
    with streams.os_errors(cameras):
        return sorted(path for path in cameras.iterdir() if path.suffix.lower() == ".json")


def _pose(where: str, entry: dict[str, Any]) -> np.ndarray:
    """Return the matrix camera -> world of a camera's file."""
    pose = np.eye(4)
    for row in range(3):
        for column in range(4):
            pose[row, column] = number(where, entry, f"t_{row}{column}")
    return pose


def _photo(path: Path, entry: dict[str, Any], viewmat: np.ndarray, picture: Path) -> PosedPhoto:
    where = str(path)
    K = pinhole(where, *(number(where, entry, key) for key in ("fx", "fy", "cx", "cy")))
    K, size = of_picture(where, K, whole_size(where, entry, "width", "height"), picture)
    return PosedPhoto(picture.name, picture, None, viewmat, K, Lens(), size)
