"""Many photos whose poses are nearly right, refined together against Gaussians that stay as they are.

What the photos share is found first: the Gaussians' frame may be turned, moved or scaled against the poses' (seven
numbers), and the focal length may be off. Then every photo has its own six.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.rotations import nearest_rotation
from gatlas.images.gray import is_gray, to_gray
from gatlas.pose.compare import AS_IT_IS, Camera, Shot, Target, blurred, shoot
from gatlas.pose.descend import fixed_loss
from gatlas.pose.levenberg import DAMPING, LEAST_LEFT, TRIES, Level, Normal, cost_of, linearize, solve
from gatlas.pose.motion import Pivot
from gatlas.pose.refine import (
    UNUSABLE,
    Judged,
    Refined,
    RefineOptions,
    best_exposure,
    borne_out,
    failed,
    judge,
    make_targets,
    pivot_of,
    refine_targets,
    settle,
)

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.metrics.lpips import Lpips
    from gatlas.types import Gaussians, Views

SHARED_LEVEL = Level(64, 10, blur=2.0)
# Of a given camera's loss over the pixels that both show: what is left of it after a refinement that counts. Measured
# on renders of three meshes and on photos of a temple: 0.77 to 1 from cameras that were exact, which leave by 0.04 to
# 1.3 degrees because the Gaussians are not; 0.07 to 0.55 from 0.2 degrees off, but 0.7 to 0.9 on the poorest splat.
WORTH = 0.75
SURE = 0.95  # agreement of a given camera that stays where its refinement fails: half a degree off on two meshes
AMISS = 2.0  # times the median loss: such a photo is tried again from where the others say it is


class Similarity(NamedTuple):
    """From the frame of the poses that were given into that of the Gaussians: x' = scale x rotation x + shift."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]


class Together(NamedTuple):
    """The photos' cameras after all have moved together, and what is known of each, as in `shoot`."""

    cameras: list[Camera]
    shots: Sequence[tuple[Shot, ...]]  # what was known before, the first and the last on the way


@dataclass(frozen=True, eq=False)
class Bundle:
    """All photos' cameras in the Gaussians' frame, in the order of the photos; those that failed say so."""

    photos: tuple[Refined, ...]
    similarity: Similarity  # the identity where too few photos were found


def refine_bundle(
    gaussians: Gaussians,
    views: Views,
    *,
    masks: Sequence[Float[np.ndarray, "h w"] | None] | None = None,
    options: RefineOptions | None = None,
    lpips: Lpips | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bundle:
    """The cameras of `views` refined from where they are (numpy). With `options.focal` one focal length is shared.

    `progress` is called with the number of photos done and of all.
    """
    options = options or RefineOptions()
    if masks is not None and len(masks) != len(views):
        raise ValueError(f"masks must be as many as the views, {len(views)}, got {len(masks)}")
    masks = masks or [None] * len(views)
    matrices = zip(views.cameras.viewmats, views.cameras.Ks, strict=True)
    cameras = [Camera(viewmat.astype(np.float64), K.astype(np.float64)) for viewmat, K in matrices]
    pairs = zip(views.images, masks, strict=True)
    targets = [make_targets(np.asarray(image), mask, options, SHARED_LEVEL.side) for image, mask in pairs]
    full = [each[-1] for each in targets]
    scenes = in_colors_of(gaussians, full)
    given = [_judged(*each, options) for each in zip(scenes, full, cameras, strict=True)]
    known: Sequence[tuple[Shot, ...]] = [() if judged is None else (judged.shot,) for judged in given]
    moved = share_frame(scenes, [each[0] for each in targets], cameras, options, known)
    ahead = [
        _judged(scene, target, camera, options, shots) if judged and np.isfinite(judged.loss) else None
        for scene, target, camera, judged, shots in zip(scenes, full, moved.cameras, given, moved.shots, strict=True)
    ]
    ready = moved.cameras if lower_together(given, ahead) else cameras
    known = [(*each, judged.shot) if judged else each for each, judged in zip(moved.shots, ahead, strict=True)]
    alone = replace(options, focal=False)

    def from_camera(i: int, start: Camera, known: Sequence[Shot] = ()) -> Refined:
        if not _usable(start, full[i]):
            return failed(UNUSABLE)
        return refine_targets(scenes[i], targets[i][1:], start, alone, lpips, given[i], known)

    if options.focal:
        starts = ready
        for j, level in enumerate(options.levels):
            zoomed = share_focal(scenes, [each[1 + j] for each in targets], ready, level, options, known)
            ready, known = zoomed.cameras, zoomed.shots

        def find(i: int) -> Refined:
            judged = given[i]
            if judged is None or not _usable(ready[i], full[i]):
                return failed(UNUSABLE)
            shot = shoot(scenes[i], ready[i], full[i], known[i])
            return settle(scenes[i], judged, starts[i], shot, 0, alone, lpips)
    else:

        def find(i: int) -> Refined:
            return from_camera(i, ready[i], known[i])

    found = []
    for i in range(len(full)):
        found.append(find(i))
        if progress is not None:
            progress(i + 1, len(full))
    stays = [_stay(scene, judged, options) for scene, judged in zip(scenes, given, strict=True)]
    losses = [shared_losses(*each, options) for each in zip(scenes, given, found, strict=True)]
    kept = keep_given(stays, found, losses, options)
    similarity = fit_similarity(cameras, kept)
    reached = [each.loss_after for each in kept if not each.failure]
    again = list(kept)
    for i, each in enumerate(kept):
        if each is stays[i]:
            losses[i] = each.loss_before, each.loss_after
        if len(reached) > 2 and (each.failure or each.loss_after > AMISS * np.median(reached)):
            K = next(other.K for other in kept if not other.failure) if each.failure else each.K
            tried = from_camera(i, Camera(carry(cameras[i].viewmat, similarity), K))
            if not tried.failure and (each.failure or tried.loss_after < each.loss_after):
                again[i], losses[i] = tried, shared_losses(scenes[i], given[i], tried, options)
    return Bundle(tuple(keep_given(stays, again, losses, options)), similarity)


def in_colors_of(gaussians: Gaussians, targets: list[Target]) -> list[Gaussians]:
    """The Gaussians as each photo shows them: without colours where it has none."""
    gray = to_gray(gaussians)
    return [gray if is_gray(target.picture) else gaussians for target in targets]


def lower_together(given: list[Judged | None], moved: list[Judged | None]) -> bool:
    """Whether the mean loss falls as the cameras move together, none of them out of sight."""
    before, after = [], []
    for each, there in zip(given, moved, strict=True):
        if each is not None and np.isfinite(each.loss):
            before.append(each.loss)
            after.append(float("nan") if there is None else there.loss)
    return not before or bool(np.mean(after) < np.mean(before))  # never where one is NaN


def _usable(camera: Camera, target: Target) -> bool:
    return all(bool(np.isfinite(each).all()) for each in (camera.viewmat, camera.K, target.picture))


def _judged(
    gaussians: Gaussians, target: Target, camera: Camera, options: RefineOptions, known: Sequence[Shot] = ()
) -> Judged | None:
    return judge(gaussians, target, camera, options, known) if _usable(camera, target) else None


def _stay(gaussians: Gaussians, given: Judged | None, options: RefineOptions) -> Refined:
    """The camera that was given, where its picture bears it out."""
    if given is None or not np.isfinite(given.loss):
        return failed("nothing can be compared from the camera that was given")
    return borne_out(gaussians, given, given.loss, 0, options)


def keep_given(
    stays: list[Refined],
    found: list[Refined],
    losses: list[tuple[float, float] | None],
    options: RefineOptions,
) -> list[Refined]:
    """What was found where it is worth the move, else the camera that was given, which is what `stays`.

    Gaussians that are not exact have their lowest loss beside the right camera. The `losses`, of the camera given and
    of that found, are over the pixels that count from both, None where few do. Where the focal length is shared, so is
    the decision.
    """
    pairs = [
        None if stay.failure or each.failure else pair for stay, each, pair in zip(stays, found, losses, strict=True)
    ]
    worth = [pair is None or pair[1] <= WORTH * pair[0] for pair in pairs]
    if options.focal:
        before, after = (sum(pair[i] for pair in pairs if pair is not None) for i in range(2))
        mixed = any(stay.failure and not each.failure for stay, each in zip(stays, found, strict=True))
        if mixed or after <= WORTH * before:
            return found
        worth = [False] * len(found)
    kept = []
    for each, stay, pair, is_worth in zip(found, stays, pairs, worth, strict=True):
        if stay.failure:
            kept.append(each)
        elif pair is None:
            lost = each if each.failure else failed("it left what the photo was compared with from the given camera")
            kept.append(stay if stay.agreement >= SURE else lost)
        else:
            kept.append(each if is_worth else stay)
    return kept


def shared_losses(
    gaussians: Gaussians, given: Judged | None, found: Refined, options: RefineOptions
) -> tuple[float, float] | None:
    """The losses of the given camera and of that found over the pixels that count from both; None where few do.

    Neither widens the Gaussians by more than the rasteriser does: a better widening is no reason to move.
    """
    if given is None or found.failure or given.shot.weights is None:
        return None
    shot = shoot(gaussians, Camera(found.viewmat, found.K), given.shot.target, [given.shot])
    if shot.weights is None:
        return None
    both = given.shot.weights * shot.weights
    if both.sum() < LEAST_LEFT * given.shot.weights.sum():
        return None
    return fixed_loss(given.shot, both, given.exposure), fixed_loss(shot, both, best_exposure(shot, options))


def share_frame(
    scenes: list[Gaussians],
    targets: list[Target],
    cameras: list[Camera],
    options: RefineOptions,
    known: Sequence[tuple[Shot, ...]],
) -> Together:
    """The cameras moved together, as one turn, shift and scale of the Gaussians about their middle says, and zoomed.

    What is `known` of each is as in `shoot`.
    """
    pivots = _pivots(scenes, targets, cameras)
    seen = [pivot for pivot in pivots if pivot is not None]
    if not seen:
        return Together(cameras, known)
    point = np.mean([pivot.point for pivot in seen], axis=0)
    unit = np.median([pivot.depth for pivot in seen])
    common: list[Pivot | None] = []
    heard = []
    bases = []
    for camera, pivot in zip(cameras, pivots, strict=True):
        rotation = camera.viewmat[:3, :3]
        center = rotation @ point + camera.viewmat[:3, 3]
        heard.append(pivot is not None and bool(center[2] > 0))
        # Its units are undone below: any depth will do for a camera that has the point behind it.
        own = Pivot(point, float(center[2] if center[2] > 0 else unit)) if np.isfinite(camera.viewmat).all() else None
        basis = np.zeros((7 + options.focal, 7 + options.focal))
        basis[:3, :3], basis[3:6, 3:6] = rotation * unit, rotation
        basis[:3, 6] = -center  # Gaussians twice as large look as from half as far
        if options.focal:
            basis[7, 7] = 1.0
        kept = [0, 1, 2, 3, 4, 5, *([7] if options.focal else [])]
        basis = basis[kept]
        if own is not None:
            basis[:6] /= own.units[:, None]
        common.append(own)
        bases.append(basis)
    return _levenberg(scenes, targets, cameras, common, heard, bases, SHARED_LEVEL, options, known)


def share_focal(
    scenes: list[Gaussians],
    targets: list[Target],
    cameras: list[Camera],
    level: Level,
    options: RefineOptions,
    known: Sequence[tuple[Shot, ...]],
) -> Together:
    """Each camera moved by its own six numbers, all zoomed by one. What is `known` of each is as in `shoot`."""
    size = 6 * len(cameras) + 1
    bases = []
    for i in range(len(cameras)):
        basis = np.zeros((7, size))
        basis[:6, 6 * i : 6 * i + 6] = np.eye(6)
        basis[6, -1] = 1.0
        bases.append(basis)
    pivots = _pivots(scenes, targets, cameras)
    heard = [pivot is not None for pivot in pivots]
    return _levenberg(scenes, targets, cameras, pivots, heard, bases, level, options, known)


def _levenberg(
    scenes: list[Gaussians],
    targets: list[Target],
    cameras: list[Camera],
    pivots: list[Pivot | None],
    heard: list[bool],
    bases: list[Float[np.ndarray, "k shared"]],
    level: Level,
    options: RefineOptions,
    known: Sequence[tuple[Shot, ...]],
) -> Together:
    """Levenberg-Marquardt on the sum of all photos' costs, where each camera's step is its basis times one vector.

    Photos that are not heard have no say and move along, but for those without a pivot.
    """
    smooth = [blurred(target.picture, level.blur) for target in targets]
    exposures = [AS_IT_IS] * len(cameras)
    damping = DAMPING[0]
    having = [(i, pivot) for i, pivot in enumerate(pivots) if pivot is not None and heard[i]]
    shots = {i: shoot(scenes[i], cameras[i], targets[i], known[i]) for i, _ in having}
    first = dict(shots)

    def together() -> Together:
        return Together(cameras, [(*each, first[i], shots[i]) if i in shots else each for i, each in enumerate(known)])

    for _ in range(level.iterations):
        normals: dict[int, Normal] = {}
        size = bases[0].shape[1]
        H, g = np.zeros((size, size)), np.zeros(size)
        for i, pivot in having:
            shots[i] = shoot(scenes[i], cameras[i], targets[i], [shots[i]])
            normal = linearize(
                scenes[i],
                shots[i],
                smooth[i],
                pivot,
                level,
                options.focal,
                exposures[i],
                options.exposure,
            )
            if normal is None or not np.isfinite(normal.g).all():
                continue
            normals[i], exposures[i] = normal, normal.exposure
            pixels = 3 * max(float(normal.weights.sum()), 1.0)  # a photo counts the same whatever its object's size
            H += bases[i].T @ normal.H @ bases[i] / pixels
            g += bases[i].T @ normal.g / pixels
        if not normals:
            return together()
        total = sum(normal.cost for normal in normals.values())
        for _ in range(TRIES):
            step = solve(Normal(H, g, total, *next(iter(normals.values()))[3:]), damping)
            tried = [
                camera if pivot is None else camera.stepped(pivot, basis @ step)
                for camera, pivot, basis in zip(cameras, pivots, bases, strict=True)
            ]
            costs = {i: cost_of(scenes[i], targets[i], smooth[i], tried[i], level, normals[i]) for i in normals}
            cost = sum(each[0] for each in costs.values())
            if cost < total:
                break
            damping = min(damping * 10, DAMPING[2])
        else:
            return together()
        cameras, damping = tried, max(damping / 10, DAMPING[1])
        shots.update({i: shot for i, (_, shot) in costs.items() if shot is not None})
        if cost > total * (1 - 1e-4):
            break
    return together()


def _pivots(scenes: list[Gaussians], targets: list[Target], cameras: list[Camera]) -> list[Pivot | None]:
    return [
        pivot_of(scene, target, camera) if _usable(camera, target) else None
        for scene, target, camera in zip(scenes, targets, cameras, strict=True)
    ]


def fit_similarity(given: list[Camera], found: list[Refined]) -> Similarity:
    """The similarity that carries the given cameras nearest to those found, failures left out, outliers outweighed.

    Turns are compared as well as positions, so that cameras on a line, or one alone, leave nothing open but the scale,
    which then is 1.
    """
    pairs = [(camera.viewmat, each.viewmat) for camera, each in zip(given, found, strict=True) if not each.failure]
    if not pairs:
        return Similarity(1.0, np.eye(3), np.zeros(3))
    before, after = (np.stack(viewmats) for viewmats in zip(*pairs, strict=True))
    turns = np.einsum("cji,cjk->cik", after[:, :3, :3], before[:, :3, :3])  # from the given frame into the found
    eyes, wanted = (camera_centers(each) for each in (before, after))
    weights = np.ones(len(pairs))
    for _ in range(10):  # iteratively reweighted: the median-like sum of distances
        share = weights / weights.sum()
        rotation = nearest_rotation(np.einsum("c,cij->ij", share, turns))
        turned = eyes @ rotation.T
        middle, goal = share @ turned, share @ wanted
        spread = float(share @ ((turned - middle) ** 2).sum(axis=1))
        along = float(share @ ((turned - middle) * (wanted - goal)).sum(axis=1))
        scale = along / spread if spread > 1e-12 and along > 0 else 1.0
        shift = goal - scale * middle
        distances = np.linalg.norm(scale * turned + shift - wanted, axis=1)
        weights = 1 / np.maximum(distances, 1e-3 * max(float(np.sqrt(spread)), 1e-9))
    return Similarity(scale, rotation, shift)


def carry(viewmat: Float[np.ndarray, "4 4"], similarity: Similarity) -> Float[np.ndarray, "4 4"]:
    """A camera of the given frame in the Gaussians' frame."""
    carried = np.eye(4)
    carried[:3, :3] = viewmat[:3, :3] @ similarity.rotation.T
    eye = -viewmat[:3, :3].T @ viewmat[:3, 3]
    carried[:3, 3] = -carried[:3, :3] @ (similarity.scale * similarity.rotation @ eye + similarity.shift)
    return carried
