"""Folders of posed pictures as Scene Representation Networks' data sets have them (Sitzmann et al. 2019).

    rgb/000000.png       pictures, all of one camera
    pose/000000.txt      camera-to-world matrix of the picture of that name, 16 numbers; OpenCV axes
    intrinsics/000000.txt    K of the picture, 9 numbers (or 16, of a 4 x 4 matrix), or instead, for all pictures,
    intrinsics.txt           f cx cy 0, then three lines, of which the last has height and width of the picture

The axes of the world are left as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.lens import Lens
from gatlas.io import registry, streams
from gatlas.io.images import read_header
from gatlas.io.photos.posed_photos import PosedPhoto, orthonormalized, pinhole
from gatlas.io.text import load_lines

if TYPE_CHECKING:
    from jaxtyping import Float64


PICTURES, POSES, INTRINSICS = "rgb", "pose", "intrinsics"


def has_scene(folder: str | Path) -> bool:
    """Return True for a folder with the folders `rgb` and `pose`."""
    return all((Path(folder) / name).is_dir() for name in (PICTURES, POSES))


def read_posed_photos(folder: str | Path) -> tuple[str, list[PosedPhoto]]:
    """Return the name of the folder and its pictures, by name. One without a pose, or without K, is a GatlasError."""
    root = Path(folder)
    with streams.os_errors(root):
        suffixes = registry.suffixes("image")
        pictures = sorted(path for path in (root / PICTURES).iterdir() if path.suffix.lower() in suffixes)
    if not pictures:
        raise GatlasError(f"{root}: there is no picture in {PICTURES}/")
    without = [path for path in pictures if not _text_of(root / POSES, path).is_file()]
    if without:
        raise GatlasError(
            f"{root}: {len(without)} of its {len(pictures)} pictures have no pose: the first would be "
            f"{_text_of(root / POSES, without[0])}"
        )
    poses = np.stack([_matrix(_text_of(root / POSES, path), (4, 4)) for path in pictures])
    viewmats = _world_to_camera(root, poses)
    sizes = [read_header(path).size for path in pictures]
    Ks = [_intrinsics(root, path, size) for path, size in zip(pictures, sizes, strict=True)]
    rows = zip(pictures, viewmats, Ks, sizes, strict=True)
    photos = [
        PosedPhoto(f"{PICTURES}/{path.name}", path, None, viewmat, K, Lens(), size, False)
        for path, viewmat, K, size in rows
    ]
    return str(root), photos


def read_points(folder: str | Path) -> None:
    """Return None: the layout has no points."""


def _text_of(folder: Path, picture: Path) -> Path:
    return folder / f"{picture.stem}.txt"


def _numbers(path: Path) -> list[float]:
    """Return the numbers of a text; anything else in it is a GatlasError."""
    words = [word for line in load_lines(path) for word in line.split()]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise GatlasError(f"{path}: must hold finite numbers and nothing else")
    return numbers


def _matrix(path: Path, shape: tuple[int, int]) -> Float64[np.ndarray, "r c"]:
    numbers = _numbers(path)
    if len(numbers) != shape[0] * shape[1]:
        raise GatlasError(f"{path}: must hold the {shape[0] * shape[1]} numbers of a matrix, got {len(numbers)}")
    return np.array(numbers).reshape(shape)


def _world_to_camera(root: Path, poses: Float64[np.ndarray, "n 4 4"]) -> Float64[np.ndarray, "n 4 4"]:
    """Return the inverse of camera-to-world matrices, whose rotations are mended where they are rounded."""
    mended = orthonormalized(poses, str(root / POSES), "pose")
    viewmats = np.tile(np.eye(4), (len(poses), 1, 1))
    viewmats[:, :3, :3] = mended[:, :3, :3].transpose(0, 2, 1)
    viewmats[:, :3, 3] = -(mended[:, :3, :3] * mended[:, :3, 3:]).sum(axis=1)
    return viewmats


def _intrinsics(root: Path, picture: Path, size: tuple[int, int]) -> Float64[np.ndarray, "3 3"]:
    """Return K of a picture of width and height, in its own pixels."""
    path = _text_of(root / INTRINSICS, picture)
    if path.is_file():
        numbers = _numbers(path)
        if len(numbers) not in (9, 16):
            raise GatlasError(f"{path}: must hold the 9 numbers of K, got {len(numbers)}")
        side = 3 if len(numbers) == 9 else 4
        K, stated = np.array(numbers).reshape(side, side)[:3, :3], size
    elif (shared := root / f"{INTRINSICS}.txt").is_file():
        path, numbers = shared, _numbers(shared)
        if len(numbers) < 6:
            raise GatlasError(f"{shared}: must hold f, cx, cy and 0 in its first line, and the size in its last")
        (focal, cx, cy), (height, width) = numbers[:3], numbers[-2:]
        if min(height, width) < 1:
            raise GatlasError(f"{shared}: its last line must be the height and the width of the pictures")
        K, stated = np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]]), (int(width), int(height))
    else:
        raise GatlasError(f"{root}: there is no {INTRINSICS}/{path.name} and no {INTRINSICS}.txt")
    if any(K[2] != (0, 0, 1)) or K[0, 1] or K[1, 0]:
        raise GatlasError(f"{path}: not the K of a pinhole camera without skew: {K.tolist()}")
    stretch = np.array([[size[0] / stated[0]], [size[1] / stated[1]], [1.0]])
    (fx, _, cx), (_, fy, cy), _ = K * stretch
    if not (0 < cx < size[0] and 0 < cy < size[1]):
        raise GatlasError(
            f"{path}: the center {cx:g}, {cy:g} is outside of {picture.name}, which has {size[0]} x {size[1]} pixels: "
            "it is of pictures of another size"
        )
    return pinhole(str(path), fx, fy, cx, cy)
