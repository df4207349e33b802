"""Cameras from correspondences: PnP with RANSAC, and the correspondences of a pixel-aligned splat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import to_camera
from gatlas.geometry.ransac import absolute_pose
from gatlas.geometry.rays import directions_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from gatlas.types import Gaussians

MIN_INLIERS = 12  # measured: wrong poses have 6 or fewer, right ones 24 or more
MAX_ITERATIONS = 10_000
MIN_GRID_OPACITY = 0.3  # fainter Gaussians of a pixel grid are not on a surface
GRID_THRESHOLD = 0.01  # of the picture's longer side: largest distance of a Gaussian from its pixel


@dataclass(frozen=True, eq=False)
class PnpSolution:
    """A camera and the correspondences that agree with it."""

    viewmat: Float[np.ndarray, "4 4"]  # world -> camera, OpenCV
    inliers: Bool[np.ndarray, " m"]  # of the correspondences that were given
    residual: float  # median reprojection error of the inliers, pixels
    count: int  # of inliers


class Correspondences(NamedTuple):
    """Points of the scene and their pixels in the photo."""

    points: Float[np.ndarray, "m 3"]  # world units
    pixels: Float[np.ndarray, "m 2"]  # x, y; the center of the first pixel is (0.5, 0.5)


def solve_pnp(
    points: Float[np.ndarray, "m 3"],
    pixels: Float[np.ndarray, "m 2"],
    K: Float[np.ndarray, "3 3"],
    *,
    threshold: float,
    min_inliers: int = MIN_INLIERS,
    iterations: int = MAX_ITERATIONS,
) -> PnpSolution | None:
    """Return the camera that projects the most `points` to within `threshold` pixels of their `pixels`.

    P3P in RANSAC with local optimization under a truncated loss, then least squares over the inliers: by poselib, or by
    OpenCV where poselib is not installed (`gatlas.geometry.ransac`). None where fewer than `min_inliers` agree. Rows
    that are not finite are outliers. The same input gives the same bits.
    """
    points = np.asarray(points, dtype=np.float64)
    pixels = np.asarray(pixels, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or pixels.shape != (len(points), 2):
        raise ValueError(f"points must be [m 3] and pixels [m 2], got {list(points.shape)} and {list(pixels.shape)}")
    if not 0 < threshold < np.inf:
        raise ValueError(f"threshold must be a positive number of pixels, got {threshold}")
    K = _checked_intrinsics(K)
    usable = np.isfinite(points).all(axis=1) & np.isfinite(pixels).all(axis=1)
    if usable.sum() < max(min_inliers, 4):
        return None
    viewmat = _ransac(points[usable], pixels[usable], K, threshold, iterations)
    if viewmat is None:
        return None
    errors = reprojection_errors(viewmat, points, pixels, K)
    inliers = errors < threshold
    count = int(inliers.sum())
    if count < max(min_inliers, 4):
        return None
    return PnpSolution(viewmat, inliers, float(np.median(errors[inliers])), count)


def reprojection_errors(
    viewmat: Float[np.ndarray, "4 4"],
    points: Float[np.ndarray, "m 3"],
    pixels: Float[np.ndarray, "m 2"],
    K: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, " m"]:
    """Return the distance of each projected point from its pixel; infinite behind the camera or where not finite."""
    with np.errstate(all="ignore"):
        local = to_camera(points, viewmat)
        projected = local @ K.T
        errors = np.linalg.norm(projected[:, :2] / projected[:, 2:] - pixels, axis=1)
        return np.where(np.isfinite(errors) & (local[:, 2] > 0), errors, np.inf)


def grid_correspondences(gaussians: Gaussians, view: int, width: int, height: int) -> Correspondences:
    """Return the points of one `view` of a pixel-aligned splat and their pixels in its photo of `width` x `height`.

    The Gaussians are stored view after view, each of `origin.grid` rows x columns. Those under 0.3 opacity are left
    out.
    """
    if gaussians.origin.grid is None:
        raise ValueError("the Gaussians are not pixel-aligned: their origin has no grid")
    rows, columns = gaussians.origin.grid
    size = rows * columns
    if size < 1 or len(gaussians) % size:
        raise ValueError(f"a grid of {rows} x {columns} does not divide {len(gaussians)} Gaussians")
    views = len(gaussians) // size
    if not 0 <= view < views:
        raise ValueError(f"view must be in 0 ... {views - 1}, got {view}")
    own = slice(view * size, (view + 1) * size)
    row, column = np.divmod(np.arange(size), columns)
    pixels = np.stack([(column + 0.5) * width / columns, (row + 0.5) * height / rows], axis=1)
    dense = np.asarray(gaussians.opacities[own]) > MIN_GRID_OPACITY
    return Correspondences(np.asarray(gaussians.means[own], dtype=np.float64)[dense], pixels[dense])


def _ransac(
    points: Float[np.ndarray, "m 3"],
    pixels: Float[np.ndarray, "m 2"],
    K: Float[np.ndarray, "3 3"],
    threshold: float,
    iterations: int,
) -> Float[np.ndarray, "4 4"] | None:
    # The solvers' cameras have no skew: it is removed from the pixels, which are unchanged where it is 0.
    rays = directions_of(pixels, K)
    unskewed = np.ascontiguousarray(rays[:, :2] * (K[0, 0], K[1, 1]))
    return absolute_pose(points, unskewed, (K[0, 0], K[1, 1]), threshold=threshold, iterations=iterations)


def _checked_intrinsics(K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    K = np.asarray(K, dtype=np.float64)
    if K.shape != (3, 3) or not np.isfinite(K).all() or not (K[0, 0] > 0 and K[1, 1] > 0):
        raise ValueError(f"K must be a finite [3 3] matrix with positive focal lengths, got {K.tolist()}")
    return K
