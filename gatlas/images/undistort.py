"""Photos resampled as a pinhole camera would have taken them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.lens import Lens, distort_points
from gatlas.images.composite import straight_alpha

if TYPE_CHECKING:
    from jaxtyping import Float


def undistort(
    picture: Float[np.ndarray, "h w d"], K: Float[np.ndarray, "3 3"], lens: Lens, target: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "h w d"]:
    """Return the picture of a pinhole camera with K = `target`, by bilinear interpolation.

    Pictures have one, three or four channels; the colors of straight RGBA are weighted by its alpha.
    """
    from scipy.ndimage import map_coordinates

    height, width = picture.shape[:2]
    pixels = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    source = distort_points(pixels, K, lens, target)
    rows_columns = np.stack([source[..., 1], source[..., 0]]) - 0.5

    def sample(channels: Float[np.ndarray, "h w k"]) -> Float[np.ndarray, "h w k"]:
        planes = np.moveaxis(channels, -1, 0)
        sampled = [map_coordinates(plane, rows_columns, order=1, mode="nearest") for plane in planes]
        return np.stack(sampled, axis=-1).astype(np.float32)

    if picture.shape[2] != 4:
        return sample(picture)
    return straight_alpha(sample(picture[..., :3] * picture[..., 3:]), sample(picture[..., 3:]))
