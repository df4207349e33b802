"""Many photos whose poses are nearly right, refined together against Gaussians that stay as they are.

What the photos share is found first: the Gaussians' frame may be turned, moved or scaled against the poses' (seven
numbers), and the focal length may be off. Then every photo has its own six.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.pose.compare import AS_IT_IS, Camera, Target, blurred, make_target
from gatlas.pose.levenberg import DAMPING, TRIES, Level, Normal, cost_of, linearize, solve
from gatlas.pose.motion import Pivot, find_pivot
from gatlas.pose.refine import Refined, RefineOptions, failed, judge, refine, settle
from gatlas.rotations import nearest_rotation

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.metrics.lpips import Lpips
    from gatlas.types import Gaussians, Views

SHARED_LEVEL = Level(64, 10, blur=2.0)
AMISS = 2.0  # times the median loss: such a photo is tried again from where the others say it is


class Similarity(NamedTuple):
    """From the frame of the poses that were given into that of the Gaussians: x' = scale x rotation x + shift."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]


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
    photos = [np.asarray(image) for image in views.images]
    matrices = zip(views.cameras.viewmats, views.cameras.Ks, strict=True)
    given = [Camera(viewmat.astype(np.float64), K.astype(np.float64)) for viewmat, K in matrices]

    background = options.background

    def targets(side: int) -> list[Target]:
        pairs = zip(photos, masks, strict=True)
        return [make_target(photo, mask, background, side) for photo, mask in pairs]

    starts = share_frame(gaussians, targets(SHARED_LEVEL.side), given, options)
    if options.focal:
        ready = starts
        for level in options.levels:
            ready = share_focal(gaussians, targets(level.side), ready, level, options)
        options = replace(options, focal=False)

        def find(i: int, start: Camera) -> Refined:
            target = make_target(photos[i], masks[i], options.background, options.side)
            before = judge(gaussians, target, starts[i], options)
            if before is None:
                return failed("from the camera to start from, the Gaussians cover too little of the picture")
            return settle(gaussians, target, starts[i], start, 0, before, options, lpips)
    else:
        ready = starts

        def find(i: int, start: Camera) -> Refined:
            return refine(gaussians, photos[i], start.viewmat, start.K, mask=masks[i], options=options, lpips=lpips)

    found = []
    for i, start in enumerate(ready):
        found.append(find(i, start))
        if progress is not None:
            progress(i + 1, len(ready))
    similarity = fit_similarity(given, found)
    losses = [each.loss_after for each in found if not each.failure]
    for i, each in enumerate(found):
        if len(losses) > 2 and (each.failure or each.loss_after > AMISS * np.median(losses)):
            K = next(other.K for other in found if not other.failure) if each.failure else each.K
            carried = carry(given[i].viewmat, similarity)
            again = refine(gaussians, photos[i], carried, K, mask=masks[i], options=options, lpips=lpips)
            if not again.failure and (each.failure or again.loss_after < each.loss_after):
                found[i] = again
    return Bundle(tuple(found), similarity)


def share_frame(
    gaussians: Gaussians, targets: list[Target], cameras: list[Camera], options: RefineOptions
) -> list[Camera]:
    """The cameras moved together, as one turn, shift and scale of the Gaussians about their middle says, and zoomed."""
    pivots = _pivots(gaussians, targets, cameras)
    seen = [pivot for pivot in pivots if pivot is not None]
    if not seen:
        return cameras
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
    return _levenberg(gaussians, targets, cameras, common, heard, bases, SHARED_LEVEL, options)


def share_focal(
    gaussians: Gaussians, targets: list[Target], cameras: list[Camera], level: Level, options: RefineOptions
) -> list[Camera]:
    """Each camera moved by its own six numbers, all zoomed by one."""
    size = 6 * len(cameras) + 1
    bases = []
    for i in range(len(cameras)):
        basis = np.zeros((7, size))
        basis[:6, 6 * i : 6 * i + 6] = np.eye(6)
        basis[6, -1] = 1.0
        bases.append(basis)
    pivots = _pivots(gaussians, targets, cameras)
    heard = [pivot is not None for pivot in pivots]
    return _levenberg(gaussians, targets, cameras, pivots, heard, bases, level, options)


def _levenberg(
    gaussians: Gaussians,
    targets: list[Target],
    cameras: list[Camera],
    pivots: list[Pivot | None],
    heard: list[bool],
    bases: list[Float[np.ndarray, "k shared"]],
    level: Level,
    options: RefineOptions,
) -> list[Camera]:
    """Levenberg-Marquardt on the sum of all photos' costs, where each camera's step is its basis times one vector.

    Photos that are not heard have no say and move along, but for those without a pivot.
    """
    smooth = [blurred(target.picture, level.blur) for target in targets]
    exposures = [AS_IT_IS] * len(cameras)
    damping = DAMPING[0]
    for _ in range(level.iterations):
        normals: dict[int, Normal] = {}
        size = bases[0].shape[1]
        H, g = np.zeros((size, size)), np.zeros(size)
        for i, pivot in enumerate(pivots):
            if pivot is None or not heard[i]:
                continue
            normal = linearize(
                gaussians,
                targets[i],
                smooth[i],
                cameras[i],
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
            return cameras
        total = sum(normal.cost for normal in normals.values())
        for _ in range(TRIES):
            step = solve(Normal(H, g, total, *next(iter(normals.values()))[3:]), damping)
            tried = [
                camera if pivot is None else camera.stepped(pivot, basis @ step)
                for camera, pivot, basis in zip(cameras, pivots, bases, strict=True)
            ]
            cost = sum(cost_of(gaussians, targets[i], smooth[i], tried[i], level, normals[i]) for i in normals)
            if cost < total:
                break
            damping = min(damping * 10, DAMPING[2])
        else:
            return cameras
        cameras, damping = tried, max(damping / 10, DAMPING[1])
        if cost > total * (1 - 1e-4):
            break
    return cameras


def _pivots(gaussians: Gaussians, targets: list[Target], cameras: list[Camera]) -> list[Pivot | None]:
    pivots = []
    for target, camera in zip(targets, cameras, strict=True):
        height, width = target.picture.shape[:2]
        usable = np.isfinite(camera.viewmat).all() and np.isfinite(target.picture).all()
        pivots.append(
            find_pivot(gaussians, camera.viewmat, target.stretch * camera.K, width, height) if usable else None
        )
    return pivots


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
    eyes, wanted = (-np.einsum("cji,cj->ci", each[:, :3, :3], each[:, :3, 3]) for each in (before, after))
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
