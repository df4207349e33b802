"""Input views that do not quite fit together, as those of a generative model: Tang et al. 2024, LGM, sec. 3.3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from gatlas.geometry.rotations import so3_exp

if TYPE_CHECKING:
    from jaxtyping import Float, Float32
    from torch import Tensor

MIN_KNOTS, MAX_KNOTS = 8, 16  # of an axis, with both ends
STRENGTH = 0.5  # of the distance between two knots: the range that a knot is moved in
MAX_AZIMUTH, MAX_ELEVATION = 18.0, 9.0  # degrees, of the jitter of a camera


def distort(images: Float[Tensor, "v c h w"], rng: np.random.Generator) -> Float[Tensor, "v c h w"]:
    """Return images each of which is stretched here and squeezed there, on a grid of its own.

    What would come from outside of an image is 0.
    """
    height, width = images.shape[-2:]
    knots = int(rng.integers(MIN_KNOTS, MAX_KNOTS + 1))
    grids = []
    for _ in range(len(images)):
        columns, rows = (source_coordinates(knot_pixels(knots, side, rng)) for side in (width, height))
        x, y = np.meshgrid(columns, rows, indexing="xy")
        grids.append(np.stack([x, y], axis=-1))
    grid = torch.from_numpy(np.stack(grids)).to(images)
    return torch.nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def knot_pixels(knots: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels of an axis that the knots are moved to; the first is 0 and the last is `side`."""
    places = np.linspace(0, 1, knots) + STRENGTH * (rng.random(knots) - 0.5) / (knots - 1)
    pixels = (places.clip(0, 1) * side).astype(int)
    pixels[0], pixels[-1] = 0, side
    return pixels


def source_coordinates(pixels: np.ndarray) -> Float32[np.ndarray, " side"]:
    """Return the coordinate in [-1, 1] that each pixel of an axis is taken from.

    The knots lie evenly in the source; between two of them the coordinate is linear.
    """
    sources = np.linspace(-1, 1, len(pixels))
    cells = [np.linspace(sources[i], sources[i + 1], pixels[i + 1] - pixels[i]) for i in range(len(pixels) - 1)]
    return np.concatenate(cells).astype(np.float32)


def jitter(viewmats: Float[np.ndarray, "v 4 4"], rng: np.random.Generator) -> Float[np.ndarray, "v 4 4"]:
    """Return cameras that are each turned about the world's origin, with their positions, by a random angle.

    The turn is about the camera's own vertical, up to MAX_AZIMUTH, after one about its own horizontal axis, up to
    MAX_ELEVATION.
    """
    azimuths, elevations = (
        np.radians(limit) * rng.uniform(-1, 1, len(viewmats)) for limit in (MAX_AZIMUTH, MAX_ELEVATION)
    )
    return np.stack([turned(*each) for each in zip(viewmats, azimuths, elevations, strict=True)])


def turned(viewmat: Float[np.ndarray, "4 4"], azimuth: float, elevation: float) -> Float[np.ndarray, "4 4"]:
    """Return a camera that is turned about the world's origin, right-handed about its up and right axes (radians)."""
    right, up = viewmat[0, :3].astype(np.float64), -viewmat[1, :3].astype(np.float64)
    turn = np.eye(4)
    turn[:3, :3] = so3_exp(azimuth * up) @ so3_exp(elevation * right)
    return (viewmat @ turn.T).astype(viewmat.dtype)
