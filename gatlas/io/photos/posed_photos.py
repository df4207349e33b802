"""Photos with the cameras that an index file gives them: a transforms.json's frames, a COLMAP model's images."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.far_coordinates import float32_holds
from gatlas.geometry.lens import Lens, undistorted_intrinsics
from gatlas.geometry.rotations import nearest_rotation, orthonormality_error
from gatlas.images.composite import masked
from gatlas.images.resize import join_views, reduce_picture, reduced_size
from gatlas.images.undistort import undistort
from gatlas.io import streams
from gatlas.io.images import UPRIGHT, decode_image, read_header
from gatlas.io.photos.exif_turns import JSON_HINT, TurnEvidence, choose_turns
from gatlas.io.photos.photo_mask import read_mask
from gatlas.types import join_cameras

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float

    from gatlas.io.images import PictureHeader
    from gatlas.types import AnyCameras, AnyViews

NEAR_ROTATION = 0.2  # of R^T R from 1: mended up to here; beyond it the matrix means something else
LEAST_FOCAL, MOST_FOCAL = 1e-3, 1e9  # pixels
EXACT = 1e-6  # of R^T R from 1: left alone
ROUNDED = 1e-3  # of R^T R from 1: what rounding in a text file explains


class PosedPhoto(NamedTuple):
    """One photo and the camera that took it."""

    name: str  # as the index calls it
    picture: Path | None  # None: the file is missing
    mask: Path | None  # a grey picture: white is the object, black is empty
    viewmat: Float[np.ndarray, "4 4"]  # world -> camera, OpenCV
    K: Float[np.ndarray, "3 3"]  # of the photo as it lies there
    lens: Lens
    size: tuple[int, int]  # width and height in pixels
    size_stated: bool = True  # by the index; else it is that of the picture
    exif_turned: bool | None = None  # the index says so, or not (None): its camera is of the photo as EXIF turns it


def cameras_of(index: str, photos: list[PosedPhoto], *, keep_single: bool = False) -> AnyCameras:
    """The pinholes of the photos once their lenses are undone. `index` is what to call the file that lists them.

    They are float32, but for the poses of cameras that are far from the origin: see `gatlas.geometry.far_coordinates`.
    A single camera does not show whether it is far: its pose is float32 unless `keep_single` is True.
    """
    found: dict[tuple[bytes, Lens, tuple[int, int]], np.ndarray] = {}
    for photo in photos:
        key = photo.K.tobytes(), photo.lens, photo.size
        if key not in found:
            found[key] = undistorted_intrinsics(index, photo.K, photo.lens, *photo.size)
    Ks = np.stack([found[photo.K.tobytes(), photo.lens, photo.size] for photo in photos])
    viewmats = np.stack([photo.viewmat for photo in photos])
    centers = camera_centers(viewmats)
    far = not float32_holds(centers) or (keep_single and bool(np.ptp(centers, axis=0).max() == 0))
    kind = np.float64 if far else np.float32
    return join_cameras(viewmats.astype(kind), Ks.astype(np.float32), [photo.size for photo in photos])


def views_of(index: str, photos: list[PosedPhoto], side: int | None, turns: dict[Path, bool] | None = None) -> AnyViews:
    """The photos that are there, undistorted, with their cameras; missing ones are skipped with one warning.

    Where one photo has transparency or a mask, all become RGBA. Each photo is reduced as it is read, so that its longer
    side is at most `side` pixels (None: as it is). `turns` are those that `photo_turns` chose for more photos of the
    index.
    """
    present = skip_missing(index, photos)
    cameras = cameras_of(index, [photo for photo, _ in present])
    turns = photo_turns(index, present) if turns is None else turns
    pictures, Ks, sizes = [], [], []
    for (photo, path), K in zip(present, cameras.Ks, strict=True):
        blob, turned = streams.read(path), turns[path]
        header = read_header(blob)
        picture = decode_image(blob, upright=turned)
        if photo.mask is not None:
            picture = masked(picture, read_mask(photo.mask, picture, header, turned=turned))
        _check_size(index, path, picture.shape[:2], photo.size, header)
        if photo.lens.has_distortion:
            picture = undistort(picture, photo.K, photo.lens, K.astype(np.float64))
        small = photo.size if side is None else reduced_size(*photo.size, side)
        pictures.append(reduce_picture(picture, *small))
        sizes.append(small)
        stretch = np.array([[small[0] / photo.size[0]], [small[1] / photo.size[1]], [1.0]], dtype=np.float32)
        Ks.append(K * stretch)
    return join_views(pictures, join_cameras(cameras.viewmats, np.stack(Ks), sizes))


def photo_turns(index: str, present: list[tuple[PosedPhoto, Path]]) -> dict[Path, bool]:
    """Return for each photo that is there whether its EXIF turn is to be applied; see `gatlas.io.photos.exif_turns`."""
    evidence = []
    for photo, path in present:
        header = read_header(path)
        stored, turned = (not photo.size_stated or photo.size == each for each in (header.size, header.turned_size))
        evidence.append(TurnEvidence(photo.name, header, stored, turned, photo.exif_turned))
    turns = choose_turns(index, evidence, JSON_HINT if index.lower().endswith(".json") else "")
    return {path: turned for (_, path), turned in zip(present, turns, strict=True)}


def pinhole(index: str, fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    """Return K, in pixels. Numbers that no camera has are a GatlasError that begins with `index`."""
    if not (min(fx, fy) >= LEAST_FOCAL and max(fx, fy, abs(cx), abs(cy)) <= MOST_FOCAL):
        raise GatlasError(
            f"{index}: no camera has the focal lengths {fx:g} and {fy:g} and the center {cx:g}, {cy:g} (pixels)"
        )
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def skip_missing(index: str, photos: list[PosedPhoto]) -> list[tuple[PosedPhoto, Path]]:
    """The photos whose pictures are there; one warning for the others, a GatlasError where none is left."""
    present = [(photo, photo.picture) for photo in photos if photo.picture is not None]
    missing = [photo.name for photo in photos if photo.picture is None]
    if not present:
        raise GatlasError(f"{index}: none of its {len(photos)} pictures is there: the first would be {missing[0]:.200}")
    if missing:
        warnings.warn(
            f"{index}: {len(missing)} of its {len(photos)} pictures are missing and left out, "
            f"the first is {missing[0]:.200}",
            stacklevel=2,
        )
    return present


def orthonormalized(viewmats: Float[np.ndarray, "n 4 4"], index: str, noun: str) -> Float[np.ndarray, "n 4 4"]:
    """Return the poses with each 3 x 3 part replaced by the nearest rotation.

    What rounding explains is mended in silence, what is farther off with one warning, and what is no rotation at all
    (a mirror, a scale, a shear) is a GatlasError. `noun` is what a pose is called there: "frame", "image".
    """
    matrices = viewmats[:, :3, :3]
    error = orthonormality_error(np.clip(matrices, -1e6, 1e6))  # a larger square may be infinite
    wrong = (error > NEAR_ROTATION) | (np.linalg.det(np.clip(matrices, -1e6, 1e6)) < 0)
    if wrong.any():
        which = int(np.flatnonzero(wrong)[0])
        raise GatlasError(f"{index}: {noun} {which}: 'transform_matrix' is not a rotation and a position")
    if (error > ROUNDED).any():
        which = int(np.flatnonzero(error > ROUNDED)[0])
        warnings.warn(
            f"{index}: {int((error > ROUNDED).sum())} of {len(viewmats)} poses are not quite rotations, the first is "
            f"{noun} {which}: the nearest rotation is taken",
            stacklevel=2,
        )
    mended = viewmats.copy()
    off = error > (EXACT if float32_holds(viewmats[:, :3, 3]) else 0.0)  # far away a small turn is a long way
    mended[off, :3, :3] = nearest_rotation(matrices[off])
    return mended


def _check_size(index: str, path: Path, shape: tuple[int, ...], stated: tuple[int, int], header: PictureHeader) -> None:
    height, width = shape
    if (width, height) == stated:
        return
    turned = " as stored, before the turn of its EXIF tag" if header.orientation != UPRIGHT else ""
    raise GatlasError(
        f"{index}: it says {stated[0]} x {stated[1]} pixels, the pictures have {width} x {height}{turned}: the first "
        f"that differs is {path}"
    )
