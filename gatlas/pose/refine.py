"""The camera of a photo, refined from a start nearby with the Gaussians as they are.

Levenberg-Marquardt from coarse to fine finds the place, BFGS on MSE + 0.2 (1 - SSIM) settles it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gatlas.pose.compare import (
    AS_IT_IS,
    Camera,
    Exposure,
    Target,
    blurred,
    explained,
    fit_exposure,
    make_target,
    pixel_weights,
    see,
)
from gatlas.pose.descend import camera_loss, descend
from gatlas.pose.grey import in_grey, is_grey
from gatlas.pose.levenberg import DAMPING, HUBER, Level, levenberg, linearize, solve
from gatlas.pose.motion import Pivot, find_pivot, turn_between

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.metrics.lpips import Lpips
    from gatlas.types import Gaussians

# The first size carries starts ten degrees off; the last one carries the precision.
LEVELS = (Level(64, 12, blur=2.0), Level(128, 6), Level(256, 4))
SLIGHT = 1.0  # degrees: a turn below which a result that is no better than the start means: it was there already


@dataclass(frozen=True)
class RefineOptions:
    """How a camera is refined."""

    levels: tuple[Level, ...] = LEVELS  # of Levenberg-Marquardt
    steps: int = 12  # of the descent that follows; 0 leaves it out
    side: int = 256  # pixels of the longer side for the descent and for the losses
    exposure: bool = True  # fit a gain and an offset for each colour channel
    focal: bool = False  # find the focal length as well
    background: tuple[float, float, float] | None = None  # behind the object; None: what the photo's border shows
    agreement: float = 0.75  # less than this share of the photo's variance explained is a failure
    reach: float = 45.0  # degrees: a camera that turned farther about the object has lost it


# For a start that features found: it is within a degree, and small pictures would only lead away from it.
NEAR = RefineOptions(levels=(), steps=8)


@dataclass(frozen=True, eq=False)
class Refined:
    """A camera and how well it explains the photo; where `failure` says why there is none, they are NaN."""

    viewmat: Float[np.ndarray, "4 4"]  # world -> camera
    K: Float[np.ndarray, "3 3"]  # pixels of the photo
    loss_before: float  # MSE + 0.2 (1 - SSIM) over the pixels that count, the exposure fitted
    loss_after: float
    agreement: float  # share of the photo's variance inside the object that the Gaussians explain, at most 1
    exposure: Exposure  # the photo's colours = gain x the Gaussians' + offset
    steps: int  # of both optimisers
    failure: str = ""
    zoom: float = float("nan")  # what a step of the focal length would multiply it by, see `zoom_step`; NaN: not asked


def refine(
    gaussians: Gaussians,
    photo: Float[np.ndarray, "h w d"],
    viewmat: Float[np.ndarray, "4 4"],
    K: Float[np.ndarray, "3 3"],
    *,
    mask: Float[np.ndarray, "h w"] | None = None,
    options: RefineOptions | None = None,
    lpips: Lpips | None = None,
) -> Refined:
    """The camera near `viewmat` from which the Gaussians look like the photo (numpy).

    The photo is RGB or straight RGBA in [0, 1]; its alpha and `mask` say where the object is. Without them the
    object stands before `options.background` or the one colour of the photo's border, and where there is none only
    the inside of what the Gaussians cover is compared.
    """
    options = options or RefineOptions()
    if viewmat.shape != (4, 4) or K.shape != (3, 3):
        raise ValueError(f"viewmat and K must have shapes [4 4] and [3 3], got {viewmat.shape} and {K.shape}")
    start = Camera(viewmat.astype(np.float64), K.astype(np.float64))
    full = make_target(photo, mask, options.background, options.side)
    if not (np.isfinite(start.viewmat).all() and np.isfinite(start.K).all() and np.isfinite(full.picture).all()):
        return failed("the photo or the camera to start from has values that are NaN or infinite")
    if is_grey(full.picture):
        gaussians = in_grey(gaussians)
    height, width = photo.shape[:2]
    pivot = find_pivot(gaussians, start.viewmat, start.K, width, height)
    if pivot is None:
        return failed("from the camera to start from, none of the Gaussians is in the picture")
    before = judge(gaussians, full, start, options)
    if before is None:
        return failed("from the camera to start from, the Gaussians cover too little of the picture")
    found = attempt(gaussians, photo, mask, start, pivot, options, 0)
    refined = found if isinstance(found, Refined) else settle(gaussians, full, start, *found, before, options, lpips)
    if not refined.failure or not options.exposure or len(options.levels) < 2:
        return refined
    # Where the start is far off, colours fitted to what is elsewhere take away the contrast that leads back.
    found = attempt(gaussians, photo, mask, start, pivot, options, 1)
    if isinstance(found, Refined):
        return refined
    again = settle(gaussians, full, start, *found, before, options, lpips)
    return refined if again.failure else again


def attempt(
    gaussians: Gaussians,
    photo: Float[np.ndarray, "h w d"],
    mask: Float[np.ndarray, "h w"] | None,
    camera: Camera,
    pivot: Pivot,
    options: RefineOptions,
    uncorrected: int,
) -> tuple[Camera, int] | Refined:
    """Levenberg-Marquardt over all sizes, the first `uncorrected` without exposure: camera and steps, or a failure."""
    taken = 0
    exposure = AS_IT_IS
    for i, level in enumerate(options.levels):
        target = make_target(photo, mask, options.background, level.side)
        fitted = exposure if options.exposure and i >= uncorrected else None
        found = levenberg(gaussians, target, camera, pivot, level, focal=options.focal, exposure=fitted)
        if found is None:
            return failed("the Gaussians left the picture on the way")
        camera, exposure = found.camera, found.exposure
        taken += found.steps
    return camera, taken


def settle(
    gaussians: Gaussians,
    target: Target,
    start: Camera,
    camera: Camera,
    taken: int,
    before: tuple[float, Exposure],
    options: RefineOptions,
    lpips: Lpips | None,
) -> Refined:
    """BFGS from a camera that Levenberg-Marquardt found from `start`, and whether the result is one."""
    height, width = (round(float(size)) for size in np.array(target.picture.shape[:2]) / target.stretch[1::-1, 0])
    pivot = find_pivot(gaussians, camera.viewmat, camera.K, width, height)
    exposure = (judge(gaussians, target, camera, options) or (0.0, AS_IT_IS))[1]
    if pivot is not None and options.steps:
        rough = descend(gaussians, target, camera, pivot, options.steps, exposure=exposure, lpips=lpips)
        if rough is None:
            return failed("the loss or its gradient became NaN, or the Gaussians left the picture")
        camera, taken = rough.camera, taken + rough.steps
    after = judge(gaussians, target, camera, options)
    if pivot is None or after is None or not np.isfinite(after[0]):
        return failed("the Gaussians left the picture")
    turn = turn_between(start.viewmat, camera.viewmat)
    if turn > options.reach:
        return failed(out_of_reach(turn, options.reach))
    if after[0] > before[0]:
        if turn > SLIGHT:
            return failed(f"it diverged: the loss rose from {before[0]:.4g} to {after[0]:.4g}")
        camera, after = start, before
    agreement = agreement_of(gaussians, target, camera, after[1])
    if not agreement >= options.agreement:
        return failed(unexplained(agreement, options.agreement))
    zoom = float("nan") if options.focal else zoom_step(gaussians, target, camera, pivot, after[1])
    return Refined(camera.viewmat, camera.K, before[0], after[0], agreement, after[1], taken, zoom=zoom)


def zoom_step(gaussians: Gaussians, target: Target, camera: Camera, pivot: Pivot, exposure: Exposure) -> float:
    """The focal length's factor in one Gauss-Newton step of it and the pose together: near 1 where it is right.

    Measured on renders of three meshes in quick fits of them: 0.96 to 1.01 where it is right, 0.89 to 0.91 where K's is
    1.08 times too long, 0.75 to 0.79 at 1.25 times, 0.54 to 0.63 at 1.6; 1.03 to 1.07 at 0.93, 1.18 to 1.20 at 0.8.
    NaN where nothing can be compared.
    """
    level = Level(max(target.picture.shape[:2]), 1)
    smooth = blurred(target.picture, level.blur)
    normal = linearize(gaussians, target, smooth, camera, pivot, level, True, exposure, False)
    if normal is None or not np.isfinite(normal.g).all():
        return float("nan")
    return float(np.exp(np.clip(solve(normal, DAMPING[1])[6], -1, 1)))


def agreement_of(gaussians: Gaussians, target: Target, camera: Camera, exposure: Exposure) -> float:
    """`explained` at a camera; NaN where nothing can be compared."""
    seen = see(gaussians, camera, target)
    weights = pixel_weights(target, seen)
    return float("nan") if weights is None else explained(target, seen, weights, exposure)


def judge(
    gaussians: Gaussians, target: Target, camera: Camera, options: RefineOptions
) -> tuple[float, Exposure] | None:
    """The loss at a camera, and the exposure that was fitted there; None where nothing can be compared."""
    exposure = AS_IT_IS
    if options.exposure:
        seen = see(gaussians, camera, target)
        weights = pixel_weights(target, seen)
        if weights is None:
            return None
        for _ in range(2):  # the second time knows what is far off
            exposure = fit_exposure(target, seen, weights, HUBER, exposure)
    loss = camera_loss(gaussians, target, camera, exposure)
    return None if loss is None else (loss, exposure)


def out_of_reach(turn: float, reach: float) -> str:
    """Why a camera that turned by so many degrees is none."""
    return f"it turned by {turn:.0f} degrees, farther than {reach:g}"


def unexplained(agreement: float, least: float) -> str:
    """Why a camera whose picture does not bear it out is none."""
    if np.isnan(agreement):
        return "too little of the object is in the picture there to compare"
    return f"the Gaussians explain {agreement:.0%} of the photo there, less than {least:.0%}"


def failed(reason: str) -> Refined:
    """No camera, and why."""
    nan = float("nan")
    return Refined(np.full((4, 4), nan), np.full((3, 3), nan), nan, nan, nan, AS_IT_IS, 0, reason)
