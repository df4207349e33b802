"""Moving Gaussians into the unit ball and back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Gaussians


def into_unit_ball(gaussians: Gaussians) -> tuple[Gaussians, tuple[float, float, float], float]:
    """The Gaussians with their means in the unit ball, and the centre and scale with which `scaled` leads back (numpy).

    What is normalised already, by its mesh, stays as it is: two fits of one mesh share one frame.
    """
    if gaussians.origin.normalized:
        return gaussians, (0.0, 0.0, 0.0), 1.0
    means = gaussians.means.astype(np.float64)
    center = (means.min(axis=0) + means.max(axis=0)) / 2
    scale = float(np.linalg.norm(means - center, axis=1).max())
    if scale == 0.0:  # a single Gaussian, or all at one place
        scale = 1.0
    x, y, z = (float(value) for value in center)
    unit = replace(
        gaussians,
        means=((means - center) / scale).astype(np.float32),
        scales=(gaussians.scales.astype(np.float64) / scale).astype(np.float32),
    )
    return unit, (x, y, z), scale


def scaled(gaussians: Gaussians, center: tuple[float, float, float], scale: float) -> Gaussians:
    """Positions times `scale` plus `center`, and scales alike (numpy): the way back from the unit ball."""
    return replace(
        gaussians,
        means=(gaussians.means.astype(np.float64) * scale + center).astype(np.float32),
        scales=(gaussians.scales.astype(np.float64) * scale).astype(np.float32),
    )


def unscaled(gaussians: Gaussians, center: tuple[float, float, float], scale: float) -> Gaussians:
    """The inverse of `scaled` (numpy)."""
    x, y, z = center
    return scaled(gaussians, (-x / scale, -y / scale, -z / scale), 1 / scale)


def denormalized(gaussians: Gaussians) -> Gaussians:
    """The Gaussians in the object's own units, which their origin leads back to (numpy)."""
    origin = gaussians.origin
    back = scaled(gaussians, origin.center, origin.scale)
    return replace(back, origin=replace(origin, center=(0.0, 0.0, 0.0), scale=1.0, normalized=False))


def scaled_views(
    viewmats: Float[np.ndarray, "*c 4 4"], center: Float[np.ndarray, " 3"] | tuple[float, float, float], scale: float
) -> Float[np.ndarray, "*c 4 4"]:
    """World-to-camera matrices (numpy, float64) that see `scaled` Gaussians as these see the Gaussians."""
    moved = np.array(viewmats, dtype=np.float64)
    moved[..., :3, 3] = moved[..., :3, 3] * scale - moved[..., :3, :3] @ np.asarray(center)
    return moved


def unscaled_views(
    viewmats: Float[np.ndarray, "*c 4 4"], center: Float[np.ndarray, " 3"] | tuple[float, float, float], scale: float
) -> Float[np.ndarray, "*c 4 4"]:
    """The inverse of `scaled_views`."""
    moved = np.array(viewmats, dtype=np.float64)
    moved[..., :3, 3] = (moved[..., :3, :3] @ np.asarray(center) + moved[..., :3, 3]) / scale
    return moved
