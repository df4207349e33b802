"""Errors of a trajectory: camera positions that a similarity moves onto the true ones (Umeyama 1991)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import camera_centers

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

FLAT = 1e-9  # singular value over the largest, below which points have no extent in that direction


class AlignedPositions(NamedTuple):
    """x -> scale * rotation @ x + translation."""

    scale: float
    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, " 3"]

    def apply(self, points: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Return the moved points."""
        return self.scale * points @ self.rotation.T + self.translation

    def apply_to_cameras(self, viewmats: Float[np.ndarray, "c 4 4"]) -> Float64[np.ndarray, "c 4 4"]:
        """Return cameras (world -> camera) that are turned with the world and stand at the moved positions."""
        viewmats = np.asarray(viewmats, dtype=np.float64)
        placed = np.tile(np.eye(4), (len(viewmats), 1, 1))
        placed[:, :3, :3] = viewmats[:, :3, :3] @ self.rotation.T
        placed[:, :3, 3] = -np.einsum("cij,cj->ci", placed[:, :3, :3], self.apply(camera_centers(viewmats)))
        return placed


class TrajectoryError(NamedTuple):
    """Absolute trajectory error after alignment."""

    rmse: float  # units of the true positions
    scale: float  # by which the found positions were enlarged


def umeyama(points: Float[np.ndarray, "n 3"], truths: Float[np.ndarray, "n 3"]) -> AlignedPositions | None:
    """Return the similarity with the least squared distances from points to truths; None where several fit as well.

    Several do where the points, or the truths, are fewer than three or lie on a line.
    """
    points, truths = np.asarray(points, dtype=np.float64), np.asarray(truths, dtype=np.float64)
    if points.shape != truths.shape or points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points and truths must have one shape [n 3], got {points.shape} and {truths.shape}")
    if len(points) < 3:
        return None
    center, true_center = points.mean(axis=0), truths.mean(axis=0)
    away, true_away = points - center, truths - true_center
    U, values, Vt = np.linalg.svd(true_away.T @ away / len(points))  # eq. 38
    if not values[1] > FLAT * values[0]:
        return None
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])  # eq. 39
    rotation = U @ (signs[:, None] * Vt)  # eq. 40
    scale = float((values * signs).sum() / (away**2).sum() * len(points))  # eq. 42
    return AlignedPositions(scale, rotation, true_center - scale * rotation @ center)  # eq. 41


def trajectory_error(points: Float[np.ndarray, "n 3"], truths: Float[np.ndarray, "n 3"]) -> TrajectoryError | None:
    """Return the root mean squared distance from the truths after `umeyama`; None where that is not determined."""
    found = umeyama(points, truths)
    if found is None:
        return None
    squares = ((found.apply(np.asarray(points, dtype=np.float64)) - truths) ** 2).sum(axis=1)
    return TrajectoryError(float(np.sqrt(squares.mean())), found.scale)
