"""The camera of a photo in a scene, found from nothing: render, match, solve, and render again at the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import binary_erosion

from gatlas.pose.bank import BACKGROUND, Bank, Sight, lift, look
from gatlas.pose.compare import Camera, Target, make_target
from gatlas.pose.features import Features, detect, match, match_groups
from gatlas.pose.levenberg import Level, levenberg
from gatlas.pose.motion import find_pivot
from gatlas.pose.prepare import Prepared, prepare
from gatlas.pose.silhouette import silhouette_starts
from gatlas.pose.solve import LEAST_INLIERS, Solution, reprojection_errors, solve_pnp
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float

THRESHOLD = 3 / 256  # of the picture's longer side: an inlier's error in the first match
FINE_THRESHOLD = 2 / 256  # and at the estimate
RATIO = 0.8
GUIDED_RATIO = 0.85
CANDIDATES = 8  # views whose matches are solved
FEW = 6  # agreeing matches that make a start: the re-render decides
RADII = (0.12, 0.05, 0.03)  # of the longer side: where a match is looked for in each round
STARTS = 3
CONFIDENT = 40  # inliers after which no other start and no larger picture is tried
ALIKE = 0.06  # cost up to which few inliers, or a silhouette, are believed; wrong cameras had 0.077
UNLIKE = 0.5  # cost from which no number of inliers is believed; right ones of real photos have up to 0.25
OVERLAP = 0.93  # of the render's and the photo's silhouettes, intersection over union
LEVELS = (Level(64, 10, 1.5), Level(128, 6), Level(256, 4))
KEPT = (2, 2, 2)  # starts after each level
APART = 10.0  # degrees: nearer answers are the same one


class Answer(NamedTuple):
    """A camera and how it stands with the photo."""

    viewmat: Float[np.ndarray, "4 4"]
    inliers: int  # 0 where the silhouette found it
    residuals: Float[np.ndarray, " m"]  # of the inliers, pixels of the photo
    cost: float  # 1 - correlation of photo and render, [0, 2]; infinite where too little of the object is in view


@dataclass(frozen=True, eq=False)
class Located:
    """The camera that took a photo."""

    viewmat: Float[np.ndarray, "4 4"]  # world -> camera, OpenCV
    inliers: int  # matches that agree; 0 where the silhouette found the camera
    residuals: Float[np.ndarray, " m"]  # their reprojection errors, pixels of the photo
    runner_up: Answer | None  # the best camera that is somewhere else, where one was tried
    cost: float  # 1 - correlation of photo and render over the object, [0, 2]


def locate(
    bank: Bank,
    photo: Float[np.ndarray, "h w 3"] | Float[np.ndarray, "h w 4"],
    K: Float[np.ndarray, "3 3"],
    *,
    mask: Float[np.ndarray, "h w"] | None = None,
    least: int = LEAST_INLIERS,
) -> Located | None:
    """Find the camera of a photo, RGB or straight RGBA in [0, 1], with no start. None where none is found.

    The object's mask is the photo's alpha or `mask`; without one, anything may stand behind the object. Where fewer
    than `least` matches agree and the mask is known, cameras whose render has the photo's silhouette are tried.
    """
    prepared = prepare(photo, K, mask, max(bank.cameras.width, bank.cameras.height))
    if not np.isfinite(prepared.picture).all():
        return None
    answers: list[Answer] = []
    for upsample in (1, 2):
        features = photo_features(prepared, upsample)
        starts = feature_starts(bank if upsample == 1 else bank.enlarged, prepared, features)
        if answers:
            starts.insert(0, answers[0].viewmat)
        _follow(bank, prepared, features, starts, upsample, least, answers)
        if answers and answers[0].inliers >= CONFIDENT:
            return _best(answers)
    if not answers and prepared.mask is not None:
        starts = descended_starts(bank, prepared)
        _follow(bank, prepared, features, starts, 2, least, answers)
        if not answers:
            answers = [answer for start in starts if (answer := fitting_answer(bank, prepared, start)) is not None]
            answers.sort(key=lambda answer: answer.cost)
    return _best(answers)


def feature_starts(bank: Bank, photo: Prepared, features: Features) -> list[Float[np.ndarray, "4 4"]]:
    """Cameras by PnP on the matches with single views of the bank, at least 10 degrees apart, best first."""
    groups = match_groups(features, bank.descriptors, bank.starts, ratio=RATIO)
    order = np.argsort([-len(group) for group in groups], kind="stable")[:CANDIDATES]
    solutions = []
    for i in order:
        pairs = groups[i]
        solution = _solve(
            photo, bank.points[bank.starts[i] + pairs[:, 1]], features.pixels[pairs[:, 0]], THRESHOLD, FEW
        )
        if solution is not None:
            solutions.append(solution)
    solutions.sort(key=lambda solution: -solution.count)
    return _apart([solution.viewmat for solution in solutions])[:STARTS]


def rematch(
    bank: Bank,
    photo: Prepared,
    features: Features,
    viewmat: Float[np.ndarray, "4 4"],
    radius: float,
    upsample: int,
    least: int,
) -> tuple[Solution | None, Float[np.ndarray, " m"]]:
    """PnP on the photo's matches with a render from `viewmat`, and the inliers' residuals in pixels of the photo.

    The render stands before the photo itself, so that what lies behind the object looks alike in both.
    """
    height, width = photo.picture.shape[:2]
    camera = Cameras(viewmat[None], photo.K[None], width, height)
    sight = look(bank.gaussians, camera)
    behind = photo.picture if photo.mask is None else BACKGROUND
    rendered = detect(sight.over(behind), region=sight.solid, upsample=upsample)
    points = lift(rendered.pixels, sight, camera)
    pairs = match(features, rendered, ratio=GUIDED_RATIO, radius=radius * max(width, height))
    points, pixels = points[pairs[:, 1]], features.pixels[pairs[:, 0]]
    solution = _solve(photo, points, pixels, FINE_THRESHOLD, least)
    if solution is None:
        return None, np.zeros(0)
    errors = reprojection_errors(solution.viewmat, points, pixels, photo.K)[solution.inliers]
    return solution, errors / photo.stretch.mean()


def correlation_cost(photo: Prepared, sight: Sight) -> float:
    """1 - correlation of photo and render where the render is solid, less its rim, each channel about its own mean.

    Exposure and tint do not count. Infinite where fewer than 1 pixel in 2000 counts.
    """
    inside = binary_erosion(sight.solid, iterations=2)
    if inside.sum() < inside.size / 2000:
        return float("inf")
    first, second = photo.picture[inside], np.asarray(sight.image[inside])
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return 1.0 - float((first * second).sum()) / norm if norm > 0 else float("inf")


def angle_between(first: Float[np.ndarray, "4 4"], second: Float[np.ndarray, "4 4"]) -> float:
    """Degrees between the axes of two cameras."""
    cosine = (np.trace(first[:3, :3] @ second[:3, :3].T) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def photo_features(photo: Prepared, upsample: int) -> Features:
    """The features of the object, or of the whole photo where nobody knows where the object is."""
    region = None if photo.mask is None else photo.mask > 0.5
    return detect(photo.picture, region=region, upsample=upsample)


def descended_starts(bank: Bank, photo: Prepared) -> list[Float[np.ndarray, "4 4"]]:
    """Cameras that show the photo's silhouette, each led downhill on small pictures, the best two on larger ones."""
    if photo.mask is None:
        return []
    rgba = np.concatenate([photo.picture, photo.mask[..., None]], axis=-1)
    reached: list[Float[np.ndarray, "4 4"]] = list(
        silhouette_starts(bank.silhouettes, photo.picture, photo.mask, photo.K, count=CANDIDATES)
    )
    for level, kept in zip(LEVELS, KEPT, strict=True):
        target = make_target(rgba, side=level.side)
        descended = [_descend(bank, photo, start, target, level) for start in reached]
        present = [viewmat for viewmat in descended if viewmat is not None]
        costs = [_difference(photo, _look(bank, photo, viewmat)) for viewmat in present]
        reached = _apart([present[i] for i in np.argsort(costs, kind="stable")])[:kept]
    return reached


def fitting_answer(bank: Bank, photo: Prepared, viewmat: Float[np.ndarray, "4 4"]) -> Answer | None:
    """A camera without matches is an answer only where its render fills the photo's mask and looks like the photo."""
    sight = _look(bank, photo, viewmat)
    if photo.mask is None:
        return None
    overlap = float(np.minimum(sight.alpha, photo.mask).sum() / max(np.maximum(sight.alpha, photo.mask).sum(), 1.0))
    cost = correlation_cost(photo, sight)
    return Answer(viewmat, 0, np.zeros(0), cost) if overlap >= OVERLAP and cost <= ALIKE else None


def _follow(
    bank: Bank,
    photo: Prepared,
    features: Features,
    starts: list[Float[np.ndarray, "4 4"]],
    upsample: int,
    least: int,
    answers: list[Answer],
) -> None:
    """Add what the starts lead to until one is beyond doubt, and leave the answers sorted, best first."""
    for start in starts:
        answer = _followed(bank, photo, features, start, upsample, least)
        if answer is not None:
            answers.append(answer)
            answers.sort(key=lambda one: -one.inliers)
            if answers[0].inliers >= CONFIDENT:
                return


def _followed(
    bank: Bank, photo: Prepared, features: Features, start: Float[np.ndarray, "4 4"], upsample: int, least: int
) -> Answer | None:
    """The answer that rendering and matching again leads to from a start; None where too few matches agree."""
    viewmat, solution, residuals = start, None, np.zeros(0)
    for i, radius in enumerate(RADII):
        needed = FEW if i == 0 else least
        solution, residuals = rematch(bank, photo, features, viewmat, radius, upsample, needed)
        if solution is None:
            return None
        viewmat = solution.viewmat
    count = 0 if solution is None else solution.count
    cost = correlation_cost(photo, _look(bank, photo, viewmat))
    if cost > (ALIKE if count < 2 * least else UNLIKE):
        return None
    return Answer(viewmat, count, residuals, cost)


def _descend(
    bank: Bank, photo: Prepared, start: Float[np.ndarray, "4 4"], target: Target, level: Level
) -> Float[np.ndarray, "4 4"] | None:
    height, width = photo.picture.shape[:2]
    pivot = find_pivot(bank.gaussians, start, photo.K, width, height)
    if pivot is None:
        return None
    found = levenberg(bank.gaussians, target, Camera(start, photo.K), pivot, level)
    return None if found is None else found.camera.viewmat


def _difference(photo: Prepared, sight: Sight) -> float:
    """Mean squared difference of the photo and the render before the same background, and of mask and alpha."""
    return float(((sight.over(BACKGROUND) - photo.picture) ** 2).mean() + ((sight.alpha - photo.mask) ** 2).mean())


def _apart(viewmats: list[Float[np.ndarray, "4 4"]]) -> list[Float[np.ndarray, "4 4"]]:
    """Those that are at least 10 degrees from every one kept before."""
    chosen: list[Float[np.ndarray, "4 4"]] = []
    for viewmat in viewmats:
        if all(angle_between(viewmat, other) > APART for other in chosen):
            chosen.append(viewmat)
    return chosen


def _look(bank: Bank, photo: Prepared, viewmat: Float[np.ndarray, "4 4"]) -> Sight:
    height, width = photo.picture.shape[:2]
    return look(bank.gaussians, Cameras(viewmat[None], photo.K[None], width, height))


def _best(answers: list[Answer]) -> Located | None:
    if not answers:
        return None
    best = answers[0]
    others = [one for one in answers[1:] if angle_between(one.viewmat, best.viewmat) > APART]
    return Located(best.viewmat, best.inliers, best.residuals, others[0] if others else None, best.cost)


def _solve(
    photo: Prepared, points: Float[np.ndarray, "m 3"], pixels: Float[np.ndarray, "m 2"], threshold: float, least: int
) -> Solution | None:
    height, width = photo.picture.shape[:2]
    return solve_pnp(points, pixels, photo.K, threshold=threshold * max(width, height), least=least)
