"""The camera of a photo, refined from a start nearby with the Gaussians as they are.

Levenberg-Marquardt from coarse to fine finds the place, BFGS on MSE + 0.2 (1 - SSIM) settles it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.images.gray import is_gray, to_gray
from gatlas.pose.compare import (
    AS_IT_IS,
    Camera,
    Exposure,
    Shot,
    Target,
    blurred,
    explained,
    fit_exposure,
    make_target,
    shoot,
)
from gatlas.pose.descend import descend, fixed_loss
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


UNUSABLE = "the photo or the camera to start from has values that are NaN or infinite"

# For a start that features found: it is within a degree, and small pictures would only lead away from it.
NEAR = RefineOptions(levels=(), steps=8)


class Judged(NamedTuple):
    """How a camera does."""

    loss: float  # MSE + 0.2 (1 - SSIM); NaN where nothing can be compared there
    exposure: Exposure  # that was fitted there
    shot: Shot


@dataclass(frozen=True, eq=False)
class Refined:
    """A camera and how well it explains the photo; where `failure` says why there is none, they are NaN."""

    viewmat: Float[np.ndarray, "4 4"]  # world -> camera
    K: Float[np.ndarray, "3 3"]  # pixels of the photo
    loss_before: float  # of the given camera: MSE + 0.2 (1 - SSIM) over the pixels that count, the exposure fitted
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
    given: Judged | None = None,
) -> Refined:
    """The camera near `viewmat` from which the Gaussians look like the photo (numpy).

    The photo is RGB or straight RGBA in [0, 1]; its alpha and `mask` say where the object is. Without them the
    object stands before `options.background` or the one colour of the photo's border, and where there is none only
    the inside of what the Gaussians cover is compared. `given` is the camera that was given where `viewmat` is not it:
    what the result has to surpass, and what it falls back to.
    """
    options = options or RefineOptions()
    if viewmat.shape != (4, 4) or K.shape != (3, 3):
        raise ValueError(f"viewmat and K must have shapes [4 4] and [3 3], got {viewmat.shape} and {K.shape}")
    start = Camera(viewmat.astype(np.float64), K.astype(np.float64))
    targets = make_targets(photo, mask, options)
    full = targets[-1]
    if not (np.isfinite(start.viewmat).all() and np.isfinite(start.K).all() and np.isfinite(full.picture).all()):
        return failed(UNUSABLE)
    if is_gray(full.picture):
        gaussians = to_gray(gaussians)
    return refine_targets(gaussians, targets, start, options, lpips, given)


def make_targets(
    photo: Float[np.ndarray, "h w d"],
    mask: Float[np.ndarray, "h w"] | None,
    options: RefineOptions,
    *sides: int,
) -> tuple[Target, ...]:
    """The photo at further `sides`, at those of the levels and, last, at that of the losses: each size made once."""
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
    given: Judged | None = None,
    known: Sequence[Shot] = (),
) -> Refined:
    """`refine` with the photo as `make_targets` has it and finite numbers; `known` is as in `shoot`."""
    full = targets[-1]
    pivot = pivot_of(gaussians, full, start)
    if pivot is None:
        return failed("from the camera to start from, none of the Gaussians is in the picture")
    if given is None or np.isnan(given.loss):
        here = judge(gaussians, full, start, options, known)
        if here.shot.weights is None:
            return failed("from the camera to start from, the Gaussians cover too little of the picture")
        given, known = given or here, (*known, here.shot)
    known = (*known, given.shot)
    known = (*known, shoot(gaussians, start, targets[0], known))  # both attempts begin with it
    found = attempt(gaussians, targets, start, pivot, options, 0, known)
    refined = found if isinstance(found, Refined) else settle(gaussians, given, start, *found, options, lpips)
    if not refined.failure or not options.exposure or len(options.levels) < 2:
        return refined
    # Where the start is far off, colours fitted to what is elsewhere take away the contrast that leads back.
    found = attempt(gaussians, targets, start, pivot, options, 1, known)
    if isinstance(found, Refined):
        return refined
    again = settle(gaussians, given, start, *found, options, lpips)
    return refined if again.failure else again


def attempt(
    gaussians: Gaussians,
    targets: Sequence[Target],
    camera: Camera,
    pivot: Pivot,
    options: RefineOptions,
    uncorrected: int,
    known: Sequence[Shot],
) -> tuple[Shot, int] | Refined:
    """Levenberg-Marquardt over all sizes, the first `uncorrected` without exposure.

    What the camera shows at the size of the losses and the steps, or a failure.
    """
    taken = 0
    exposure = AS_IT_IS
    for i, (level, target) in enumerate(zip(options.levels, targets[:-1], strict=True)):
        fitted = exposure if options.exposure and i >= uncorrected else None
        found = levenberg(gaussians, target, camera, pivot, level, focal=options.focal, exposure=fitted, known=known)
        if found is None:
            return failed("the Gaussians left the picture on the way")
        camera, exposure, known = found.shot.camera, found.exposure, (*known, found.shot)
        taken += found.steps
    return shoot(gaussians, camera, targets[-1], known), taken


def settle(
    gaussians: Gaussians,
    given: Judged,
    start: Camera,
    shot: Shot,
    taken: int,
    options: RefineOptions,
    lpips: Lpips | None,
) -> Refined:
    """BFGS from a camera that Levenberg-Marquardt found from `start`, and whether the result is one."""
    pivot = pivot_of(gaussians, shot.target, shot.camera)
    if pivot is not None and options.steps:
        exposure = given.exposure if shot is given.shot else best_exposure(shot, options)
        rough = descend(gaussians, shot, pivot, options.steps, exposure=exposure, lpips=lpips)
        if rough is None:
            return failed("the loss or its gradient became NaN, or the Gaussians left the picture")
        shot, taken = shoot(gaussians, rough.camera, shot.target, [shot]), taken + rough.steps
    last = given if shot is given.shot else judged(shot, options)
    if pivot is None or not np.isfinite(last.loss):
        return failed("the Gaussians left the picture")
    turn = turn_between(start.viewmat, shot.camera.viewmat)
    if turn > options.reach:
        return failed(out_of_reach(turn, options.reach))
    if last.loss > given.loss:
        if turn_between(given.shot.camera.viewmat, shot.camera.viewmat) > SLIGHT:
            return failed(f"it diverged: the loss rose from {given.loss:.4g} to {last.loss:.4g}")
        last = given
    return borne_out(gaussians, last, given.loss, taken, options)


def borne_out(gaussians: Gaussians, last: Judged, before: float, taken: int, options: RefineOptions) -> Refined:
    """The last camera where its picture bears it out; `before` is the loss of the one that was given."""
    loss, exposure, shot = last
    agreement = agreement_of(gaussians, shot.target, shot.camera, exposure, [shot])
    pivot = pivot_of(gaussians, shot.target, shot.camera)
    if pivot is None or not agreement >= options.agreement:
        return failed(unexplained(agreement, options.agreement))
    zoom = float("nan") if options.focal else zoom_step(gaussians, shot, pivot, exposure)
    return Refined(shot.camera.viewmat, shot.camera.K, before, loss, agreement, exposure, taken, zoom=zoom)


def pivot_of(gaussians: Gaussians, target: Target, camera: Camera) -> Pivot | None:
    """`find_pivot` at a camera of a target's photo."""
    height, width = target.picture.shape[:2]
    return find_pivot(gaussians, camera.viewmat, target.stretch * camera.K, width, height)


def zoom_step(gaussians: Gaussians, shot: Shot, pivot: Pivot, exposure: Exposure) -> float:
    """The focal length's factor in one Gauss-Newton step of it and the pose together: near 1 where it is right.

    Measured on renders of three meshes in quick fits of them: 0.96 to 1.01 where it is right, 0.89 to 0.91 where K's is
    1.08 times too long, 0.75 to 0.79 at 1.25 times, 0.54 to 0.63 at 1.6; 1.03 to 1.07 at 0.93, 1.18 to 1.20 at 0.8.
    NaN where nothing can be compared.
    """
    picture = shot.target.picture
    level = Level(max(picture.shape[:2]), 1)
    normal = linearize(gaussians, shot, blurred(picture, level.blur), pivot, level, True, exposure, False)
    if normal is None or not np.isfinite(normal.g).all():
        return float("nan")
    return float(np.exp(np.clip(solve(normal, DAMPING[1])[6], -1, 1)))


def agreement_of(
    gaussians: Gaussians, target: Target, camera: Camera, exposure: Exposure, known: Sequence[Shot] = ()
) -> float:
    """`explained` at a camera; NaN where nothing can be compared. `known` is as in `shoot`."""
    shot = shoot(gaussians, camera, target, known)
    return float("nan") if shot.weights is None else explained(target, shot.seen, shot.weights, exposure)


def judge(
    gaussians: Gaussians, target: Target, camera: Camera, options: RefineOptions, known: Sequence[Shot] = ()
) -> Judged:
    """How a camera does; `known` is as in `shoot`."""
    return judged(shoot(gaussians, camera, target, known), options)


def judged(shot: Shot, options: RefineOptions) -> Judged:
    """The loss at a camera that has been seen from, and the exposure that was fitted there."""
    if shot.weights is None:
        return Judged(float("nan"), AS_IT_IS, shot)
    exposure = best_exposure(shot, options)
    return Judged(fixed_loss(shot, shot.weights, exposure), exposure, shot)


def best_exposure(shot: Shot, options: RefineOptions) -> Exposure:
    """The exposure that is fitted at a camera, if one is to be."""
    exposure = AS_IT_IS
    if options.exposure and shot.weights is not None:
        for _ in range(2):  # the second time knows what is far off
            exposure = fit_exposure(shot.target, shot.seen, shot.weights, HUBER, exposure)
    return exposure


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
