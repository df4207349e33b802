"""COLMAP models: cameras, poses and points of a reconstruction, in text or binary, with the photos next to them.

A model is a folder with cameras, images and points3D as .bin or .txt. Its poses are world -> camera with OpenCV axes
and its pixels count from the corner of the picture, as in memory. The world's axes are left as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.far_coordinates import extent_and_step
from gatlas.geometry.float32_rotations import float32_matrix
from gatlas.geometry.rotations import quats_to_matrices, rigid_motions
from gatlas.io import registry, streams
from gatlas.io.photos import colmap_binary, colmap_text
from gatlas.io.photos.colmap_records import CameraRecord, ImageRecord, projection
from gatlas.io.photos.named_files import find_named, say_once
from gatlas.io.photos.points import checked_points
from gatlas.io.photos.posed_photos import PosedPhoto, cameras_of, views_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Float

    from gatlas.io.photos.points import Points
    from gatlas.types import AnyCameras, AnyViews

MISPLACED = 1e-3  # of the extent of the cameras: what the rounding of rotations may move them without a word
ROUNDED_QUATERNION = 1e-4  # of a unit quaternion's length from 1; one that is farther off was not meant to be unit
# Places of a model within the folder, the first that has one counts; of numbered ones the model with most images.
_PLACES = ("sparse/*", "sparse", "", "colmap/sparse/*", "colmap/sparse")
_FORMATS = ((".bin", colmap_binary), (".txt", colmap_text))


MOST_OF_A_QUATERNION = 1e6  # which may be of any length, but is of 1


class Model(NamedTuple):
    """Location of a COLMAP model."""

    folder: Path  # as the user named it
    place: Path  # that holds images.bin or images.txt
    suffix: str  # ".bin" or ".txt"

    def file(self, name: str) -> Path:
        return self.place / (name + self.suffix)


def has_model(folder: str | Path) -> bool:
    """Return True where `find_model` finds a model."""
    return bool(_models(Path(folder)))


def find_model(folder: str | Path, model_dir: str | None = None) -> Model:
    """Return the model in sparse/, the folder itself or colmap/; binary where both formats are there.

    COLMAP writes a model for each part of the photos that it could connect: of several, the one with most images is
    taken. `model_dir` is the folder of another one, within the named folder or as it is. None is a GatlasError.
    """
    folder = Path(folder)
    if model_dir is not None:
        found = _model_at(folder, folder / model_dir) or _model_at(folder, Path(model_dir))
        if found is None:
            there = ", ".join(str(model.place.relative_to(folder)) for model in _models(folder))
            raise GatlasError(
                f"{folder / model_dir}: there is no COLMAP model{f'; there are {there}' if there else ''}"
            )
        return found
    models = _models(folder)
    if not models:
        raise GatlasError(
            f"{folder}: no COLMAP model: there is no images.bin or images.txt in sparse/0, in sparse or in the folder"
        )
    return models[0] if len(models) == 1 else max(models, key=lambda model: len(_names_in(model)))


def read_cameras(folder: str | Path, *, model_dir: str | None = None) -> AnyCameras:
    """The cameras of a model's images, sorted by name; pinholes, once their lenses are undone."""
    model = find_model(folder, model_dir)
    return cameras_of(str(model.file("images")), _posed_photos(model), keep_single=True)


def read_views(folder: str | Path, *, side: int | None = None, model_dir: str | None = None) -> AnyViews:
    """The photos of a model with their cameras, sorted by name and undistorted; see `find_model` for `model_dir`.

    The photos lie in images/, in the folder itself or beside the model, by the names that the model gives them, in
    subfolders too; those that are missing are left out with one warning. The longer side of each is
    reduced to at most `side` pixels.
    """
    model = find_model(folder, model_dir)
    photos = _posed_photos(model)
    _say_registered(model, photos, chosen=model_dir is not None)
    return views_of(str(model.file("images")), photos, side)


def read_posed_photos(folder: str | Path, *, model_dir: str | None = None) -> tuple[str, list[PosedPhoto]]:
    """Return the name of the index, and its photos sorted by name; see `find_model` for `model_dir`."""
    model = find_model(folder, model_dir)
    photos = _posed_photos(model)
    _say_registered(model, photos, chosen=model_dir is not None)
    return str(model.file("images")), photos


def registered_photos(folder: str | Path, model_dir: str | None = None) -> list[PosedPhoto]:
    """Return the photos of a model, sorted by name, without a message; see `find_model`."""
    return _posed_photos(find_model(folder, model_dir))


def read_points(folder: str | Path, *, model_dir: str | None = None) -> Points | None:
    """The model's sparse points; None where it has no such file or no points in it."""
    model = find_model(folder, model_dir)
    path = model.file("points3D")
    # With known cameras COLMAP asks for an empty points3D.txt.
    if not path.is_file() or (model.suffix == ".txt" and path.stat().st_size == 0):
        return None
    xyz, rgb = dict(_FORMATS)[model.suffix].decode_points(streams.read(path))
    return checked_points(str(path), xyz, rgb / 255.0) if len(xyz) else None


def _models(folder: Path) -> list[Model]:
    """The models at the first of the places that has any, numbered folders in the order of their numbers."""
    # The folder above several models may be named itself.
    for place in ("*", *_PLACES) if folder.name == "sparse" else _PLACES:
        parent = folder / place.removesuffix("*")
        places = _subfolders(parent) if place.endswith("*") else [parent]
        if found := [model for each in places if (model := _model_at(folder, each)) is not None]:
            return found
    return []


def _subfolders(folder: Path) -> list[Path]:
    with streams.os_errors(folder):
        found = [each for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []
    return sorted(
        found, key=lambda each: (not each.name.isdecimal(), len(each.name) * each.name.isdecimal(), each.name)
    )


def _model_at(folder: Path, place: Path) -> Model | None:
    suffix = next((suffix for suffix, _ in _FORMATS if (place / f"images{suffix}").is_file()), None)
    return None if suffix is None else Model(folder, place, suffix)


def _names_in(model: Model) -> set[str]:
    """The names of a model's images; none where it cannot be read."""
    try:
        images = dict(_FORMATS)[model.suffix].decode_images(streams.read(model.file("images")))
    except GatlasError:
        return set()
    return {image.name for image in images}


def _say_registered(model: Model, photos: list[PosedPhoto], *, chosen: bool) -> None:
    """Say how many of the photos have cameras, where some have none or this model was chosen from several."""
    several = () if chosen else _models(model.folder)
    names = set[str]().union(*(_names_in(each) for each in several if len(several) > 1))
    there = sum(photo.picture is not None for photo in photos) or len(photos)  # of the missing another line speaks
    total = max(len(names), there + _count_others(photos))
    which = f"{there} of {total} photos have cameras"
    if len(several) > 1:
        say_once(
            f"{model.place}: {which} in this model, the largest of {len(several)}: for another one name its folder, "
            "or give fit --model-dir"
        )
    elif total > there:
        say_once(f"{model.place}: {which}")


def _count_others(photos: list[PosedPhoto]) -> int:
    """The number of pictures without a camera beside those that have one."""
    found = {photo.picture for photo in photos if photo.picture is not None}
    suffixes = registry.suffixes("image")
    count = 0
    for folder in {path.parent for path in found}:
        with streams.os_errors(folder):
            count += sum(each.suffix.lower() in suffixes and each not in found for each in folder.iterdir())
    return count


def _posed_photos(model: Model) -> list[PosedPhoto]:
    """The images of a model as photos."""
    decode = dict(_FORMATS)[model.suffix]
    cameras: dict[int, CameraRecord] = decode.decode_cameras(streams.read(model.file("cameras")))
    images: list[ImageRecord] = sorted(decode.decode_images(streams.read(model.file("images"))), key=lambda i: i.name)
    index = str(model.file("images"))
    if not images:
        raise GatlasError(f"{index}: the model has no images: nothing was registered")
    unknown = next((image for image in images if image.camera not in cameras), None)
    if unknown is not None:
        who = f"image {unknown.name:.200} has camera {unknown.camera}"
        raise GatlasError(f"{index}: {who}, which the model does not have")
    used = {image.camera: cameras[image.camera] for image in images}
    lenses = {number: projection(str(model.file("cameras")), camera) for number, camera in used.items()}
    names = [image.name for image in images]
    pictures = find_named(index, _roots(model), names, noun="picture")
    photos = []
    for image, picture in zip(images, pictures, strict=True):
        K, lens = lenses[image.camera]
        camera = used[image.camera]
        size = camera.width, camera.height
        photos.append(PosedPhoto(image.name, picture, None, _viewmat(index, image), K, lens, size))
    return _placed(index, images, photos)


def _placed(index: str, images: list[ImageRecord], photos: list[PosedPhoto]) -> list[PosedPhoto]:
    """Return the photos where they stand although their rotations were rounded to float32 on the way to the file.

    A model holds -R c for a position c: far from the origin the rounding of R moves cameras. What it was is sought, and
    a warning says of how many cameras it cannot be found. The lengths of the quaternions show whether any was rounded.
    """
    rounding = float(np.median([abs(np.linalg.norm(image.quat) - 1) for image in images]))
    centers = camera_centers(np.stack([photo.viewmat for photo in photos]))
    moved = 2 * rounding * float(np.median(np.linalg.norm(centers, axis=1)))
    extent, _ = extent_and_step(centers)
    if rounding > ROUNDED_QUATERNION or moved <= MISPLACED * extent or extent == 0:
        return photos
    matrices = [float32_matrix(np.array(image.quat)) for image in images]
    lost = sum(matrix is None for matrix in matrices)
    if lost:
        say_once(
            f"{index}: its rotations are exact to {rounding:.0e} only, which moves {lost} of its {len(photos)} "
            f"cameras, this far from the origin, by about {moved:.2g}, {moved / extent:.1%} of their extent: "
            "write the model relative to a point nearby"
        )
    return [
        photo if matrix is None else photo._replace(viewmat=_standing_at(photo.viewmat, matrix, image))
        for photo, matrix, image in zip(photos, matrices, images, strict=True)
    ]


def _standing_at(
    viewmat: Float[np.ndarray, "4 4"], matrix: Float[np.ndarray, "3 3"], image: ImageRecord
) -> Float[np.ndarray, "4 4"]:
    """Return a camera at the position c of which the image's translation is -matrix c."""
    center = -np.linalg.solve(matrix, np.array(image.translation))
    return rigid_motions(viewmat[:3, :3], -viewmat[:3, :3] @ center)


def _viewmat(index: str, image: ImageRecord) -> Float[np.ndarray, "4 4"]:
    quat, translation = np.array(image.quat), np.array(image.translation)
    if not (np.isfinite(quat).all() and np.isfinite(translation).all()):
        raise GatlasError(f"{index}: image {image.name:.200}: its pose is NaN or infinite")
    if np.abs(quat).max() > MOST_OF_A_QUATERNION or np.abs(translation).max() > np.finfo(np.float32).max:
        raise GatlasError(f"{index}: image {image.name:.200}: its pose has numbers that no camera has")
    if np.linalg.norm(quat) < 1e-6:
        raise GatlasError(f"{index}: image {image.name:.200}: its quaternion is zero, which is no rotation")
    return rigid_motions(quats_to_matrices(quat), translation)


def _roots(model: Model) -> list[Path]:
    """Folders in which photos are searched for: around the named folder, then around the model."""
    around: Iterable[Path] = dict.fromkeys([model.folder, model.place, *list(model.place.resolve().parents)[:3]])
    return [root for base in around for root in (base / "images", base)]
