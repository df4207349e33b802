"""COLMAP models: cameras, poses and points of a reconstruction, in text or binary, with the photos next to them.

A model is a folder with cameras, images and points3D as .bin or .txt. Its poses are world -> camera with OpenCV axes
and its pixels count from the corner of the picture, as in memory. The world's axes are left as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.rotations import quats_to_matrices, rigid_motions
from gatlas.io import streams
from gatlas.io.photos import colmap_binary, colmap_text
from gatlas.io.photos.colmap_records import CameraRecord, ImageRecord, projection
from gatlas.io.photos.named_files import find_named
from gatlas.io.photos.points import checked_points
from gatlas.io.photos.posed_photos import PosedPhoto, cameras_of, views_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Float

    from gatlas.io.photos.points import Points
    from gatlas.types import Cameras, Views

_PLACES = ("sparse/0", "sparse", "", "colmap/sparse/0", "colmap/sparse")  # of the model, within the folder
_FORMATS = ((".bin", colmap_binary), (".txt", colmap_text))


class Model(NamedTuple):
    """Location of a COLMAP model."""

    folder: Path  # as the user named it
    place: Path  # that holds images.bin or images.txt
    suffix: str  # ".bin" or ".txt"

    def file(self, name: str) -> Path:
        return self.place / (name + self.suffix)


def find_model(folder: str | Path) -> Model | None:
    """The first model in sparse/0, sparse, the folder itself or colmap/; binary where both formats are there."""
    for place in _PLACES:
        for suffix, _ in _FORMATS:
            if (Path(folder) / place / f"images{suffix}").is_file():
                return Model(Path(folder), Path(folder) / place, suffix)
    return None


def read_cameras(folder: str | Path) -> Cameras:
    """The cameras of a model's images, sorted by name; pinholes, once their lenses are undone."""
    model = _model(folder)
    photos, width, height = _posed_photos(model)
    return cameras_of(str(model.file("images")), photos, width, height)


def read_views(folder: str | Path, *, side: int | None = None) -> Views:
    """The photos of a model with their cameras, sorted by name and undistorted.

    The photos lie in images/, in the folder itself or beside the model, by the names that the model gives them, in
    subfolders too; those that are missing are left out with one warning. All must have one size. Their longer side is
    reduced to at most `side` pixels.
    """
    model = _model(folder)
    photos, width, height = _posed_photos(model)
    return views_of(str(model.file("images")), photos, width, height, side)


def read_posed_photos(folder: str | Path) -> tuple[str, list[PosedPhoto], int, int]:
    """Return the name of the index, its photos sorted by name, and their common width and height."""
    model = _model(folder)
    return str(model.file("images")), *_posed_photos(model)


def read_points(folder: str | Path) -> Points | None:
    """The model's sparse points; None where it has no such file or no points in it."""
    model = _model(folder)
    path = model.file("points3D")
    if not path.is_file():
        return None
    xyz, rgb = dict(_FORMATS)[model.suffix].decode_points(streams.read(path))
    return checked_points(str(path), xyz, rgb / 255.0) if len(xyz) else None


def _model(folder: str | Path) -> Model:
    model = find_model(folder)
    if model is None:
        raise GatlasError(
            f"{folder}: no COLMAP model: there is no images.bin or images.txt in sparse/0, in sparse or in the folder"
        )
    return model


def _posed_photos(model: Model) -> tuple[list[PosedPhoto], int, int]:
    """The images of a model as photos, and the size that all of them have."""
    decode = dict(_FORMATS)[model.suffix]
    cameras: dict[int, CameraRecord] = decode.decode_cameras(streams.read(model.file("cameras")))
    images: list[ImageRecord] = sorted(decode.decode_images(streams.read(model.file("images"))), key=lambda i: i.name)
    index = str(model.file("images"))
    if not images:
        raise GatlasError(f"{index}: the model has no images: nothing was registered")
    unknown = next((image for image in images if image.camera not in cameras), None)
    if unknown is not None:
        raise GatlasError(f"{index}: image {unknown.name} has camera {unknown.camera}, which the model does not have")
    used = {image.camera: cameras[image.camera] for image in images}
    sizes = {(camera.width, camera.height) for camera in used.values()}
    if len(sizes) > 1:
        named = ", ".join(f"{width} x {height}" for width, height in sorted(sizes)[:3])
        raise GatlasError(f"{index}: its photos have several sizes ({named}): all must have one size")
    lenses = {number: projection(str(model.file("cameras")), camera) for number, camera in used.items()}
    names = [image.name for image in images]
    pictures = find_named(index, _roots(model), names, noun="picture")
    photos = []
    for image, picture in zip(images, pictures, strict=True):
        K, lens = lenses[image.camera]
        camera = used[image.camera]
        size = camera.width, camera.height
        photos.append(PosedPhoto(image.name, picture, None, _viewmat(index, image), K, lens, size))
    return photos, *sizes.pop()


def _viewmat(index: str, image: ImageRecord) -> Float[np.ndarray, "4 4"]:
    quat, translation = np.array(image.quat), np.array(image.translation)
    if not (np.isfinite(quat).all() and np.isfinite(translation).all()):
        raise GatlasError(f"{index}: image {image.name}: its pose is NaN or infinite")
    if np.linalg.norm(quat) < 1e-6:
        raise GatlasError(f"{index}: image {image.name}: its quaternion is zero, which is no rotation")
    return rigid_motions(quats_to_matrices(quat), translation)


def _roots(model: Model) -> list[Path]:
    """Folders in which photos are searched for: around the named folder, then around the model."""
    around: Iterable[Path] = dict.fromkeys([model.folder, model.place, *list(model.place.resolve().parents)[:3]])
    return [root for base in around for root in (base / "images", base)]
