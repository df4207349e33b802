"""Cameras from correspondences with outliers: by poselib, or by OpenCV where poselib has no wheel.

Both draw minimal samples, refine the best ones under a truncated loss and end on the same inliers; they differ in the
last digits. poselib has no wheels for Linux on aarch64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

    _Motion = tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]  # rotation and translation

SUCCESS = 0.9999  # probability that a sample without outliers is drawn
REFINEMENTS = 10  # at most; the inliers are the same after 2 or 3
MIN_POINTS = 4  # of a pose that is refined


def has_poselib() -> bool:
    """Return True where poselib is installed, which is then used."""
    try:
        import poselib  # noqa: F401
    except ImportError:
        return False
    return True


def absolute_pose(
    points: Float[np.ndarray, "m 3"],
    pixels: Float[np.ndarray, "m 2"],
    focal: tuple[float, float],
    *,
    threshold: float,
    iterations: int,
) -> Float[np.ndarray, "4 4"] | None:
    """Return the viewmat that projects the most `points` to within `threshold` pixels of their `pixels`, or None.

    `pixels` are relative to the principal point, of a camera without skew whose focal lengths are `focal` (x, y).
    Everything is float64 and finite. The same input gives the same bits. Where there is nothing to find a pose is
    returned, too: count its inliers.
    """
    # A scene far from its origin, or a tiny one, would lose digits.
    center = points.mean(axis=0)
    scale = float(np.abs(points - center).max())
    if not 0 < scale < np.inf:
        return None
    solve = _absolute_by_poselib if has_poselib() else _absolute_by_opencv
    found = solve((points - center) / scale, np.ascontiguousarray(pixels), focal, threshold, iterations)
    if found is None:
        return None
    rotation, shift = found
    viewmat = _matrix(rotation, shift * scale - rotation @ center)
    return viewmat if np.isfinite(viewmat).all() else None


def relative_pose(
    first: Float[np.ndarray, "m 2"],
    second: Float[np.ndarray, "m 2"],
    Ks: Float[np.ndarray, "2 3 3"],
    *,
    threshold: float,
    iterations: int,
) -> Float[np.ndarray, "4 4"] | None:
    """Return the motion from the first camera to the second that explains the most matches, or None.

    `first` and `second` are the pixels of the matches, which agree where they are within `threshold` pixels of each
    other's epipolar lines. The cameras have no skew. The length of the translation, which pixels do not tell, is
    about 1.
    """
    solve = _relative_by_poselib if has_poselib() else _relative_by_opencv
    motion = solve(np.ascontiguousarray(first), np.ascontiguousarray(second), Ks, threshold, iterations)
    return motion if motion is not None and np.isfinite(motion).all() and np.any(motion[:3, 3]) else None


def _absolute_by_poselib(
    points: Float[np.ndarray, "m 3"],
    pixels: Float[np.ndarray, "m 2"],
    focal: tuple[float, float],
    threshold: float,
    iterations: int,
) -> _Motion:
    import poselib

    pose, _ = poselib.estimate_absolute_pose(
        pixels,
        points,
        {"model": "PINHOLE", "width": 1, "height": 1, "params": [*focal, 0.0, 0.0]},
        {"max_iterations": iterations, "success_prob": SUCCESS, "max_reproj_error": threshold},
        {"loss_type": "TRUNCATED", "loss_scale": threshold},
    )
    return pose.R, np.asarray(pose.t)


def _absolute_by_opencv(
    points: Float[np.ndarray, "m 3"],
    pixels: Float[np.ndarray, "m 2"],
    focal: tuple[float, float],
    threshold: float,
    iterations: int,
) -> _Motion | None:
    """Return the camera by OpenCV: RANSAC with local optimization, then least squares over the inliers in turn."""
    import cv2

    K = np.diag([*focal, 1.0])
    try:
        found, _, turn, shift, _ = cv2.solvePnPRansac(
            points, pixels, K.copy(), None, params=_opencv_params(threshold, iterations)
        )
    except cv2.error:  # of points that say nothing: all in one place
        return None
    if not found:
        return None
    inliers = None
    for _ in range(REFINEMENTS):
        rotation = cv2.Rodrigues(turn)[0]
        with np.errstate(all="ignore"):
            local = points @ rotation.T + shift[:, 0]
            errors = np.linalg.norm(local[:, :2] / local[:, 2:] * focal - pixels, axis=1)
        agreeing = np.flatnonzero((errors < threshold) & (local[:, 2] > 0))
        if len(agreeing) < MIN_POINTS or (inliers is not None and np.array_equal(agreeing, inliers)):
            break
        inliers = agreeing
        turn, shift = cv2.solvePnPRefineLM(points[inliers], pixels[inliers], K, None, turn, shift)
    return rotation, shift[:, 0]


def _relative_by_poselib(
    first: Float[np.ndarray, "m 2"],
    second: Float[np.ndarray, "m 2"],
    Ks: Float[np.ndarray, "2 3 3"],
    threshold: float,
    iterations: int,
) -> Float[np.ndarray, "4 4"]:
    import poselib

    cameras = [
        {"model": "PINHOLE", "width": 1, "height": 1, "params": [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]}
        for K in np.asarray(Ks, dtype=np.float64)
    ]
    ransac = {"max_epipolar_error": threshold, "max_iterations": iterations}
    pose, _ = poselib.estimate_relative_pose(first, second, *cameras, ransac, {})
    return _matrix(pose.R, pose.t)


def _relative_by_opencv(
    first: Float[np.ndarray, "m 2"],
    second: Float[np.ndarray, "m 2"],
    Ks: Float[np.ndarray, "2 3 3"],
    threshold: float,
    iterations: int,
) -> Float[np.ndarray, "4 4"] | None:
    """Return the motion by OpenCV: the essential matrix in RANSAC, then the one motion that sees the points."""
    import cv2

    solvers: Any = cv2  # whose type hints do not know of the overloads that are called here
    Ks = np.asarray(Ks, dtype=np.float64)
    try:
        essential, agreeing = solvers.findEssentialMat(
            first, second, *Ks, None, None, params=_opencv_params(threshold, iterations)
        )
    except cv2.error:
        return None
    if essential is None or essential.shape != (3, 3):
        return None
    rays = [(pixels - K[:2, 2]) / (K[0, 0], K[1, 1]) for pixels, K in zip((first, second), Ks, strict=True)]
    _, rotation, shift, _ = solvers.recoverPose(essential, *rays, np.eye(3), mask=agreeing.copy())
    return _matrix(rotation, shift[:, 0])


def _opencv_params(threshold: float, iterations: int) -> Any:
    import cv2

    params = cv2.UsacParams()
    params.threshold = threshold
    params.maxIterations = iterations
    params.confidence = SUCCESS
    params.randomGeneratorState = 0  # the same input gives the same bits
    params.isParallel = False
    params.sampler = cv2.SAMPLING_UNIFORM
    params.score = cv2.SCORE_METHOD_MSAC
    params.loMethod = cv2.LOCAL_OPTIM_INNER_LO
    params.loIterations = 10
    params.loSampleSize = 50
    return params


def _matrix(rotation: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "4 4"]:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, shift
    return matrix
