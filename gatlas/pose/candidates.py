"""Candidate cameras for a photo without a prior: all around the scene, with the scene in full view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry import frames
from gatlas.geometry.cameras import camera_centers, fibonacci_views, moved_to
from gatlas.geometry.scene_unit import in_unit_ball, scene_unit
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Gaussians

DEFAULT_VIEWS = 40  # measured: 20 miss some photos, 80 find no more
MIN_OPACITY = 0.05  # Gaussians up to this opacity are not taken for parts of the object
BALL_MARGIN = 1.04  # distance relative to the least that shows the whole ball; 2.6 radii at 47 degrees


def bounding_ball(gaussians: Gaussians) -> tuple[Float[np.ndarray, " 3"], float]:
    """Return center and radius of the visible Gaussians, without the farthest thousandth along each axis.

    Outliers would make the object small in its pictures. A normalized object has the unit ball, so that its candidates
    are as far away as the cameras that it was made with.
    """
    means = np.asarray(gaussians.means, dtype=np.float64)
    solid = np.isfinite(means).all(axis=1) & (np.asarray(gaussians.opacities) > MIN_OPACITY)
    if not solid.any():
        raise GatlasError(f"no Gaussian is visible: all opacities are {MIN_OPACITY:g} or less")
    if in_unit_ball(gaussians):
        return np.zeros(3), 1.0
    center, radius = frames.bounding_ball(means[solid], tail=0.0005, share=0.999)
    return center, radius or scene_unit(gaussians)


def candidate_cameras(
    gaussians: Gaussians, K: Float[np.ndarray, "3 3"], width: int, height: int, views: int = DEFAULT_VIEWS
) -> Cameras:
    """Return `views` cameras with the photo's intrinsics that see the scene's whole ball from all sides."""
    center, radius = bounding_ball(gaussians)
    K = np.asarray(K, dtype=np.float64)
    # An off-center principal point, as of a cropped photo, would move the object out of the pictures.
    half = min(np.arctan(0.5 * width / K[0, 0]), np.arctan(0.5 * height / K[1, 1]))
    lattice = fibonacci_views(views, width, height, distance=BALL_MARGIN / float(np.sin(half)))
    eyes = np.asarray(camera_centers(lattice.viewmats), dtype=np.float64) * radius + center
    viewmats = moved_to(np.asarray(lattice.viewmats, dtype=np.float64), eyes)
    centered = np.array([[K[0, 0], 0, 0.5 * width], [0, K[1, 1], 0.5 * height], [0, 0, 1]])
    return Cameras(viewmats, np.tile(centered, (views, 1, 1)), width, height)
