"""Refinement of one photo's camera from a start nearby, with the Gaussians frozen.

Levenberg-Marquardt from coarse to fine, then BFGS on MSE + 0.2 (1 - SSIM).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.images.gray import is_gray, to_gray
from gatlas.pose.compare import (
    IDENTITY_EXPOSURE,
    Camera,
    Comparison,
    Exposure,
    Target,
    blur,
    explained_variance,
    fit_exposure,
    make_target,
    render_comparison,
)
from gatlas.pose.descend import comparison_loss, descend
from gatlas.pose.levenberg import HUBER, MIN_DAMPING, PyramidLevel, damped_step, levenberg_marquardt, linearize
from gatlas.pose.motion import Pivot, find_pivot, rotation_angle

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.metrics.lpips import Lpips
    from gatlas.types import Gaussians

# The first level brings starts ten degrees off into reach; the last one determines the precision.
LEVELS = (PyramidLevel(64, 12, blur=2.0), PyramidLevel(128, 6), PyramidLevel(256, 4))
SAME_CAMERA_ANGLE = 1.0  # degrees: a result no better than the given camera and this near leaves that as it is


@dataclass(frozen=True)
class RefineOptions:
    """Settings of the refinement of a camera."""

    levels: tuple[PyramidLevel, ...] = LEVELS  # of Levenberg-Marquardt
    steps: int = 12  # of the BFGS descent that follows; 0 leaves it out
    side: int = 256  # pixels of the longer side for the descent and for the losses
    exposure: bool = True  # fit a gain and an offset per color channel
    focal: bool = False  # refine the focal length too
    background: tuple[float, float, float] | None = None  # color behind the object; None: that of the photo's border
    agreement: float = 0.75  # least share of the photo's variance that must be explained
    reach: float = 45.0  # degrees: largest rotation about the object


NOT_FINITE = "the photo or the initial camera has values that are NaN or infinite"

# For a start that matches found: it is within a degree, and small pictures would only move away from it.
MATCHED_START = RefineOptions(levels=(), steps=8)


class Evaluation(NamedTuple):
    """The loss of a camera."""

    loss: float  # MSE + 0.2 (1 - SSIM); NaN where nothing can be compared
    exposure: Exposure  # fitted at the camera
    comparison: Comparison


@dataclass(frozen=True, eq=False)
class RefinedPose:
    """A refined camera and its agreement with the photo, all NaN where `failure` is the reason why there is none."""

    viewmat: Float[np.ndarray, "4 4"]  # world -> camera
    K: Float[np.ndarray, "3 3"]  # pixels of the photo
    loss_before: float  # of the given camera: MSE + 0.2 (1 - SSIM) over the weighted pixels, with fitted exposure
    loss_after: float
    agreement: float  # share of the photo's variance inside the object that the Gaussians explain, at most 1
    exposure: Exposure  # the photo's colors = gain x the Gaussians' + offset
    steps: int  # of both optimizers
    failure: str = ""
    zoom: float = float("nan")  # factor of one step of the focal length, see `zoom_step`; NaN: it was refined


def refine(
    gaussians: Gaussians,
    photo: Float[np.ndarray, "h w d"],
    viewmat: Float[np.ndarray, "4 4"],
    K: Float[np.ndarray, "3 3"],
    *,
    mask: Float[np.ndarray, "h w"] | None = None,
    options: RefineOptions | None = None,
    lpips: Lpips | None = None,
    given: Evaluation | None = None,
) -> RefinedPose:
    """Return the camera near `viewmat` from which the Gaussians look like the photo (numpy).

    The photo is RGB or straight RGBA in [0, 1]; its alpha times `mask` is the mask of the object. Without one, the
    background is `options.background` or the uniform color of the photo's border; where that is not uniform, only
    the inside of the Gaussians' picture is compared. `given` is another camera than the start, which the result must
    surpass and falls back to.
    """
    options = options or RefineOptions()
    if viewmat.shape != (4, 4) or K.shape != (3, 3):
        raise ValueError(f"viewmat and K must have shapes [4 4] and [3 3], got {viewmat.shape} and {K.shape}")
    start = Camera(viewmat.astype(np.float64), K.astype(np.float64))
    targets = make_targets(photo, mask, options)
    full = targets[-1]
    if not (np.isfinite(start.viewmat).all() and np.isfinite(start.K).all() and np.isfinite(full.picture).all()):
        return failed_refinement(NOT_FINITE)
    if is_gray(full.picture):
        gaussians = to_gray(gaussians)
    return refine_targets(gaussians, targets, start, options, lpips, given)


def make_targets(
    photo: Float[np.ndarray, "h w d"],
    mask: Float[np.ndarray, "h w"] | None,
    options: RefineOptions,
    *sides: int,
) -> tuple[Target, ...]:
    """Return the photo at further `sides`, at those of the levels and, last, at that of the losses."""
    made: dict[int, Target] = {}
    wanted = [
        min(side, max(photo.shape[:2])) for side in (*sides, *(level.side for level in options.levels), options.side)
    ]
    for side in wanted:
        if side not in made:
            made[side] = make_target(photo, mask, options.background, side, options.side)
    return tuple(made[side] for side in wanted)


def refine_targets(
    gaussians: Gaussians,
    targets: Sequence[Target],
    start: Camera,
    options: RefineOptions,
    lpips: Lpips | None = None,
    given: Evaluation | None = None,
    cached: Sequence[Comparison] = (),
) -> RefinedPose:
    """Return `refine` of a photo from `make_targets`, all finite; `cached` is as in `render_comparison`."""
    full = targets[-1]
    pivot = target_pivot(gaussians, full, start)
    if pivot is None:
        return failed_refinement("none of the Gaussians is in the picture from the initial camera")
    if given is None or np.isnan(given.loss):
        here = evaluate_camera(gaussians, full, start, options, cached)
        if here.comparison.weights is None:
            return failed_refinement("the Gaussians cover too little of the picture from the initial camera")
        given, cached = given or here, (*cached, here.comparison)
    cached = (*cached, given.comparison)
    cached = (*cached, render_comparison(gaussians, start, targets[0], cached))  # both attempts begin with it
    found = descend_pyramid(gaussians, targets, start, pivot, options, 0, cached)
    refined = found if isinstance(found, RefinedPose) else finish(gaussians, given, start, *found, options, lpips)
    if not refined.failure or not options.exposure or len(options.levels) < 2:
        return refined
    # From a start far off, an exposure fitted to the wrong pixels removes the contrast that the descent needs.
    found = descend_pyramid(gaussians, targets, start, pivot, options, 1, cached)
    if isinstance(found, RefinedPose):
        return refined
    again = finish(gaussians, given, start, *found, options, lpips)
    return refined if again.failure else again


def descend_pyramid(
    gaussians: Gaussians,
    targets: Sequence[Target],
    camera: Camera,
    pivot: Pivot,
    options: RefineOptions,
    uncorrected: int,
    cached: Sequence[Comparison],
) -> tuple[Comparison, int] | RefinedPose:
    """Return the camera after Levenberg-Marquardt on all levels, compared at the size of the losses, and the steps.

    The first `uncorrected` levels are without exposure. A failure where the Gaussians left the picture.
    """
    taken = 0
    exposure = IDENTITY_EXPOSURE
    for i, (level, target) in enumerate(zip(options.levels, targets[:-1], strict=True)):
        fitted = exposure if options.exposure and i >= uncorrected else None
        found = levenberg_marquardt(
            gaussians, target, camera, pivot, level, focal=options.focal, exposure=fitted, cached=cached
        )
        if found is None:
            return failed_refinement("the Gaussians left the picture during the refinement")
        camera, exposure, cached = found.comparison.camera, found.exposure, (*cached, found.comparison)
        taken += found.steps
    return render_comparison(gaussians, camera, targets[-1], cached), taken


def finish(
    gaussians: Gaussians,
    given: Evaluation,
    start: Camera,
    comparison: Comparison,
    taken: int,
    options: RefineOptions,
    lpips: Lpips | None,
) -> RefinedPose:
    """Return the camera after BFGS from the one that Levenberg-Marquardt found from `start`, or a failure."""
    pivot = target_pivot(gaussians, comparison.target, comparison.camera)
    if pivot is not None and options.steps:
        exposure = given.exposure if comparison is given.comparison else best_exposure(comparison, options)
        descent = descend(gaussians, comparison, pivot, options.steps, exposure=exposure, lpips=lpips)
        if descent is None:
            return failed_refinement("the loss or its gradient became NaN, or the Gaussians left the picture")
        comparison, taken = (
            render_comparison(gaussians, descent.camera, comparison.target, [comparison]),
            taken + descent.steps,
        )
    last = given if comparison is given.comparison else evaluate(comparison, options)
    if pivot is None or not np.isfinite(last.loss):
        return failed_refinement("the Gaussians left the picture")
    turn = rotation_angle(start.viewmat, comparison.camera.viewmat)
    if turn > options.reach:
        return failed_refinement(out_of_reach(turn, options.reach))
    if last.loss > given.loss:
        if rotation_angle(given.comparison.camera.viewmat, comparison.camera.viewmat) > SAME_CAMERA_ANGLE:
            return failed_refinement(f"it diverged: the loss rose from {given.loss:.4g} to {last.loss:.4g}")
        last = given
    return verified(gaussians, last, given.loss, taken, options)


def verified(gaussians: Gaussians, last: Evaluation, before: float, taken: int, options: RefineOptions) -> RefinedPose:
    """Return the last camera where it explains enough of the photo; `before` is the loss of the given one."""
    loss, exposure, comparison = last
    agreement = agreement_at(gaussians, comparison.target, comparison.camera, exposure, [comparison])
    pivot = target_pivot(gaussians, comparison.target, comparison.camera)
    if pivot is None or not agreement >= options.agreement:
        return failed_refinement(too_little_agreement(agreement, options.agreement))
    zoom = float("nan") if options.focal else zoom_step(gaussians, comparison, pivot, exposure)
    return RefinedPose(
        comparison.camera.viewmat, comparison.camera.K, before, loss, agreement, exposure, taken, zoom=zoom
    )


def target_pivot(gaussians: Gaussians, target: Target, camera: Camera) -> Pivot | None:
    """Return `find_pivot` at a camera of a target's photo."""
    height, width = target.picture.shape[:2]
    return find_pivot(gaussians, camera.viewmat, target.stretch * camera.K, width, height)


def zoom_step(gaussians: Gaussians, comparison: Comparison, pivot: Pivot, exposure: Exposure) -> float:
    """Return the focal length's factor in one Gauss-Newton step of pose and focal length: near 1 where it is right.

    Measured on renders of three meshes in quick fits of them: 0.96 to 1.01 where it is right, 0.89 to 0.91 where K's is
    1.08 times too long, 0.75 to 0.79 at 1.25 times, 0.54 to 0.63 at 1.6; 1.03 to 1.07 at 0.93, 1.18 to 1.20 at 0.8.
    NaN where nothing can be compared.
    """
    picture = comparison.target.picture
    level = PyramidLevel(max(picture.shape[:2]), 1)
    normal = linearize(gaussians, comparison, blur(picture, level.blur), pivot, level, True, exposure, False)
    if normal is None or not np.isfinite(normal.g).all():
        return float("nan")
    return float(np.exp(np.clip(damped_step(normal, MIN_DAMPING)[6], -1, 1)))


def agreement_at(
    gaussians: Gaussians, target: Target, camera: Camera, exposure: Exposure, cached: Sequence[Comparison] = ()
) -> float:
    """Return `explained_variance` at a camera; NaN where nothing can be compared."""
    comparison = render_comparison(gaussians, camera, target, cached)
    return (
        float("nan")
        if comparison.weights is None
        else explained_variance(target, comparison.render, comparison.weights, exposure)
    )


def evaluate_camera(
    gaussians: Gaussians, target: Target, camera: Camera, options: RefineOptions, cached: Sequence[Comparison] = ()
) -> Evaluation:
    """Return the loss of a camera; `cached` is as in `render_comparison`."""
    return evaluate(render_comparison(gaussians, camera, target, cached), options)


def evaluate(comparison: Comparison, options: RefineOptions) -> Evaluation:
    """Return the loss of a comparison with a fitted exposure."""
    if comparison.weights is None:
        return Evaluation(float("nan"), IDENTITY_EXPOSURE, comparison)
    exposure = best_exposure(comparison, options)
    return Evaluation(comparison_loss(comparison, comparison.weights, exposure), exposure, comparison)


def best_exposure(comparison: Comparison, options: RefineOptions) -> Exposure:
    """Return the exposure of a comparison, the identity where none is to be fitted."""
    exposure = IDENTITY_EXPOSURE
    if options.exposure and comparison.weights is not None:
        for _ in range(2):  # the second fit has robust weights from the first
            exposure = fit_exposure(comparison.target, comparison.render, comparison.weights, HUBER, exposure)
    return exposure


def out_of_reach(turn: float, reach: float) -> str:
    """Return the failure of a camera that rotated by `turn` degrees."""
    return f"the camera rotated by {turn:.0f} degrees, more than {reach:g}"


def too_little_agreement(agreement: float, required: float) -> str:
    """Return the failure of a camera that explains less of the photo than required."""
    if np.isnan(agreement):
        return "too little of the object is in the picture there to compare"
    return f"the Gaussians explain {agreement:.0%} of the photo there, less than {required:.0%}"


def failed_refinement(reason: str) -> RefinedPose:
    """Return a refinement without a camera."""
    nan = float("nan")
    return RefinedPose(np.full((4, 4), nan), np.full((3, 3), nan), nan, nan, nan, IDENTITY_EXPOSURE, 0, reason)
