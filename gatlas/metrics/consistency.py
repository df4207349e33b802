"""Agreement of matched pixels with given cameras: epipolar and three-view residuals, their score, and chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.rays import directions_of
from gatlas.geometry.rotations import angles_between
from gatlas.metrics.pose_errors import recall_area

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.types import Cameras

AREA_LIMIT = 0.03  # of a picture's longer side: residuals above it count as wrong, however large they are
TINY_BASELINE = 1e-3  # of the cameras' spread: two cameras nearer than that have no epipolar geometry


def nearest_views(viewmats: Float[np.ndarray, "v 4 4"], count: int, *, farthest: float) -> list[Int[np.ndarray, " _"]]:
    """Return for each camera the indices of up to `count` others, the nearest first.

    Distance is the angle between the axes in radians plus that of the centers over their spread; others whose axes are
    more than `farthest` degrees apart, or that stand at the same place, are left out.
    """
    centers, number = camera_centers(np.asarray(viewmats, dtype=np.float64)), len(viewmats)
    spread = np.sqrt(((centers - centers.mean(axis=0)) ** 2).sum(axis=1).mean())
    found = []
    for i in range(number):
        baselines = np.linalg.norm(centers - centers[i], axis=1)
        cosines = np.clip(viewmats[:, 2, :3] @ viewmats[i, 2, :3], -1.0, 1.0)
        angles = np.arccos(cosines)
        usable = (baselines > TINY_BASELINE * spread) & (np.degrees(angles) <= farthest)
        usable[i] = False
        distances = angles + baselines / (spread or 1.0)
        order = np.argsort(distances, kind="stable")
        found.append(order[usable[order]][:count])
    return found


def fundamental_matrix(cameras: Cameras, first: int, second: int) -> Float[np.ndarray, "3 3"]:
    """Return F with q^T F p = 0 for pixels p of the first picture and q of the second that show one point."""
    viewmats, Ks = (np.asarray(each, dtype=np.float64) for each in (cameras.viewmats, cameras.Ks))
    motion = viewmats[second] @ np.linalg.inv(viewmats[first])
    x, y, z = motion[:3, 3]
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.linalg.inv(Ks[second]).T @ cross @ motion[:3, :3] @ np.linalg.inv(Ks[first]))


def sampson_distances(
    F: Float[np.ndarray, "3 3"], first: Float[np.ndarray, "*n 2"], second: Float[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n"]:
    """Return the Sampson distances in pixels: about how far a match is from one that F allows (Hartley & Zisserman)."""
    one = np.concatenate([first, np.ones_like(first[..., :1])], axis=-1)
    two = np.concatenate([second, np.ones_like(second[..., :1])], axis=-1)
    lines, others = one @ F.T, two @ F
    errors = np.abs((two * lines).sum(axis=-1))
    slope = np.sqrt((lines[..., :2] ** 2).sum(axis=-1) + (others[..., :2] ** 2).sum(axis=-1))
    return errors / np.maximum(slope, np.finfo(np.float64).tiny)


def three_view_errors(
    cameras: Cameras, indices: tuple[int, int, int], pixels: Float[np.ndarray, "3 n 2"]
) -> Float[np.ndarray, " n"]:
    """Return the RMS distance in pixels of points, triangulated from three pictures, from their pixels in these.

    Linear triangulation; infinite where a point is behind a camera.
    """
    viewmats = np.asarray(cameras.viewmats, dtype=np.float64)[list(indices)]
    Ks = np.asarray(cameras.Ks, dtype=np.float64)[list(indices)]
    rows = []
    for viewmat, K, points in zip(viewmats, Ks, pixels, strict=True):
        x, y = directions_of(points, K)[:, :2].T
        rows += [x[:, None] * viewmat[2] - viewmat[0], y[:, None] * viewmat[2] - viewmat[1]]
    system = np.stack(rows, axis=1)  # [n 6 4]
    offsets = np.linalg.pinv(system[..., :3]) @ -system[..., 3:]
    squares = np.zeros(pixels.shape[1])
    for viewmat, K, points in zip(viewmats, Ks, pixels, strict=True):
        local = offsets[..., 0] @ viewmat[:3, :3].T + viewmat[:3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            projected = (local @ K.T)[:, :2] / local[:, 2:]
        errors = ((projected - points) ** 2).sum(axis=1)
        squares += np.where((local[:, 2] > 0) & np.isfinite(errors), errors, np.inf)
    return np.sqrt(squares / len(viewmats))


def agreement(residuals: Float[np.ndarray, " m"], chance: Float[np.ndarray, " c"]) -> float:
    """Return the area under the recall of residuals (shares of the picture's side) up to AREA_LIMIT, above chance.

    `chance` are the residuals of any pairs of the same keypoints: as good as these is 0, all residuals 0 are 1. Below 0
    where they are worse; 0 without residuals, or where chance is right.
    """
    if len(residuals) == 0:
        return 0.0
    level = recall_area(chance, AREA_LIMIT) if len(chance) else 0.0
    if level >= 1.0:
        return 0.0
    return (recall_area(residuals, AREA_LIMIT) - level) / (1.0 - level)


def chance_of_as_many(hits: int, trials: int, share: float) -> float:
    """Return the probability that at least `hits` of `trials` random matches are right, each with chance `share`."""
    from scipy.special import betainc  # scipy.stats takes seconds to import

    return 1.0 if hits <= 0 else float(betainc(hits, trials - hits + 1, share))


def axis_angles(viewmats: Float[np.ndarray, "c 4 4"], others: Float[np.ndarray, "c 4 4"]) -> Float[np.ndarray, " c"]:
    """Return the angle in degrees between the axes of each camera and its other one."""
    return angles_between(np.asarray(viewmats)[:, :3, :3], np.asarray(others)[:, :3, :3])
