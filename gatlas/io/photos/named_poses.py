"""Cameras of named photos, found or not, and the true ones of the same photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import streams
from gatlas.io.json_reader import read_json
from gatlas.io.photos import scenes, transforms
from gatlas.io.photos.photo_loader import pair_frames

if TYPE_CHECKING:
    from jaxtyping import Float64


class NamedPoses(NamedTuple):
    """Cameras by the photos that they took."""

    name: str  # of the index, for messages
    photos: tuple[str, ...]  # as the index calls them
    pictures: tuple[Path | None, ...]  # None: the file is missing
    viewmats: Float64[np.ndarray, "n 4 4"]  # world -> camera, OpenCV; NaN for a photo whose camera was not found


class MatchedPoses(NamedTuple):
    """Numbers of the same photos in two lists."""

    of_found: list[int]  # the true camera of each found one
    of_truth: list[int | None]  # the found camera of each true one


def read_named_poses(source: str) -> NamedPoses:
    """Return the cameras of a transforms.json, "-" for standard input, or of a folder of photos with their cameras.

    Photos that a transforms.json lists under "not_found" have cameras of NaN.
    """
    missing: list[str] = []
    if not streams.is_stream(source) and streams.is_folder(source):
        name, posed = scenes.read_posed_photos(source)
        if transforms.has_index(source):
            missing = _not_found(streams.as_blob(str(transforms.index_of(source))))
    else:
        blob = streams.as_blob(source)
        name, posed = transforms.read_posed_photos(blob)
        missing = _not_found(blob)
    viewmats = np.full((len(posed) + len(missing), 4, 4), np.nan)
    for i, photo in enumerate(posed):
        viewmats[i] = photo.viewmat
    photos = (*(photo.name for photo in posed), *missing)
    return NamedPoses(name, photos, (*(photo.picture for photo in posed), *(None for _ in missing)), viewmats)


def _not_found(blob: streams.Blob) -> list[str]:
    document = read_json(blob, fault="no cameras")
    entries = document.get("not_found", []) if isinstance(document, dict) else []
    if not isinstance(entries, list):
        raise GatlasError(f"{blob.name}: 'not_found' must be a list of photos")
    return [str(entry["file_path"]) for entry in entries if isinstance(entry, dict) and "file_path" in entry]


def match_poses(found: NamedPoses, truth: NamedPoses) -> MatchedPoses:
    """Return which cameras are of the same photo, by its path or else by its name without the suffix.

    A found photo that the truth lacks is a GatlasError, as are names that do not distinguish photos.
    """
    pictures = zip(found.photos, found.pictures, strict=True)
    names = [photo if picture is None else str(picture) for photo, picture in pictures]
    numbers = pair_frames(truth.name, truth.photos, truth.pictures, names)
    of_found: list[int] = []
    of_truth: list[int | None] = [None] * len(truth.photos)
    for i, (photo, number) in enumerate(zip(found.photos, numbers, strict=True)):
        if number is None:
            raise GatlasError(f"{truth.name}: has no camera of {photo}, which {found.name} has")
        if of_truth[number] is not None:
            raise GatlasError(f"{found.name}: has two cameras of {truth.photos[number]}")
        of_truth[number] = i
        of_found.append(number)
    return MatchedPoses(of_found, of_truth)
