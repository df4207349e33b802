"""Rows of a COLMAP model's files, in either format, and the K and lens that its camera models stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.lens import Lens
from gatlas.io.photos.posed_photos import pinhole

if TYPE_CHECKING:
    from jaxtyping import Float

MOST_PIXELS = 1 << 17  # a side; a larger number is damage

# Camera models by their number in a binary file, and how many parameters each has.
MODELS = (
    ("SIMPLE_PINHOLE", 3), ("PINHOLE", 4), ("SIMPLE_RADIAL", 4), ("RADIAL", 5), ("OPENCV", 8), ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12), ("FOV", 5), ("SIMPLE_RADIAL_FISHEYE", 4), ("RADIAL_FISHEYE", 5),
    ("THIN_PRISM_FISHEYE", 12), ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
)  # fmt: skip


class CameraRecord(NamedTuple):
    """A row of the file "cameras"."""

    model: str
    width: int  # pixels
    height: int
    parameters: tuple[float, ...]  # focal lengths, principal point, distortion, in the model's order


class ImageRecord(NamedTuple):
    """A row of the file "images"."""

    name: str
    quat: tuple[float, ...]  # wxyz, world -> camera
    translation: tuple[float, ...]
    camera: int


def projection(index: str, camera: CameraRecord) -> tuple[Float[np.ndarray, "3 3"], Lens]:
    """K and the lens of a camera; models beyond OpenCV's four coefficients are a GatlasError that names them."""
    values = camera.parameters
    if not np.isfinite(values).all():
        raise GatlasError(f"{index}: a camera has parameters that are NaN or infinite")
    if not (1 <= camera.width <= MOST_PIXELS and 1 <= camera.height <= MOST_PIXELS):
        raise GatlasError(f"{index}: a camera has {camera.width} x {camera.height} pixels: the file is damaged")
    counts = dict(MODELS)
    if camera.model in counts and len(values) != counts[camera.model]:
        raise GatlasError(
            f"{index}: a camera of the model {camera.model:.80} has {len(values)} parameters, "
            f"it must have {counts[camera.model]}"
        )
    match camera.model:
        case "SIMPLE_PINHOLE":
            (f, cx, cy), lens = values, Lens()
            fx = fy = f
        case "PINHOLE":
            (fx, fy, cx, cy), lens = values, Lens()
        case "SIMPLE_RADIAL":
            f, cx, cy, k1 = values
            fx, fy, lens = f, f, Lens(k1=k1)
        case "RADIAL":
            f, cx, cy, k1, k2 = values
            fx, fy, lens = f, f, Lens(k1=k1, k2=k2)
        case "OPENCV":
            fx, fy, cx, cy, k1, k2, p1, p2 = values
            lens = Lens(k1=k1, k2=k2, p1=p1, p2=p2)
        case _:
            raise GatlasError(
                f"{index}: the camera model {camera.model:.80} is not read: undistort the photos with "
                "'colmap image_undistorter' first"
            )
    if fx <= 0 or fy <= 0:
        raise GatlasError(f"{index}: a camera has the focal length {min(fx, fy):g}: it must be above 0")
    return pinhole(index, fx, fy, cx, cy), lens
