"""Views as the network sees them: square, over white, [-1, 1], with the cameras of a pair in its frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from gatlas.errors import GatlasError
from gatlas.images.composite import composite
from gatlas.images.window import window
from gatlas.models.xunet import encode_rays
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Float64
    from torch import Tensor

    from gatlas.systems.contract import Photo

WHITE = 1.0


def network_picture(photo: Photo, side: int) -> Float32[np.ndarray, "side side 3"]:
    """Return a photo over white, at the network's size, in [0, 1]."""
    height, width = photo.image.shape[:2]
    return np.asarray(composite(window(photo.image, (0, 0, width, height), side, side), WHITE), dtype=np.float32)


def intrinsics_at(K: Float[np.ndarray, "3 3"], width: int, height: int, side: int) -> Float64[np.ndarray, "3 3"]:
    """Return the intrinsics of a picture that is resized to the network's size."""
    return np.asarray(K, dtype=np.float64) * np.array([[side / width], [side / height], [1.0]])


def check_photo(photo: Photo) -> None:
    """Raise a GatlasError where the network cannot take a photo or its camera."""
    height, width = photo.image.shape[:2]
    if width != height:
        raise GatlasError(
            f"{photo.name}: has {width} x {height} pixels, and the model's views are square: cut it to a square, or "
            "add --recenter to a photo without a transforms.json"
        )
    if photo.viewmat is None:
        raise GatlasError(f"{photo.name}: has no camera: name a folder of views with a transforms.json")
    check_intrinsics(photo.name, photo.K, width, height)


def check_intrinsics(name: str, K: Float[np.ndarray, "3 3"], width: int, height: int) -> None:
    """Raise a GatlasError that begins with `name` unless K is a pinhole's that looks through its own picture."""
    K = np.asarray(K, dtype=np.float64)
    (fx, skew, cx), (other, fy, cy), last = K
    if not np.isfinite(K).all() or min(fx, fy) <= 0 or any(last != (0, 0, 1)):
        raise GatlasError(f"{name}: no camera has the intrinsics {K.tolist()}")
    if skew or other:
        raise GatlasError(f"{name}: its camera has skewed axes, which the model does not know")
    if not (0 < cx < width and 0 < cy < height):
        raise GatlasError(
            f"{name}: the center of its camera, {cx:g}, {cy:g}, is outside of its {width} x {height} pixels: the "
            "intrinsics are of another picture"
        )


def encode_pairs(
    viewmats: Float64[Tensor, "b 2 4 4"], Ks: Float64[Tensor, "b 2 3 3"], side: int, *, relative: bool
) -> Float[Tensor, "b 2 144 side side"]:
    """Return the encoded rays of pairs of cameras, `relative` in the axes of the first of each.

    With float64 cameras a rigid motion of the world then changes nothing beyond the rounding of the result.
    """
    if relative:
        # A general inverse: stored rotations are rounded, and R^T undoes them only nearly.
        first = torch.linalg.inv(viewmats[:, 0])
        # The first is the identity, not a product that is nearly so: its encoding has waves of 2^-14.
        identity = torch.eye(4, dtype=viewmats.dtype, device=viewmats.device).expand(len(viewmats), 4, 4)
        viewmats = torch.stack([identity, viewmats[:, 1] @ first], dim=1)
    encoded = encode_rays(Cameras(viewmats.flatten(0, 1), Ks.flatten(0, 1), side, side))
    return encoded.unflatten(0, (-1, 2))
