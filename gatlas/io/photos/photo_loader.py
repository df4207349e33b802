"""Photos without poses, and the intrinsics that a file or a field of view gives them."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.lens import Lens, pinhole, undistort
from gatlas.io import streams
from gatlas.io.images import decode_image
from gatlas.io.photos.transforms import lens_of, picture_of, picture_size, projection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from gatlas.io.streams import Blob

    Shown = tuple[str, Float[np.ndarray, "h w d"], Float[np.ndarray, "3 3"]]

LEAST_SIDE = 16  # pixels of a photo
ASPECT = 0.01  # by how much a photo's shape may differ from what the file says


class StraightPhoto(NamedTuple):
    """A photo, upright and undistorted, and the lens that was undone."""

    stem: str
    image: Float[np.ndarray, "h w d"]
    K: Float[np.ndarray, "3 3"]  # pixels of the image
    lens: Lens
    original: Float[np.ndarray, "3 3"]  # K of the photo as it lies there; K where the lens does not bend
    mask: Float[np.ndarray, "h w"] | None = None  # of the image: 1 where the object is


def read_photos(names: Sequence[str], *, fov: float | None = None, source: str | None = None) -> list[Shown]:
    """(name, picture, K) of each photo; see `read_straight`."""
    return [(photo.stem, photo.image, photo.K) for photo in read_straight(names, fov=fov, source=source)]


def read_straight(
    names: Sequence[str],
    *,
    fov: float | None = None,
    source: str | Blob | None = None,
    masks: Sequence[str | Path | None] | None = None,
) -> list[StraightPhoto]:
    """The photos, each with K in pixels of the picture, which is upright and undistorted.

    `fov` is the field of view in degrees of the photo's shorter side, its principal point in the middle. `source` is a
    JSON file of the kind of transforms.json instead: fl_x, fl_y, cx, cy, w, h or camera_angle_x at the top, and where
    it has frames, those of the photo's own frame; see `pair_frames`. What is said of another size than the photo's is
    scaled to it. `masks` are grey pictures of the photos as they lie there, white where the object is, or None.
    """
    if masks is not None and len(masks) != len(names):
        raise ValueError(f"masks must be as many as the photos, {len(names)}, got {len(masks)}")
    if (fov is None) == (source is None):
        raise GatlasError("the photos' field of view is needed: give --fov DEGREES, or a file with --intrinsics")
    if fov is not None and not 0 < fov < 180:
        raise GatlasError(f"--fov must be between 0 and 180 degrees, got {fov:g}")
    document: tuple[Blob, dict[str, Any]] | None = None
    numbers: list[int | None] = [None] * len(names)
    if source is not None:
        document = _document(streams.as_blob(source))
        numbers = _own_frames(*document, names)
    shown = []
    for name, number, mask_name in zip(names, numbers, masks or [None] * len(names), strict=True):
        blob = streams.read(name)
        picture = decode_image(blob)
        height, width = picture.shape[:2]
        if min(height, width) < LEAST_SIDE:
            raise GatlasError(f"{blob.name}: has {width} x {height} pixels; a photo needs {LEAST_SIDE} a side")
        mask = None if mask_name is None else _read_mask(mask_name, picture)
        if document is None:
            focal = 0.5 * min(width, height) / math.tan(0.5 * math.radians(fov or 0.0))
            K = np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])
            shown.append(StraightPhoto(blob.stem, picture, K, Lens(), K, mask))
        else:
            frame = {} if number is None else document[1]["frames"][number]
            shown.append(_as_pinhole(*document, frame, blob, picture, mask))
    return shown


def own_masks(source: str | Blob, photos: Sequence[str]) -> list[Path | None]:
    """Where the mask lies that each photo's own frame names as its `mask_path`; None where there is none.

    `source` is a JSON file of the kind of transforms.json; see `pair_frames`.
    """
    blob, document = _document(streams.as_blob(source))
    found: list[Path | None] = []
    for number in _own_frames(blob, document, photos):
        name = None if number is None else document["frames"][number].get("mask_path")
        if name is not None and (not isinstance(name, str) or not name):
            raise GatlasError(f"{blob.name}: frame {number}: 'mask_path' must be the name of a file, got {name!r}")
        folder = Path() if blob.path is None else blob.path.parent
        found.append(None if name is None else folder / name)
    return found


def pair_frames(
    index: str, names: Sequence[str], pictures: Sequence[Path | None], photos: Sequence[str]
) -> list[int | None]:
    """The number of each photo's frame in the file `index`: the frame of that very file, else of its stem, else None.

    `names` is what the frames call their pictures and `pictures` where these lie. Photos or frames of one stem that
    are not told apart by where they lie are a GatlasError.
    """
    by_path, by_stem = defaultdict(list), defaultdict(list)
    for i, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        by_stem[Path(name).stem].append(i)
        if picture is not None:
            by_path[picture.resolve()].append(i)
    shared = Counter(path.stem for path in {Path(photo).resolve() for photo in photos})
    found: list[int | None] = []
    for photo in photos:
        stem = Path(photo).stem
        own = by_path.get(Path(photo).resolve()) or by_stem.get(stem, [])
        if len(own) > 1:
            raise GatlasError(f"{index}: {len(own)} of its frames are called {stem!r}: name one with that photo only")
        if own and shared[stem] > 1 and Path(photo).resolve() not in by_path:
            raise GatlasError(
                f"{index}: {photo}: none of its frames is that file, and {shared[stem]} photos are called {stem!r}: "
                "give them names of their own"
            )
        found.append(own[0] if own else None)
    return found


def _own_frames(index: Blob, document: dict[str, Any], photos: Sequence[str]) -> list[int | None]:
    frames = document.get("frames", [])
    called = [str(frame.get("file_path")) for frame in frames]
    return pair_frames(index.name, called, [picture_of(index, frame) for frame in frames], photos)


def _read_mask(name: str | Path, picture: Float[np.ndarray, "h w d"]) -> Float[np.ndarray, "h w"]:
    """How white the mask of a picture is; what is transparent in it is black."""
    blob = streams.read(name)
    mask = decode_image(blob)
    if mask.shape[:2] != picture.shape[:2]:
        raise GatlasError(
            f"{blob.name}: the mask has {mask.shape[1]} x {mask.shape[0]} pixels, "
            f"its photo {picture.shape[1]} x {picture.shape[0]}: make it of the photo as it was taken"
        )
    grey = mask[..., :3].mean(axis=-1)
    return grey * mask[..., 3] if mask.shape[2] == 4 else grey


def _document(blob: Blob) -> tuple[Blob, dict[str, Any]]:
    try:
        document = json.loads(blob.data)
    except (ValueError, RecursionError) as error:
        raise GatlasError(f"{blob.name}: no intrinsics: it is no JSON: {error}") from None
    frames = document.get("frames", []) if isinstance(document, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise GatlasError(f"{blob.name}: no intrinsics: it must be a JSON object with fl_x, fl_y, cx, cy, w and h")
    return blob, document


def _as_pinhole(
    index: Blob,
    document: dict[str, Any],
    frame: dict[str, Any],
    photo: Blob,
    picture: Float[np.ndarray, "h w d"],
    mask: Float[np.ndarray, "h w"] | None,
) -> StraightPhoto:
    height, width = picture.shape[:2]
    stated = picture_size(index, document, frame) or (width, height)
    if abs(math.log((stated[0] / stated[1]) / (width / height))) > ASPECT:
        raise GatlasError(
            f"{photo.name}: has {width} x {height} pixels, and {index.name} is of {stated[0]} x {stated[1]}: "
            "another shape, cut from another photo"
        )
    try:
        K, lens = projection(index, document, frame, *stated), lens_of(index, document, frame)
    except GatlasError as error:
        raise GatlasError(f"{error} (for {photo.name})") from None
    K = K * np.array([[width / stated[0]], [height / stated[1]], [1.0]])
    straight = pinhole(index.name, K, lens, width, height)
    if lens.bends:
        picture = undistort(picture, K, lens, straight)
        mask = None if mask is None else undistort(mask[..., None], K, lens, straight)[..., 0]
    return StraightPhoto(photo.stem, picture, straight, lens, K, mask)
