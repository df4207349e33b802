"""The camera of a photo in a scene, found from nothing: render, match, solve, and render again at the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import binary_erosion

from gatlas.images.composite import over
from gatlas.images.gray import is_gray
from gatlas.pose.bank import BACKGROUND, Bank, Sight, lift, look
from gatlas.pose.compare import Camera, Target, make_target
from gatlas.pose.features import Features, detect, match, match_groups
from gatlas.pose.levenberg import Level, levenberg
from gatlas.pose.motion import find_pivot, turn_between
from gatlas.pose.prepare import Prepared, prepare
from gatlas.pose.results import NotFound
from gatlas.pose.silhouette import silhouette_starts
from gatlas.pose.solve import LEAST_INLIERS, Solution, reprojection_errors, solve_pnp
from gatlas.raster import rasterize
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float, Int

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
VIEWS = 4  # of the bank, that may be followed for a runner-up, up to one that does not lead back to the best answer
AWAY = 30.0  # degrees from it: nearer views mostly lead back
# How near a runner-up comes to the best answer where a photo is ambiguous. Measured on 43 photos of two bodies that
# repeat after half a turn, 37 of whose twins were found: at least 0.70 of the inliers, costs at most 0.046 higher. On
# 120 of a knight, a helmet, a toy, a fox, a rocket, a temple and a dinosaur: at most 0.70, at least 0.127 higher.
ALIKE_INLIERS = 0.6
ALIKE_COST = 0.08


class Answer(NamedTuple):
    """A camera and how it stands with the photo."""

    viewmat: Float[np.ndarray, "4 4"]
    inliers: int  # 0 where the silhouette found it
    points: Float[np.ndarray, "m 3"]  # the inliers, world units
    pixels: Float[np.ndarray, "m 2"]  # and where the photo, as it was given, shows them
    residuals: Float[np.ndarray, " m"]  # their reprojection errors, pixels of the photo
    cost: float  # 1 - correlation of photo and render, [0, 2]; infinite where too little of the object is in view


class Trial(NamedTuple):
    """Where a start led to."""

    answer: Answer  # the last one on the way; its cost is infinite where the way did not end
    finished: bool  # enough matches agreed all the way, or none were asked for
    stands: bool  # it is believed


class Search(NamedTuple):
    """One photo, looked for in one scene with one set of features."""

    bank: Bank
    photo: Prepared
    features: Features
    views: Bank  # with features as enlarged as the photo's
    groups: list[Int[np.ndarray, "m 2"]]  # matches with each of the views: which feature, which of the view's
    upsample: int
    least: int  # matches that must agree


@dataclass(frozen=True, eq=False)
class Located:
    """The camera that took a photo."""

    viewmat: Float[np.ndarray, "4 4"]  # world -> camera, OpenCV
    inliers: int  # matches that agree; 0 where the silhouette found the camera
    points: Float[np.ndarray, "m 3"]  # of the matches that agree, world units
    pixels: Float[np.ndarray, "m 2"]  # where the photo, as it was given, shows them
    residuals: Float[np.ndarray, " m"]  # their reprojection errors, pixels of the photo
    cost: float  # 1 - correlation of photo and render over the object, [0, 2]
    runner_up: Answer | None  # the best camera that is 10 degrees or more away, where one could be scored
    ambiguous: bool  # the runner-up stands nearly as well with the photo


def locate(
    bank: Bank,
    photo: Float[np.ndarray, "h w 3"] | Float[np.ndarray, "h w 4"],
    K: Float[np.ndarray, "3 3"],
    *,
    mask: Float[np.ndarray, "h w"] | None = None,
    least: int = LEAST_INLIERS,
) -> Located | NotFound:
    """Find the camera of a photo, RGB or straight RGBA in [0, 1], with no start; or say why there is none.

    The object's mask is the photo's alpha or `mask`; without one, anything may stand behind the object. Where fewer
    than `least` matches agree and the mask is known, cameras whose render has the photo's silhouette are tried.
    """
    prepared = prepare(photo, K, mask, max(bank.cameras.width, bank.cameras.height))
    if not np.isfinite(prepared.picture).all():
        return NotFound("the photo has values that are NaN or infinite")
    if is_gray(prepared.picture):
        bank = bank.gray
    tried: list[Trial] = []
    answers: list[Answer] = []
    for upsample in (1, 2):
        search = make_search(bank, prepared, upsample, least)
        again = [answers[0].viewmat] if answers else []
        now = _follow(search, again + feature_starts(search))
        tried = tried + now
        answers = _standing(tried)
        if answers and answers[0].inliers >= CONFIDENT:
            return _located(search, answers[0], now)
    if answers:
        return _located(search, answers[0], tried)
    if prepared.mask is None:
        return _not_found(tried, least, "")
    starts = descended_starts(bank, prepared)
    now = _follow(search, starts)
    answers = _standing(now)
    if not answers:
        now = [silhouette_trial(bank, prepared, prepared.mask, start) for start in starts]
        answers = _standing(now)
    return _located(search, answers[0], now) if answers else _not_found(tried, least, ", nor its silhouette")


def feature_starts(search: Search) -> list[Float[np.ndarray, "4 4"]]:
    """Cameras by PnP on the matches with single views of the bank, at least 10 degrees apart, best first."""
    return _pnp_starts(search, search.groups)[:STARTS]


def other_starts(search: Search, best: Answer) -> list[Float[np.ndarray, "4 4"]]:
    """Cameras elsewhere than the best answer, by the matches that it leaves unexplained.

    One by PnP, if there is one, then the views of the bank with most of them.
    """
    photo, views = search.photo, search.views
    threshold = THRESHOLD * max(photo.picture.shape[:2])
    groups = []
    for start, pairs in zip(views.starts, search.groups, strict=False):
        points, pixels = views.points[start + pairs[:, 1]], search.features.pixels[pairs[:, 0]]
        groups.append(pairs[reprojection_errors(best.viewmat, points, pixels, photo.K) > threshold])
    starts = [start for start in _pnp_starts(search, groups) if _elsewhere(start, best)]
    order = np.argsort([-len(group) for group in groups], kind="stable")
    cameras = [np.asarray(views.cameras.viewmats[i], dtype=np.float64) for i in order]
    away = [camera for camera in cameras if turn_between(camera, best.viewmat) > AWAY]
    return starts[:1] + away[:VIEWS]


def _pnp_starts(search: Search, groups: list[Int[np.ndarray, "m 2"]]) -> list[Float[np.ndarray, "4 4"]]:
    views = search.views
    order = np.argsort([-len(group) for group in groups], kind="stable")[:CANDIDATES]
    solutions = []
    for i in order:
        pairs = groups[i]
        points, pixels = views.points[views.starts[i] + pairs[:, 1]], search.features.pixels[pairs[:, 0]]
        solution = _solve(search.photo, points, pixels, THRESHOLD, FEW)
        if solution is not None:
            solutions.append(solution)
    solutions.sort(key=lambda solution: -solution.count)
    return _apart([solution.viewmat for solution in solutions])


def rematch(search: Search, viewmat: Float[np.ndarray, "4 4"], radius: float, least: int) -> Answer | None:
    """PnP on the photo's matches with a render from `viewmat`; None where fewer than `least` agree.

    The render stands before the photo itself, so that what lies behind the object looks alike in both.
    """
    photo = search.photo
    height, width = photo.picture.shape[:2]
    camera = _camera_of(photo, viewmat)
    sight = look(search.bank.gaussians, camera)
    behind = photo.picture if photo.mask is None else BACKGROUND
    rendered = detect(sight.over(behind), region=sight.solid, upsample=search.upsample)
    points = lift(rendered.pixels, sight, camera)
    pairs = match(search.features, rendered, ratio=GUIDED_RATIO, radius=radius * max(width, height))
    points, pixels = points[pairs[:, 1]], search.features.pixels[pairs[:, 0]]
    solution = _solve(photo, points, pixels, FINE_THRESHOLD, least)
    if solution is None:
        return None
    points, pixels = points[solution.inliers], pixels[solution.inliers]
    residuals = reprojection_errors(solution.viewmat, points, pixels, photo.K) / photo.stretch.mean()
    return Answer(solution.viewmat, solution.count, points, pixels / photo.stretch, residuals, float("inf"))


def correlation_cost(photo: Prepared, sight: Sight) -> float:
    """1 - correlation of photo and render where the render is solid, less its rim, each channel about its own mean.

    Exposure and tint do not count. Infinite where fewer than 1 pixel in 2000 counts. A mask that is only guessed may
    miss parts of the object, so the photo is compared as it is as well, and what is more alike counts.
    """
    inside = binary_erosion(sight.solid, iterations=2)
    if inside.sum() < inside.size / 2000:
        return float("inf")
    render = np.asarray(sight.image[inside])
    pictures = [photo.picture] if photo.uncut is None else [photo.picture, photo.uncut]
    return min(_decorrelation(picture[inside], render) for picture in pictures)


def _decorrelation(first: Float[np.ndarray, "p 3"], second: Float[np.ndarray, "p 3"]) -> float:
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return 1.0 - float((first * second).sum()) / norm if norm > 0 else float("inf")


def make_search(bank: Bank, photo: Prepared, upsample: int, least: int) -> Search:
    """The features of the object, or of the whole photo where nobody knows where the object is, and their matches."""
    region = None if photo.mask is None else photo.mask > 0.5
    features = detect(photo.picture, region=region, upsample=upsample)
    views = bank if upsample == 1 else bank.enlarged
    groups = match_groups(features, views.descriptors, views.starts, ratio=RATIO)
    return Search(bank, photo, features, views, groups, upsample, least)


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
        costs = [_difference(bank, photo, viewmat) for viewmat in present]
        reached = _apart([present[i] for i in np.argsort(costs, kind="stable")])[:kept]
    return reached


def silhouette_trial(
    bank: Bank, photo: Prepared, mask: Float[np.ndarray, "h w"], viewmat: Float[np.ndarray, "4 4"]
) -> Trial:
    """A camera without matches stands only where its render fills the photo's mask and looks like the photo."""
    sight = _look(bank, photo, viewmat)
    overlap = float(np.minimum(sight.alpha, mask).sum() / max(np.maximum(sight.alpha, mask).sum(), 1.0))
    cost = correlation_cost(photo, sight)
    return Trial(_unmatched(viewmat, cost), True, overlap >= OVERLAP and cost <= ALIKE)


def _follow(search: Search, starts: list[Float[np.ndarray, "4 4"]]) -> list[Trial]:
    """What the starts lead to, up to one that is beyond doubt."""
    trials = []
    for start in starts:
        trials.append(_followed(search, start))
        if trials[-1].stands and trials[-1].answer.inliers >= CONFIDENT:
            break
    return trials


def _followed(search: Search, start: Float[np.ndarray, "4 4"]) -> Trial:
    """Where rendering and matching again leads to from a start, as far as enough matches agree."""
    reached = _unmatched(start, float("inf"))
    for i, radius in enumerate(RADII):
        answer = rematch(search, reached.viewmat, radius, FEW if i == 0 else search.least)
        if answer is None:
            return Trial(reached, False, False)
        reached = answer
    scored = _scored(search, reached)
    return Trial(scored, True, scored.cost <= _tolerance(scored.inliers, search.least))


def _tolerance(inliers: int, least: int) -> float:
    """The cost up to which so many matches are believed."""
    return ALIKE if inliers < 2 * least else UNLIKE


def _scored(search: Search, answer: Answer) -> Answer:
    sight = _look(search.bank, search.photo, answer.viewmat)
    return answer._replace(cost=correlation_cost(search.photo, sight))


def _unmatched(viewmat: Float[np.ndarray, "4 4"], cost: float) -> Answer:
    return Answer(viewmat, 0, np.zeros((0, 3)), np.zeros((0, 2)), np.zeros(0), cost)


def _standing(trials: list[Trial]) -> list[Answer]:
    """The answers that are believed: most matches first, and of those of silhouettes the lowest cost."""
    answers = [trial.answer for trial in trials if trial.stands]
    return sorted(answers, key=lambda one: (-one.inliers, one.cost if one.inliers == 0 else 0.0))


def _descend(
    bank: Bank, photo: Prepared, start: Float[np.ndarray, "4 4"], target: Target, level: Level
) -> Float[np.ndarray, "4 4"] | None:
    height, width = photo.picture.shape[:2]
    pivot = find_pivot(bank.gaussians, start, photo.K, width, height)
    if pivot is None:
        return None
    found = levenberg(bank.gaussians, target, Camera(start, photo.K), pivot, level)
    return None if found is None else found.shot.camera.viewmat


def _difference(bank: Bank, photo: Prepared, viewmat: Float[np.ndarray, "4 4"]) -> float:
    """Mean squared difference of the photo and the render before the same background, and of mask and alpha."""
    colors, alphas, _ = (picture[0] for picture in rasterize(bank.gaussians, _camera_of(photo, viewmat)))
    render = np.clip(over(colors, alphas, BACKGROUND), 0.0, 1.0)
    return float(((render - photo.picture) ** 2).mean() + ((alphas[..., 0] - photo.mask) ** 2).mean())


def _apart(viewmats: list[Float[np.ndarray, "4 4"]]) -> list[Float[np.ndarray, "4 4"]]:
    """Those that are at least 10 degrees from every one kept before."""
    chosen: list[Float[np.ndarray, "4 4"]] = []
    for viewmat in viewmats:
        if all(turn_between(viewmat, other) > APART for other in chosen):
            chosen.append(viewmat)
    return chosen


def _look(bank: Bank, photo: Prepared, viewmat: Float[np.ndarray, "4 4"]) -> Sight:
    return look(bank.gaussians, _camera_of(photo, viewmat))


def _camera_of(photo: Prepared, viewmat: Float[np.ndarray, "4 4"]) -> Cameras:
    height, width = photo.picture.shape[:2]
    return Cameras(viewmat[None], photo.K[None], width, height)


def _located(search: Search, best: Answer, trials: list[Trial]) -> Located:
    """The best answer, and the one that comes nearest to it from elsewhere.

    Where no trial stands elsewhere, what the best answer leaves unexplained is followed.
    """
    others = [trial for trial in trials if _elsewhere(trial.answer.viewmat, best)]
    if best.inliers and not any(trial.stands for trial in others):
        for start in other_starts(search, best):
            trial = _followed(search, start)
            if _elsewhere(trial.answer.viewmat, best):
                others.append(trial)
                break
    second = max(others, key=lambda trial: (trial.stands, trial.answer.inliers, -trial.answer.cost), default=None)
    if second is None:
        return Located(*best, None, False)
    runner_up = second.answer if second.finished else _scored(search, second.answer)
    near = runner_up.inliers >= ALIKE_INLIERS * best.inliers and runner_up.cost <= best.cost + ALIKE_COST
    return Located(*best, runner_up, second.stands and near)


def _elsewhere(viewmat: Float[np.ndarray, "4 4"], best: Answer) -> bool:
    return turn_between(viewmat, best.viewmat) > APART


def _not_found(trials: list[Trial], least: int, beside: str) -> NotFound:
    """Matches that agree on a place that looks different, or too few of them."""
    finished = [trial.answer for trial in trials if trial.finished]
    if not finished:
        return NotFound(f"no view of the scene has {least} matches that agree{beside}")
    best = max(finished, key=lambda answer: answer.inliers)
    if not np.isfinite(best.cost):
        return NotFound(f"{best.inliers} matches agree, but too little of the object is in the photo there{beside}")
    return NotFound(
        f"{best.inliers} matches agree, but the scene looks unlike the photo there: "
        f"1 - correlation is {best.cost:.2f}, more than {_tolerance(best.inliers, least):g}"
    )


def _solve(
    photo: Prepared, points: Float[np.ndarray, "m 3"], pixels: Float[np.ndarray, "m 2"], threshold: float, least: int
) -> Solution | None:
    height, width = photo.picture.shape[:2]
    return solve_pnp(points, pixels, photo.K, threshold=threshold * max(width, height), least=least)
