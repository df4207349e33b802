"""Photos in a folder of which no cameras are known, and what their EXIF tags say of the cameras."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.images.gray import LUMA
from gatlas.images.resize import reduce_picture, reduced_size
from gatlas.io import registry, streams
from gatlas.io.images import PictureHeader, decode_image, read_exif, read_header
from gatlas.io.photos.photo_mask import read_mask

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

PLACES = ("images", "", "input")  # in which photos lie in a folder; the first that has any counts
DIAGONAL = math.hypot(36, 24)  # mm, of the film that equivalent focal lengths are of
LONGEST = 5000  # mm, of an equivalent that is a focal length; 65535 stands for one that is not known
MIN_SIDE = 16  # pixels of a photo
BEHIND = 0.5  # gray behind what is transparent


class UnposedPhoto(NamedTuple):
    """A photo whose camera is not known."""

    name: str  # as a model calls it: below images/ or the folder itself
    path: Path
    header: PictureHeader
    camera: tuple[object, ...]  # photos with equal ones were taken by one camera at one focal length
    focal: float | None  # pixels of the photo as stored, from its EXIF tags
    mask: Path | None = None  # a gray picture: white is the object

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""
        return self.header.size


class GrayPhoto(NamedTuple):
    """A photo as features are sought in it: as stored, perhaps reduced."""

    gray: UInt8[np.ndarray, "h w"]
    shown: Bool[np.ndarray, "h w"] | None  # False where it is transparent or masked


def unposed_paths(folder: str | Path) -> list[Path]:
    """Return the pictures in a folder's images/, in the folder itself or in input/, sorted by name."""
    suffixes = registry.suffixes("image")
    for place in PLACES:
        parent = Path(folder) / place
        with streams.os_errors(folder):
            found = sorted(parent.iterdir()) if parent.is_dir() else []
            found = [each for each in found if each.suffix.lower() in suffixes and not each.name.startswith(".")]
        if found:
            return found
    return []


def list_photos(folder: str | Path, masks: Mapping[Path, Path] | None = None) -> list[UnposedPhoto]:
    """Return the photos of a folder; a GatlasError where there is none, or one cannot be read.

    `masks` are paths of gray pictures by those of the photos.
    """
    paths = unposed_paths(folder)
    if not paths:
        raise GatlasError(f"{folder}: there are no photos in this folder")
    return [_unposed(path, Path(folder), masks or {}) for path in paths]


def read_gray(photo: UnposedPhoto, side: int) -> GrayPhoto:
    """Return the luma of a photo, its longer side at most `side` pixels."""
    picture = _decoded(photo)
    picture = reduce_picture(picture, *reduced_size(*photo.size, side))
    luma = picture[..., :3] @ np.array(LUMA, dtype=np.float32)
    shown = None
    if picture.shape[2] == 4:
        alpha = picture[..., 3]
        luma = luma * alpha + BEHIND * (1 - alpha)
        shown = alpha > 0.5
    return GrayPhoto(np.ascontiguousarray(np.rint(255 * luma.clip(0, 1)).astype(np.uint8)), shown)


def read_colors(photo: UnposedPhoto, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Return the sRGB colors in [0, 1] of the pixels (x, y; the first pixel's center is 0.5) of a photo as stored."""
    picture = decode_image(streams.read(photo.path), upright=False)
    columns, rows = np.floor(pixels).astype(int).T
    height, width = picture.shape[:2]
    return picture[rows.clip(0, height - 1), columns.clip(0, width - 1), :3]


def _decoded(photo: UnposedPhoto) -> Float[np.ndarray, "h w d"]:
    """Return a photo as stored, RGBA where it has transparency or a mask."""
    picture = decode_image(streams.read(photo.path), upright=False)
    if photo.mask is None:
        return picture
    mask = read_mask(photo.mask, picture, photo.header, turned=False)
    alpha = mask if picture.shape[2] == 3 else mask * picture[..., 3]
    return np.concatenate([picture[..., :3], alpha[..., None]], axis=-1)


def _unposed(path: Path, folder: Path, masks: Mapping[Path, Path]) -> UnposedPhoto:
    if not path.name.isprintable():
        raise GatlasError(f"{path}: the name is no plain text, which a COLMAP model needs: rename it")
    header = read_header(path)
    if min(header.size) < MIN_SIDE:
        raise GatlasError(
            f"{path}: has {header.width} x {header.height} pixels; a photo needs at least {MIN_SIDE} per side"
        )
    name = path.name if path.parent in (folder, folder / "images") else path.relative_to(folder).as_posix()
    tags = read_exif(path)
    equivalent, focal = _number(tags, "FocalLengthIn35mmFilm"), _number(tags, "FocalLength")
    if equivalent is not None and equivalent > LONGEST:
        equivalent = None
    camera = (*header.size, tags.get("Make"), tags.get("Model"), tags.get("LensModel"), focal, equivalent)
    pixels = None if equivalent is None else equivalent / DIAGONAL * math.hypot(*header.size)
    return UnposedPhoto(name, path, header, camera, pixels, masks.get(path))


def _number(tags: Mapping[str, object], name: str) -> float | None:
    """Return a positive number of the tags; None where it is missing or no such number."""
    try:
        value = float(tags[name])  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) and value > 0 else None
