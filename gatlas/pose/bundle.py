"""Joint refinement of many cameras that are nearly right, with the Gaussians frozen.

What the photos share comes first: the frame of the Gaussians may be rotated, moved or scaled relative to that of the
cameras (seven variables), and the focal length may be off. Then each photo has its own six variables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.rotations import nearest_rotation
from gatlas.images.gray import is_gray, to_gray
from gatlas.pose.compare import Camera, Comparison, Target, render_comparison
from gatlas.pose.descend import comparison_loss
from gatlas.pose.joint import SHARED_LEVEL, align_frames, is_usable, refine_shared_focal
from gatlas.pose.levenberg import MIN_PIXELS_LEFT
from gatlas.pose.refinement import (
    NOT_FINITE,
    Evaluation,
    RefinedPose,
    RefineOptions,
    best_exposure,
    evaluate_camera,
    failed_refinement,
    finish,
    make_targets,
    refine_targets,
    verified,
)

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.metrics.lpips import Lpips
    from gatlas.pose.joint import Cache
    from gatlas.types import AnyViews, Gaussians

# Largest ratio of a refined camera's loss to that of the given one, over the pixels that both show, with which it
# replaces the given one. Measured on renders of three meshes and on photos of a temple: 0.77 to 1 from exact cameras,
# which move by 0.04 to 1.3 degrees because the Gaussians are not exact; 0.07 to 0.55 from 0.2 degrees off, but 0.7 to
# 0.9 on the poorest splat.
MAX_LOSS_RATIO = 0.75
KEPT_AGREEMENT = 0.95  # of a given camera that is kept where its refinement fails: half a degree off on two meshes
SAME_PLACE = 4e-7  # of the cameras' distance from the origin: nearer positions differ by rounding alone
OUTLIER_LOSS = 2.0  # times the median loss: such a photo is refined again from the camera that the others suggest


class Similarity(NamedTuple):
    """The map from the frame of the given cameras into that of the Gaussians: x' = scale x rotation x + shift."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]


@dataclass(frozen=True, eq=False)
class Bundle:
    """The cameras of all photos in the frame of the Gaussians, in the order of the photos, or their failures."""

    photos: tuple[RefinedPose, ...]
    similarity: Similarity  # the identity where too few photos were found


@dataclass(frozen=True, eq=False)
class _Problem:
    """The photos of a bundle and their given cameras."""

    scenes: list[Gaussians]  # per photo, in gray where the photo is
    targets: list[
        tuple[Target, ...]
    ]  # per photo, at the shared level, at the other levels and at the size of the losses
    cameras: list[Camera]
    given: list[Evaluation | None]  # of the given cameras; None where one is not finite
    options: RefineOptions
    lpips: Lpips | None

    @property
    def full(self) -> list[Target]:
        """The photos at the size of the losses."""
        return [each[-1] for each in self.targets]

    @property
    def single(self) -> RefineOptions:
        """The settings of the refinement of one photo: the focal length is shared."""
        return replace(self.options, focal=False)


def refine_bundle(
    gaussians: Gaussians,
    views: AnyViews,
    *,
    masks: Sequence[Float[np.ndarray, "_ _"] | None] | None = None,
    options: RefineOptions | None = None,
    lpips: Lpips | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bundle:
    """Return the refined cameras of `views` (numpy). With `options.focal` one factor on the focal length is shared.

    `progress` is called with the number of photos done and of all.
    """
    options = options or RefineOptions()
    if masks is not None and len(masks) != len(views):
        raise ValueError(f"masks must be as many as the views, {len(views)}, got {len(masks)}")
    problem = _make_problem(gaussians, views, masks or [None] * len(views), options, lpips)
    starts, cached = _move_together(problem)
    cameras, cached = _refine_focal(problem, starts, cached) if options.focal else (starts, cached)
    found = []
    for i in range(len(views)):
        if options.focal:
            found.append(_finish_with_focal(problem, i, starts[i], cameras[i], cached[i]))
        else:
            found.append(_refine_from(problem, i, cameras[i], cached[i]))
        if progress is not None:
            progress(i + 1, len(views))
    return _choose(problem, found)


def _make_problem(
    gaussians: Gaussians,
    views: AnyViews,
    masks: Sequence[Float[np.ndarray, "_ _"] | None],
    options: RefineOptions,
    lpips: Lpips | None,
) -> _Problem:
    matrices = zip(views.cameras.viewmats, views.cameras.Ks, strict=True)
    cameras = [Camera(viewmat.astype(np.float64), K.astype(np.float64)) for viewmat, K in matrices]
    pairs = zip(views.images, masks, strict=True)
    targets = [make_targets(np.asarray(image), mask, options, SHARED_LEVEL.side) for image, mask in pairs]
    full = [each[-1] for each in targets]
    scenes = match_colors(gaussians, full)
    given = [_evaluate_usable(*each, options) for each in zip(scenes, full, cameras, strict=True)]
    return _Problem(scenes, targets, cameras, given, options, lpips)


def _move_together(problem: _Problem) -> tuple[list[Camera], Cache]:
    """Return the cameras after the alignment of the frames where that lowers their mean loss, else those given."""
    given, full = problem.given, problem.full
    cached: Cache = [() if each is None else (each.comparison,) for each in given]
    shared = [each[0] for each in problem.targets]
    moved = align_frames(problem.scenes, shared, problem.cameras, problem.options, cached)
    after = [
        _evaluate_usable(scene, target, camera, problem.options, comparisons)
        if before and np.isfinite(before.loss)
        else None
        for scene, target, camera, before, comparisons in zip(
            problem.scenes, full, moved.cameras, given, moved.cached, strict=True
        )
    ]
    cached = [(*each, last.comparison) if last else each for each, last in zip(moved.cached, after, strict=True)]
    return (moved.cameras if lowers_mean_loss(given, after) else problem.cameras), cached


def _refine_focal(problem: _Problem, cameras: list[Camera], cached: Cache) -> tuple[list[Camera], Cache]:
    """Return the cameras after the joint refinement of poses and one focal length on all levels."""
    for j, level in enumerate(problem.options.levels):
        targets = [each[1 + j] for each in problem.targets]
        cameras, cached = refine_shared_focal(problem.scenes, targets, cameras, level, problem.options, cached)
    return cameras, cached


def _finish_with_focal(
    problem: _Problem, i: int, start: Camera, camera: Camera, cached: Sequence[Comparison]
) -> RefinedPose:
    """Return photo `i` after the final descent from the camera that the joint refinement found."""
    given, target = problem.given[i], problem.full[i]
    if given is None or not is_usable(camera, target):
        return failed_refinement(NOT_FINITE)
    comparison = render_comparison(problem.scenes[i], camera, target, cached)
    return finish(problem.scenes[i], given, start, comparison, 0, problem.single, problem.lpips)


def _refine_from(problem: _Problem, i: int, start: Camera, cached: Sequence[Comparison] = ()) -> RefinedPose:
    """Return photo `i` refined alone from a start."""
    if not is_usable(start, problem.full[i]):
        return failed_refinement(NOT_FINITE)
    targets = problem.targets[i][1:]
    return refine_targets(problem.scenes[i], targets, start, problem.single, problem.lpips, problem.given[i], cached)


def _choose(problem: _Problem, found: list[RefinedPose]) -> Bundle:
    """Return each photo's refined or given camera, after another try for those that the others disagree with."""
    scenes, given, options = problem.scenes, problem.given, problem.options
    stays = [_keep(scene, each, options) for scene, each in zip(scenes, given, strict=True)]
    losses = [shared_losses(*each, options) for each in zip(scenes, given, found, strict=True)]
    kept = choose_cameras(stays, found, losses, options)
    similarity = fit_similarity(problem.cameras, kept)
    final_losses = [each.loss_after for each in kept if not each.failure]
    again = list(kept)
    for i, each in enumerate(kept):
        if each is stays[i]:
            losses[i] = each.loss_before, each.loss_after
        if len(final_losses) > 2 and (each.failure or each.loss_after > OUTLIER_LOSS * np.median(final_losses)):
            K = next(other.K for other in kept if not other.failure) if each.failure else each.K
            tried = _refine_from(problem, i, Camera(to_scene_frame(problem.cameras[i].viewmat, similarity), K))
            if not tried.failure and (each.failure or tried.loss_after < each.loss_after):
                again[i], losses[i] = tried, shared_losses(scenes[i], given[i], tried, options)
    return Bundle(tuple(choose_cameras(stays, again, losses, options)), similarity)


def match_colors(gaussians: Gaussians, targets: list[Target]) -> list[Gaussians]:
    """Return the Gaussians for each photo: in gray where the photo is."""
    gray = to_gray(gaussians)
    return [gray if is_gray(target.picture) else gaussians for target in targets]


def lowers_mean_loss(given: list[Evaluation | None], moved: list[Evaluation | None]) -> bool:
    """Return True where the mean loss of the moved cameras is lower and all of them still see the object."""
    before, after = [], []
    for old, new in zip(given, moved, strict=True):
        if old is not None and np.isfinite(old.loss):
            before.append(old.loss)
            after.append(float("nan") if new is None else new.loss)
    return not before or bool(np.mean(after) < np.mean(before))  # never where one is NaN


def _evaluate_usable(
    gaussians: Gaussians, target: Target, camera: Camera, options: RefineOptions, cached: Sequence[Comparison] = ()
) -> Evaluation | None:
    return evaluate_camera(gaussians, target, camera, options, cached) if is_usable(camera, target) else None


def _keep(gaussians: Gaussians, given: Evaluation | None, options: RefineOptions) -> RefinedPose:
    """Return the given camera where it explains enough of the photo, else a failure."""
    if given is None or not np.isfinite(given.loss):
        return failed_refinement("nothing can be compared from the given camera")
    return verified(gaussians, given, given.loss, 0, options)


def choose_cameras(
    stays: list[RefinedPose],
    found: list[RefinedPose],
    losses: list[tuple[float, float] | None],
    options: RefineOptions,
) -> list[RefinedPose]:
    """Return each refined camera where it is enough better than the given one, which is in `stays`, else that.

    Gaussians that are not exact have their lowest loss near the right camera, not at it. The `losses`, of the given and
    of the refined camera, are over the pixels that count from both, None where these are few. With a shared focal
    length, the decision is common to all photos.
    """
    pairs = [
        None if stay.failure or each.failure else pair for stay, each, pair in zip(stays, found, losses, strict=True)
    ]
    better = [pair is None or pair[1] <= MAX_LOSS_RATIO * pair[0] for pair in pairs]
    if options.focal:
        before, after = (sum(pair[i] for pair in pairs if pair is not None) for i in range(2))
        mixed = any(stay.failure and not each.failure for stay, each in zip(stays, found, strict=True))
        if mixed or after <= MAX_LOSS_RATIO * before:
            return found
        better = [False] * len(found)
    kept = []
    for each, stay, pair, is_better in zip(found, stays, pairs, better, strict=True):
        if stay.failure:
            kept.append(each)
        elif pair is None:
            left = "it moved away from the pixels that were compared from the given camera"
            lost = each if each.failure else failed_refinement(left)
            kept.append(stay if stay.agreement >= KEPT_AGREEMENT else lost)
        else:
            kept.append(each if is_better else stay)
    return kept


def shared_losses(
    gaussians: Gaussians, given: Evaluation | None, found: RefinedPose, options: RefineOptions
) -> tuple[float, float] | None:
    """Return the losses of the given and of the refined camera over the pixels that count from both; None for few.

    Both have the rasterizer's own eps2d: a better widening of the Gaussians is no reason to move the camera.
    """
    if given is None or found.failure or given.comparison.weights is None:
        return None
    comparison = render_comparison(
        gaussians, Camera(found.viewmat, found.K), given.comparison.target, [given.comparison]
    )
    if comparison.weights is None:
        return None
    both = given.comparison.weights * comparison.weights
    if both.sum() < MIN_PIXELS_LEFT * given.comparison.weights.sum():
        return None
    before = comparison_loss(given.comparison, both, given.exposure)
    return before, comparison_loss(comparison, both, best_exposure(comparison, options))


def fit_similarity(given: list[Camera], found: list[RefinedPose]) -> Similarity:
    """Return the similarity that maps the given cameras nearest to those found, without failures, robust to outliers.

    Rotations are compared as well as positions, so that cameras on a line, or a single one, leave only the scale
    undetermined, which then is 1.
    """
    pairs = [(camera.viewmat, each.viewmat) for camera, each in zip(given, found, strict=True) if not each.failure]
    if not pairs:
        return Similarity(1.0, np.eye(3), np.zeros(3))
    before, after = (np.stack(viewmats) for viewmats in zip(*pairs, strict=True))
    rotations = np.einsum("cji,cjk->cik", after[:, :3, :3], before[:, :3, :3])  # from the given frame into that found
    eyes, wanted = (camera_centers(each) for each in (before, after))
    size = float(np.linalg.norm(eyes, axis=1).max())
    weights = np.ones(len(pairs))
    for _ in range(10):  # iteratively reweighted least squares: the sum of distances
        share = weights / weights.sum()
        rotation = nearest_rotation(np.einsum("c,cij->ij", share, rotations))
        rotated = eyes @ rotation.T
        middle, goal = share @ rotated, share @ wanted
        spread = float(share @ ((rotated - middle) ** 2).sum(axis=1))
        along = float(share @ ((rotated - middle) * (wanted - goal)).sum(axis=1))
        scale = along / spread if spread > (SAME_PLACE * size) ** 2 and along > 0 else 1.0
        shift = goal - scale * middle
        distances = np.linalg.norm(scale * rotated + shift - wanted, axis=1)
        floor = 1e-3 * max(float(np.sqrt(spread)), 1e-3 * SAME_PLACE * size)
        weights = 1 / np.maximum(distances, floor or 1.0)
    return Similarity(scale, rotation, shift)


def to_scene_frame(viewmat: Float[np.ndarray, "4 4"], similarity: Similarity) -> Float[np.ndarray, "4 4"]:
    """Return a camera of the given frame in the frame of the Gaussians."""
    moved = np.eye(4)
    moved[:3, :3] = viewmat[:3, :3] @ similarity.rotation.T
    eye = -viewmat[:3, :3].T @ viewmat[:3, 3]
    moved[:3, 3] = -moved[:3, :3] @ (similarity.scale * similarity.rotation @ eye + similarity.shift)
    return moved
