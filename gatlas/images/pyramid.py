"""Smaller pictures for the first steps of a fit, which settle what is coarse at a quarter of the cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.cameras import resized
from gatlas.images.composite import straight_alpha
from gatlas.types import Views

if TYPE_CHECKING:
    from jaxtyping import Float


def halve(views: Views) -> Views:
    """RGBA views at half the width and height, which must be even (numpy): means of 2 x 2 pixels, weighted by alpha."""
    count, height, width, _ = views.images.shape
    if height % 2 or width % 2:
        raise ValueError(f"width and height must be even to be halved, got {width} x {height}")
    images = np.empty((count, height // 2, width // 2, 4), dtype=np.float32)
    for half, image in zip(images, views.images, strict=True):
        colors = _mean_of_four(image[..., :3] * image[..., 3:])
        half[...] = straight_alpha(colors, _mean_of_four(image[..., 3:]))
    return Views(images, resized(views.cameras, width // 2, height // 2))


def _mean_of_four(image: Float[np.ndarray, "h w d"]) -> Float[np.ndarray, "h/2 w/2 d"]:
    return (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4
