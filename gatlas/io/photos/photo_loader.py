"""Loading of photos without poses, with the intrinsics that a file or a field of view gives."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.lens import Lens, undistort_points, undistorted_intrinsics, zoom_lens
from gatlas.images.undistort import undistort
from gatlas.io import streams
from gatlas.io.images import UPRIGHT, decode_image, read_header
from gatlas.io.json_reader import read_json
from gatlas.io.photos.exif_turns import JSON_HINT, TurnEvidence, choose_turns
from gatlas.io.photos.named_files import last_part
from gatlas.io.photos.photo_mask import read_mask
from gatlas.io.photos.transforms import exif_turned, lens_of, masks_of, picture_size, pictures_of, projection
from gatlas.io.registry import refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from gatlas.io.images import PictureHeader
    from gatlas.io.streams import Blob

MIN_SIDE = 16  # pixels of a photo
ASPECT_TOLERANCE = 0.01  # largest |log| of the ratio between the aspect ratios of a photo and of its intrinsics


class UndistortedPhoto(NamedTuple):
    """An undistorted photo, with the lens that was removed."""

    path: str  # or "-"
    image: Float[np.ndarray, "h w d"]  # RGB or straight RGBA, sRGB in [0, 1]
    K: Float[np.ndarray, "3 3"]  # pixels of the image
    lens: Lens  # of the photo as it was taken
    original: Float[np.ndarray, "3 3"]  # of the photo as it was taken; equal to K without distortion
    mask: Float[np.ndarray, "h w"] | None = None  # undistorted too: 1 where the object is
    exif_turned: bool = False  # the photo has an EXIF turn, which was applied

    @property
    def stem(self) -> str:
        """The file's name without its suffix; empty for standard input."""
        return "" if streams.is_stream(self.path) else Path(self.path).stem

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]

    def distorted_intrinsics(self, K: Float[np.ndarray, "3 3"]) -> tuple[Float[np.ndarray, "3 3"], Lens]:
        """Return K and the lens of the photo as it was taken, where `K` is that of the undistorted image.

        A reader who removes the lens again comes to the same image, also where the focal length was refined.
        """
        factor = float(K[0, 0] / self.K[0, 0])
        return self.original * np.array([[factor, 1, 1], [1, factor, 1], [1, 1, 1]]), zoom_lens(self.lens, factor)

    def undistort_pixels(self, pixels: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "m 2"]:
        """Return the pixels of the undistorted image that correspond to `pixels` of the photo as it was taken.

        NaN where the lens has no ray.
        """
        return undistort_points(pixels, self.original, self.lens, self.K) if self.lens.has_distortion else pixels


def read_photos(
    names: Sequence[str],
    *,
    fov: float | None = None,
    source: str | Blob | None = None,
    masks: Sequence[str | Path | None] | None = None,
    poses: Blob | None = None,
) -> list[UndistortedPhoto]:
    """Return the photos, each with K in pixels of the image, which is undistorted.

    `fov` is the field of view in degrees across the photo's shorter side, with the principal point in the middle.
    `source` is a JSON file in the format of transforms.json instead: fl_x, fl_y, cx, cy, w, h or camera_angle_x at the
    top, or in the photo's own frame; see `pair_frames`. Intrinsics of another size than the photo's are scaled to it.
    `masks` are gray pictures of the photos as they were taken, white where the object is, or None. Photos are turned
    as their EXIF tag says where nothing is known of their cameras; where `source`, or else `poses`, a file of the same
    format, has them, see `gatlas.io.photos.exif_turns`.
    """
    if masks is not None and len(masks) != len(names):
        raise ValueError(f"masks must be as many as the photos, {len(names)}, got {len(masks)}")
    if (fov is None) == (source is None):
        raise GatlasError("the photos' field of view is needed: give --fov DEGREES, or a file with --intrinsics")
    if fov is not None and not 0 < fov < 180:
        raise GatlasError(f"--fov must be between 0 and 180 degrees, got {fov:g}")
    document = None if source is None else _document(streams.as_blob(source))
    frames = [{}] * len(names) if document is None else _frames_of(*document, names)
    blobs = [streams.read(name) for name in names]
    headers = [_header(blob) for blob in blobs]
    turns = [True] * len(names)
    framed = document or (None if poses is None else _document(poses))
    if framed is not None:
        turns = _choose_turns(*framed, _frames_of(*framed, names), blobs, headers)
    photos = []
    for name, blob, header, turned, frame, mask_name in zip(
        names, blobs, headers, turns, frames, masks or [None] * len(names), strict=True
    ):
        image = decode_image(blob, upright=turned)
        height, width = image.shape[:2]
        mask = None if mask_name is None else read_mask(mask_name, image, header, turned=turned)
        if document is None:
            focal = 0.5 * min(width, height) / math.tan(0.5 * math.radians(fov or 0.0))
            K = np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])
            photo = UndistortedPhoto(name, image, K, Lens(), K, mask)
        else:
            photo = _undistorted(*document, frame, name, blob.name, image, mask)
        photos.append(photo._replace(exif_turned=turned and header.orientation != UPRIGHT))
    return photos


def frame_masks(source: str | Blob, photos: Sequence[str]) -> list[Path | None]:
    """Return the path of the mask that each photo's frame names as its `mask_path`; None without one.

    `source` is a JSON file in the format of transforms.json; see `pair_frames`.
    """
    blob, document = _document(streams.as_blob(source))
    return masks_of(blob, document.get("frames", []), _paired_frames(blob, document, photos))


def pair_frames(
    index: str, names: Sequence[str], pictures: Sequence[Path | None], photos: Sequence[str]
) -> list[int | None]:
    """Return the number of each photo's frame in the file `index`: by its path, else by its stem, else None.

    `names` are the frames' file names and `pictures` the paths of the files that exist. Photos or frames with the same
    stem that the paths do not distinguish are a GatlasError.
    """
    by_path, by_stem, by_any_case = defaultdict(list), defaultdict(list), defaultdict(list)
    for i, (name, picture) in enumerate(zip(names, pictures, strict=True)):
        stem = Path(last_part(name)).stem
        by_stem[stem].append(i)
        by_any_case[stem.casefold()].append(i)
        if picture is not None:
            by_path[picture.resolve()].append(i)
    shared = Counter(path.stem for path in {Path(photo).resolve() for photo in photos})
    numbers: list[int | None] = []
    for photo in photos:
        stem = Path(photo).stem
        frames = by_path.get(Path(photo).resolve()) or by_stem.get(stem) or by_any_case.get(stem.casefold(), [])
        if len(frames) > 1:
            raise GatlasError(
                f"{index}: {len(frames)} of its frames are called {stem!r:.200}: name one with that photo only"
            )
        if frames and shared[stem] > 1 and Path(photo).resolve() not in by_path:
            raise GatlasError(
                f"{index}: {photo}: none of its frames is that file, and {shared[stem]} photos are called "
                f"{stem!r:.200}: give them different names"
            )
        numbers.append(frames[0] if frames else None)
    return numbers


def _paired_frames(index: Blob, document: dict[str, Any], photos: Sequence[str]) -> list[int | None]:
    frames = document.get("frames", [])
    names = [str(frame.get("file_path")) for frame in frames]
    return pair_frames(index.name, names, pictures_of(index, frames), photos)


def _frames_of(index: Blob, document: dict[str, Any], photos: Sequence[str]) -> list[dict[str, Any]]:
    """Return each photo's own frame; {} where it has none."""
    numbers = _paired_frames(index, document, photos)
    return [{} if number is None else document["frames"][number] for number in numbers]


def _header(blob: Blob) -> PictureHeader:
    if blob.kind != "image":
        raise refusal(blob, "image")
    header = read_header(blob)
    if min(header.size) < MIN_SIDE:
        raise GatlasError(
            f"{blob.name}: has {header.width} x {header.height} pixels; a photo needs at least {MIN_SIDE} per side"
        )
    return header


def _choose_turns(
    index: Blob,
    document: dict[str, Any],
    frames: Sequence[dict[str, Any]],
    blobs: Sequence[Blob],
    headers: Sequence[PictureHeader],
) -> list[bool]:
    """Return for each photo whether its EXIF turn is to be applied, by the size that a file states of its camera."""
    evidence = []
    for frame, blob, header in zip(frames, blobs, headers, strict=True):
        stated = picture_size(index, document, frame)
        stored, turned = (stated is None or _same_shape(stated, each) for each in (header.size, header.turned_size))
        evidence.append(TurnEvidence(blob.name, header, stored, turned, exif_turned(index, document, frame)))
    return choose_turns(index.name, evidence, JSON_HINT)


def _same_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    return abs(math.log((first[0] / first[1]) / (second[0] / second[1]))) <= ASPECT_TOLERANCE


def _document(blob: Blob) -> tuple[Blob, dict[str, Any]]:
    document = read_json(blob, fault="no intrinsics")
    frames = document.get("frames", []) if isinstance(document, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise GatlasError(f"{blob.name}: no intrinsics: it must be a JSON object with fl_x, fl_y, cx, cy, w and h")
    return blob, document


def _undistorted(
    index: Blob,
    document: dict[str, Any],
    frame: dict[str, Any],
    path: str,
    name: str,
    image: Float[np.ndarray, "h w d"],
    mask: Float[np.ndarray, "h w"] | None,
) -> UndistortedPhoto:
    """Return a photo as the pinhole camera shows it whose intrinsics and lens the document holds."""
    height, width = image.shape[:2]
    stated = picture_size(index, document, frame) or (width, height)
    if not _same_shape(stated, (width, height)):
        raise GatlasError(
            f"{name}: has {width} x {height} pixels, and {index.name} is of {stated[0]} x {stated[1]}: "
            "another aspect ratio, so another crop of the photo"
        )
    try:
        K, lens = projection(index, document, frame, *stated), lens_of(index, document, frame)
    except GatlasError as error:
        raise GatlasError(f"{error} (for {name})") from None
    K = K * np.array([[width / stated[0]], [height / stated[1]], [1.0]])
    pinhole_K = undistorted_intrinsics(index.name, K, lens, width, height)
    if lens.has_distortion:
        image = undistort(image, K, lens, pinhole_K)
        mask = None if mask is None else undistort(mask[..., None], K, lens, pinhole_K)[..., 0]
    return UndistortedPhoto(path, image, pinhole_K, lens, K, mask)
