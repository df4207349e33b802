"""The joint problem of many photos: one similarity of the scene's frame, or one focal length, moves all cameras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.pose.compare import IDENTITY_EXPOSURE, Camera, Comparison, Exposure, Target, blur, render_comparison
from gatlas.pose.levenberg import (
    DAMPING_TRIES,
    FIRST_DAMPING,
    MAX_DAMPING,
    MIN_DAMPING,
    NormalEquations,
    PyramidLevel,
    damped_step,
    evaluate_step,
    linearize,
)
from gatlas.pose.motion import Pivot
from gatlas.pose.refinement import RefineOptions, target_pivot

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Gaussians

    Cache = Sequence[tuple[Comparison, ...]]  # per photo, pictures that need not be rendered again

SHARED_LEVEL = PyramidLevel(64, 10, blur=2.0)


class JointCameras(NamedTuple):
    """The cameras of all photos after a joint descent."""

    cameras: list[Camera]
    cached: Cache  # the given comparisons, with the first and the last of the descent


def align_frames(
    scenes: list[Gaussians], targets: list[Target], cameras: list[Camera], options: RefineOptions, cached: Cache
) -> JointCameras:
    """Return the cameras moved by one rotation, translation and scaling of the Gaussians about their middle.

    With `options.focal`, one factor on the focal length is found too.
    """
    pivots = _pivots(scenes, targets, cameras)
    present = [pivot for pivot in pivots if pivot is not None]
    if not present:
        return JointCameras(cameras, cached)
    point = np.mean([pivot.point for pivot in present], axis=0)
    unit = np.median([pivot.depth for pivot in present])
    common: list[Pivot | None] = []
    contributing = []
    bases = []
    for camera, pivot in zip(cameras, pivots, strict=True):
        rotation = camera.viewmat[:3, :3]
        center = rotation @ point + camera.viewmat[:3, 3]
        contributing.append(pivot is not None and bool(center[2] > 0))
        # Its units are divided out below: any depth will do for a camera that has the point behind it.
        own = Pivot(point, float(center[2] if center[2] > 0 else unit)) if np.isfinite(camera.viewmat).all() else None
        basis = np.zeros((7 + options.focal, 7 + options.focal))
        basis[:3, :3], basis[3:6, 3:6] = rotation * unit, rotation
        basis[:3, 6] = -center  # Gaussians twice as large look as from half the distance
        if options.focal:
            basis[7, 7] = 1.0
        basis = basis[[0, 1, 2, 3, 4, 5, *([7] if options.focal else [])]]
        if own is not None:
            basis[:6] /= own.units[:, None]
        common.append(own)
        bases.append(basis)
    problem = _JointProblem(scenes, targets, common, contributing, bases, SHARED_LEVEL, options)
    return _joint_descent(problem, cameras, cached)


def refine_shared_focal(
    scenes: list[Gaussians],
    targets: list[Target],
    cameras: list[Camera],
    level: PyramidLevel,
    options: RefineOptions,
    cached: Cache,
) -> JointCameras:
    """Return the cameras, each moved by its own six variables, with one factor on the focal length of all."""
    size = 6 * len(cameras) + 1
    bases = []
    for i in range(len(cameras)):
        basis = np.zeros((7, size))
        basis[:6, 6 * i : 6 * i + 6] = np.eye(6)
        basis[6, -1] = 1.0
        bases.append(basis)
    pivots = _pivots(scenes, targets, cameras)
    contributing = [pivot is not None for pivot in pivots]
    problem = _JointProblem(scenes, targets, pivots, contributing, bases, level, options)
    return _joint_descent(problem, cameras, cached)


def is_usable(camera: Camera, target: Target) -> bool:
    """Return True where the camera and the picture are finite."""
    return all(bool(np.isfinite(each).all()) for each in (camera.viewmat, camera.K, target.picture))


class _JointProblem(NamedTuple):
    """Photos whose cameras move by their basis times one common vector.

    Photos that do not contribute have no terms in the cost and move along, unless they have no pivot.
    """

    scenes: list[Gaussians]
    targets: list[Target]
    pivots: list[Pivot | None]
    contributing: list[bool]
    bases: list[Float[np.ndarray, "k shared"]]
    level: PyramidLevel
    options: RefineOptions

    @property
    def active(self) -> dict[int, Pivot]:
        """The pivots of the photos that contribute, by number."""
        return {i: pivot for i, pivot in enumerate(self.pivots) if pivot is not None and self.contributing[i]}


def _joint_descent(problem: _JointProblem, cameras: list[Camera], cached: Cache) -> JointCameras:
    """Return the cameras after Levenberg-Marquardt on the sum of the costs of all photos."""
    scenes, targets, pivots, _, bases, level, _ = problem
    smooth = [blur(target.picture, level.blur) for target in targets]
    exposures = [IDENTITY_EXPOSURE] * len(cameras)
    damping = FIRST_DAMPING
    latest = {i: render_comparison(scenes[i], cameras[i], targets[i], cached[i]) for i in problem.active}
    first = dict(latest)
    for _ in range(level.iterations):
        # The normal equations of all photos
        for i in latest:
            latest[i] = render_comparison(scenes[i], cameras[i], targets[i], [latest[i]])
        equations = _linearize_all(problem, latest, smooth, exposures)
        if not equations:
            break
        exposures = [equations[i].exposure if i in equations else each for i, each in enumerate(exposures)]
        joint, total = _sum_equations(equations, bases)
        # A step that lowers their sum
        for _ in range(DAMPING_TRIES):
            step = damped_step(joint, damping)
            tried = [
                camera if pivot is None else camera.moved(pivot, basis @ step)
                for camera, pivot, basis in zip(cameras, pivots, bases, strict=True)
            ]
            costs = {
                i: evaluate_step(scenes[i], targets[i], smooth[i], tried[i], level, equations[i]) for i in equations
            }
            cost = sum(each[0] for each in costs.values())
            if cost < total:
                break
            damping = min(damping * 10, MAX_DAMPING)
        else:
            break
        cameras, damping = tried, max(damping / 10, MIN_DAMPING)
        latest.update({i: comparison for i, (_, comparison) in costs.items() if comparison is not None})
        if cost > total * (1 - 1e-4):
            break
    extended = [(*each, first[i], latest[i]) if i in latest else each for i, each in enumerate(cached)]
    return JointCameras(cameras, extended)


def _linearize_all(
    problem: _JointProblem,
    latest: dict[int, Comparison],
    smooth: list[Float[np.ndarray, "_ _ 3"]],
    exposures: list[Exposure],
) -> dict[int, NormalEquations]:
    """Return the normal equations of each contributing photo that can be compared and whose gradient is finite."""
    level, options = problem.level, problem.options
    equations = {}
    for i, pivot in problem.active.items():
        normal = linearize(
            problem.scenes[i], latest[i], smooth[i], pivot, level, options.focal, exposures[i], options.exposure
        )
        if normal is not None and np.isfinite(normal.g).all():
            equations[i] = normal
    return equations


def _sum_equations(
    equations: dict[int, NormalEquations], bases: list[Float[np.ndarray, "k shared"]]
) -> tuple[NormalEquations, float]:
    """Return the normal equations of the common vector, and the sum of the costs."""
    size = bases[0].shape[1]
    H, g = np.zeros((size, size)), np.zeros(size)
    for i, normal in equations.items():
        pixels = 3 * max(float(normal.weights.sum()), 1.0)  # a photo counts the same whatever its object's size
        H += bases[i].T @ normal.H @ bases[i] / pixels
        g += bases[i].T @ normal.g / pixels
    total = sum(normal.cost for normal in equations.values())
    return NormalEquations(H, g, total, *next(iter(equations.values()))[3:]), total


def _pivots(scenes: list[Gaussians], targets: list[Target], cameras: list[Camera]) -> list[Pivot | None]:
    return [
        target_pivot(scene, target, camera) if is_usable(camera, target) else None
        for scene, target, camera in zip(scenes, targets, cameras, strict=True)
    ]
