"""The point that cameras look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.cameras import camera_centers

if TYPE_CHECKING:
    from jaxtyping import Float, Float64


def meeting_point(viewmats: Float[np.ndarray, "c 4 4"], spread: float) -> Float64[np.ndarray, " 3"] | None:
    """Return the point that is nearest to the optical axes of all cameras, by least squares.

    None where the axes are nearly parallel: where the smallest eigenvalue of the mean of 1 - f f^T over the axes f is
    below `spread`.
    """
    viewmats = np.asarray(viewmats, dtype=np.float64)
    eyes, across = camera_centers(viewmats), across_axes(viewmats)
    mean = across.mean(axis=0)
    if np.linalg.eigvalsh(mean)[0] < spread:
        return None
    return np.asarray(np.linalg.solve(mean, np.einsum("cij,cj->i", across, eyes) / len(eyes)))


def across_axes(viewmats: Float[np.ndarray, "c 4 4"]) -> Float64[np.ndarray, "c 3 3"]:
    """Return the projections onto the planes at right angles to the optical axes."""
    axes = np.asarray(viewmats[:, 2, :3], dtype=np.float64)
    return np.eye(3) - axes[:, :, None] * axes[:, None, :]
