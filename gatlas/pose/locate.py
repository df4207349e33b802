"""Search for a photo's camera without a prior: render, match, solve, then render and match again at the solution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import binary_erosion

from gatlas.images.composite import over
from gatlas.images.gray import is_gray
from gatlas.pose.bank import BACKGROUND, FeatureBank, SceneRender, lift_pixels, render_scene
from gatlas.pose.compare import Camera, Target, make_target
from gatlas.pose.features import Features, detect, match, match_groups
from gatlas.pose.levenberg import PyramidLevel, levenberg_marquardt
from gatlas.pose.motion import find_pivot, rotation_angle
from gatlas.pose.prepare import PreparedPhoto, prepare_photo
from gatlas.pose.results import NotFound
from gatlas.pose.silhouette import silhouette_starts
from gatlas.pose.solve import MIN_INLIERS, PnpSolution, reprojection_errors, solve_pnp
from gatlas.raster import rasterize
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float, Int

START_THRESHOLD = 3 / 256  # of the picture's longer side: largest error of an inlier in the first match ...
REMATCH_THRESHOLD = 2 / 256  # ... and in matches with a render from the estimated camera
START_RATIO = 0.8  # Lowe's ratio in the first match ...
REMATCH_RATIO = 0.85  # ... and in matches with a render from the estimated camera
MAX_CANDIDATES = 8  # views of the bank whose matches are solved, or silhouettes that are followed
MIN_START_INLIERS = 6  # for a start, which matching with a render from it then accepts or not
REMATCH_RADII = (0.12, 0.05, 0.03)  # of the longer side: search radius of the matches in each round
MAX_STARTS = 3
CONFIDENT_INLIERS = 40  # inliers after which no other start and no larger picture is tried
MAX_COST_FEW_INLIERS = 0.06  # accepted with few inliers, or of a silhouette; wrong cameras had 0.077
MAX_COST = 0.5  # accepted with any number of inliers; right cameras of real photos have up to 0.25
MIN_OVERLAP = 0.93  # of the silhouettes of render and photo, intersection over union
SILHOUETTE_LEVELS = (PyramidLevel(64, 10, 1.5), PyramidLevel(128, 6), PyramidLevel(256, 4))
STARTS_KEPT = (2, 2, 2)  # after each of these levels
SAME_CAMERA_ANGLE = 10.0  # degrees: nearer cameras count as the same one
RUNNER_UP_VIEWS = (
    4  # views of the bank that may be followed for a runner-up, until one does not lead to the best camera
)
RUNNER_UP_ANGLE = 30.0  # degrees between these views and the best camera: nearer ones mostly lead to it
# A photo is ambiguous where the runner-up has this share of the best camera's inliers and at most this much more cost.
# Measured on 43 photos of two objects that repeat after half a turn, in 37 of which the other camera was found: at
# least 0.70 of the inliers, costs at most 0.046 higher. On 120 photos of a knight, a helmet, a toy, a fox, a rocket, a
# temple and a dinosaur: at most 0.70, at least 0.127 higher.
AMBIGUOUS_INLIERS = 0.6
AMBIGUOUS_COST = 0.08


class Hypothesis(NamedTuple):
    """A possible camera and its agreement with the photo."""

    viewmat: Float[np.ndarray, "4 4"]  # world -> camera
    inliers: int  # 0 where it is not from matches
    points: Float[np.ndarray, "m 3"]  # of the inliers, world units
    pixels: Float[np.ndarray, "m 2"]  # of the inliers in the full photo
    residuals: Float[np.ndarray, " m"]  # their reprojection errors, pixels of the full photo
    cost: float  # 1 - correlation of photo and render, [0, 2]; infinite where too little of the object is in view


class Trial(NamedTuple):
    """The result of following a start."""

    hypothesis: Hypothesis  # the last one; its cost is infinite where a round failed
    finished: bool  # enough matches agreed in all rounds, or none were needed
    accepted: bool  # its cost is low enough


class MatchedPhoto(NamedTuple):
    """A photo, its features and their matches with the views of a bank."""

    bank: FeatureBank
    photo: PreparedPhoto
    features: Features
    views: FeatureBank  # the bank's features at the same upsampling as the photo's
    groups: list[Int[np.ndarray, "_ 2"]]  # per view, matches: index of a feature, index of the view's feature
    upsample: int
    min_inliers: int


@dataclass(frozen=True, eq=False)
class LocatedPhoto:
    """The camera of a photo, and the best other one."""

    viewmat: Float[np.ndarray, "4 4"]  # world -> camera, OpenCV
    inliers: int  # matches that agree; 0 where the silhouette found the camera
    points: Float[np.ndarray, "m 3"]  # of the inliers, world units
    pixels: Float[np.ndarray, "m 2"]  # of the inliers in the full photo
    residuals: Float[np.ndarray, " m"]  # their reprojection errors, pixels of the full photo
    cost: float  # 1 - correlation of photo and render over the object, [0, 2]
    runner_up: Hypothesis | None  # the best camera 10 degrees or more away, where one could be scored
    ambiguous: bool  # the runner-up fits nearly as well


def locate(
    bank: FeatureBank,
    photo: Float[np.ndarray, "h w 3"] | Float[np.ndarray, "h w 4"],
    K: Float[np.ndarray, "3 3"],
    *,
    mask: Float[np.ndarray, "h w"] | None = None,
    min_inliers: int = MIN_INLIERS,
) -> LocatedPhoto | NotFound:
    """Return the camera of a photo, RGB or straight RGBA in [0, 1], or the reason why none was found.

    The object's mask is the photo's alpha times `mask`; without one, the background may be anything. Where fewer than
    `min_inliers` matches agree and the mask is known, cameras whose render has the photo's silhouette are tried.
    """
    prepared = prepare_photo(photo, K, mask, max(bank.cameras.width, bank.cameras.height))
    if not np.isfinite(prepared.picture).all():
        return NotFound("the photo has values that are NaN or infinite")
    if is_gray(prepared.picture):
        bank = bank.gray
    trials: list[Trial] = []
    accepted: list[Hypothesis] = []
    for upsample in (1, 2):
        matched = match_photo(bank, prepared, upsample, min_inliers)
        first = [accepted[0].viewmat] if accepted else []
        latest = _follow(matched, first + feature_starts(matched))
        trials = trials + latest
        accepted = _accepted(trials)
        if accepted and accepted[0].inliers >= CONFIDENT_INLIERS:
            return _located(matched, accepted[0], latest)
    if accepted:
        return _located(matched, accepted[0], trials)
    if prepared.mask is None:
        return _not_found(trials, min_inliers, "")
    starts = descended_starts(bank, prepared)
    latest = _follow(matched, starts)
    accepted = _accepted(latest)
    if not accepted:
        latest = [silhouette_trial(bank, prepared, prepared.mask, start) for start in starts]
        accepted = _accepted(latest)
    if not accepted:
        return _not_found(trials, min_inliers, ", nor its silhouette")
    return _located(matched, accepted[0], latest)


def feature_starts(matched: MatchedPhoto) -> list[Float[np.ndarray, "4 4"]]:
    """Return cameras by PnP on the matches with single views of the bank, at least 10 degrees apart, best first."""
    return _pnp_starts(matched, matched.groups)[:MAX_STARTS]


def other_starts(matched: MatchedPhoto, best: Hypothesis) -> list[Float[np.ndarray, "4 4"]]:
    """Return cameras elsewhere than the best one, by the matches that do not agree with it.

    The first is by PnP, if there is one; then come the views of the bank with most of these matches.
    """
    photo, views = matched.photo, matched.views
    threshold = START_THRESHOLD * max(photo.picture.shape[:2])
    groups = []
    for start, pairs in zip(views.starts, matched.groups, strict=False):
        points, pixels = views.points[start + pairs[:, 1]], matched.features.pixels[pairs[:, 0]]
        groups.append(pairs[reprojection_errors(best.viewmat, points, pixels, photo.K) > threshold])
    starts = [start for start in _pnp_starts(matched, groups) if _is_elsewhere(start, best)]
    order = np.argsort([-len(group) for group in groups], kind="stable")
    cameras = [np.asarray(views.cameras.viewmats[i], dtype=np.float64) for i in order]
    distant = [camera for camera in cameras if rotation_angle(camera, best.viewmat) > RUNNER_UP_ANGLE]
    return starts[:1] + distant[:RUNNER_UP_VIEWS]


def _pnp_starts(matched: MatchedPhoto, groups: list[Int[np.ndarray, "_ 2"]]) -> list[Float[np.ndarray, "4 4"]]:
    views = matched.views
    order = np.argsort([-len(group) for group in groups], kind="stable")[:MAX_CANDIDATES]
    solutions = []
    for i in order:
        pairs = groups[i]
        points, pixels = views.points[views.starts[i] + pairs[:, 1]], matched.features.pixels[pairs[:, 0]]
        solution = _solve(matched.photo, points, pixels, START_THRESHOLD, MIN_START_INLIERS)
        if solution is not None:
            solutions.append(solution)
    solutions.sort(key=lambda solution: -solution.count)
    return _distinct([solution.viewmat for solution in solutions])


def rematch(
    matched: MatchedPhoto, viewmat: Float[np.ndarray, "4 4"], radius: float, min_inliers: int
) -> Hypothesis | None:
    """Return the camera by PnP on the photo's matches with a render from `viewmat`; None where fewer agree.

    The render is composited over the photo itself, so that the background is the same in both.
    """
    photo = matched.photo
    height, width = photo.picture.shape[:2]
    camera = _camera_of(photo, viewmat)
    render = render_scene(matched.bank.gaussians, camera, matched.bank.max_spread)
    background = photo.picture if photo.mask is None else BACKGROUND
    rendered = detect(render.over(background), region=render.solid, upsample=matched.upsample)
    points = lift_pixels(rendered.pixels, render, camera)
    pairs = match(matched.features, rendered, ratio=REMATCH_RATIO, radius=radius * max(width, height))
    points, pixels = points[pairs[:, 1]], matched.features.pixels[pairs[:, 0]]
    solution = _solve(photo, points, pixels, REMATCH_THRESHOLD, min_inliers)
    if solution is None:
        return None
    points, pixels = points[solution.inliers], pixels[solution.inliers]
    residuals = reprojection_errors(solution.viewmat, points, pixels, photo.K) / photo.stretch.mean()
    return Hypothesis(solution.viewmat, solution.count, points, pixels / photo.stretch, residuals, float("inf"))


def correlation_cost(photo: PreparedPhoto, render: SceneRender) -> float:
    """Return 1 - correlation of photo and render where the render is solid, without its rim.

    Each channel is taken about its own mean, so that exposure and tint have no effect. Infinite where fewer than 1
    pixel in 2000 counts. A mask that is only estimated may miss parts of the object: the photo is compared without it
    as well, and the lower cost is returned.
    """
    inside = binary_erosion(render.solid, iterations=2)
    if inside.sum() < inside.size / 2000:
        return float("inf")
    colors = np.asarray(render.image[inside])
    pictures = [photo.picture] if photo.uncut is None else [photo.picture, photo.uncut]
    return min(_decorrelation(picture[inside], colors) for picture in pictures)


def _decorrelation(first: Float[np.ndarray, "p 3"], second: Float[np.ndarray, "p 3"]) -> float:
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    norm = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return 1.0 - float((first * second).sum()) / norm if norm > 0 else float("inf")


def match_photo(bank: FeatureBank, photo: PreparedPhoto, upsample: int, min_inliers: int) -> MatchedPhoto:
    """Return the features inside the mask, or of the whole photo without one, and their matches with the bank."""
    region = None if photo.mask is None else photo.mask > 0.5
    features = detect(photo.picture, region=region, upsample=upsample)
    views = bank if upsample == 1 else bank.upsampled
    groups = match_groups(features, views.descriptors, views.starts, ratio=START_RATIO)
    return MatchedPhoto(bank, photo, features, views, groups, upsample, min_inliers)


def descended_starts(bank: FeatureBank, photo: PreparedPhoto) -> list[Float[np.ndarray, "4 4"]]:
    """Return cameras with the photo's silhouette, each refined on small pictures, the best two on larger ones."""
    if photo.mask is None:
        return []
    rgba = np.concatenate([photo.picture, photo.mask[..., None]], axis=-1)
    cameras: list[Float[np.ndarray, "4 4"]] = list(
        silhouette_starts(bank.silhouettes, photo.picture, photo.mask, photo.K, count=MAX_CANDIDATES)
    )
    for level, kept in zip(SILHOUETTE_LEVELS, STARTS_KEPT, strict=True):
        target = make_target(rgba, side=level.side)
        descended = [_descend(bank, photo, start, target, level) for start in cameras]
        present = [viewmat for viewmat in descended if viewmat is not None]
        costs = [_difference(bank, photo, viewmat) for viewmat in present]
        cameras = _distinct([present[i] for i in np.argsort(costs, kind="stable")])[:kept]
    return cameras


def silhouette_trial(
    bank: FeatureBank, photo: PreparedPhoto, mask: Float[np.ndarray, "h w"], viewmat: Float[np.ndarray, "4 4"]
) -> Trial:
    """Return a camera without matches, accepted where its render fills the photo's mask and is like the photo."""
    render = _render(bank, photo, viewmat)
    overlap = float(np.minimum(render.alpha, mask).sum() / max(np.maximum(render.alpha, mask).sum(), 1.0))
    cost = correlation_cost(photo, render)
    return Trial(_unmatched(viewmat, cost), True, overlap >= MIN_OVERLAP and cost <= MAX_COST_FEW_INLIERS)


def _follow(matched: MatchedPhoto, starts: list[Float[np.ndarray, "4 4"]]) -> list[Trial]:
    """Return the trials of the starts, up to the first that is accepted with many inliers."""
    trials = []
    for start in starts:
        trials.append(_follow_start(matched, start))
        if trials[-1].accepted and trials[-1].hypothesis.inliers >= CONFIDENT_INLIERS:
            break
    return trials


def _follow_start(matched: MatchedPhoto, start: Float[np.ndarray, "4 4"]) -> Trial:
    """Return the camera after rendering and matching again from a start, as long as enough matches agree."""
    latest = _unmatched(start, float("inf"))
    for i, radius in enumerate(REMATCH_RADII):
        min_inliers = MIN_START_INLIERS if i == 0 else matched.min_inliers
        hypothesis = rematch(matched, latest.viewmat, radius, min_inliers)
        if hypothesis is None:
            return Trial(latest, False, False)
        latest = hypothesis
    scored = _scored(matched, latest)
    return Trial(scored, True, scored.cost <= _max_cost(scored.inliers, matched.min_inliers))


def _max_cost(inliers: int, min_inliers: int) -> float:
    """Return the cost up to which a camera with so many inliers is accepted."""
    return MAX_COST_FEW_INLIERS if inliers < 2 * min_inliers else MAX_COST


def _scored(matched: MatchedPhoto, hypothesis: Hypothesis) -> Hypothesis:
    render = _render(matched.bank, matched.photo, hypothesis.viewmat)
    return hypothesis._replace(cost=correlation_cost(matched.photo, render))


def _unmatched(viewmat: Float[np.ndarray, "4 4"], cost: float) -> Hypothesis:
    return Hypothesis(viewmat, 0, np.zeros((0, 3)), np.zeros((0, 2)), np.zeros(0), cost)


def _accepted(trials: list[Trial]) -> list[Hypothesis]:
    """Return the accepted cameras: most inliers first, and those of silhouettes by their cost."""
    accepted = [trial.hypothesis for trial in trials if trial.accepted]
    return sorted(accepted, key=lambda one: (-one.inliers, one.cost if one.inliers == 0 else 0.0))


def _descend(
    bank: FeatureBank, photo: PreparedPhoto, start: Float[np.ndarray, "4 4"], target: Target, level: PyramidLevel
) -> Float[np.ndarray, "4 4"] | None:
    height, width = photo.picture.shape[:2]
    pivot = find_pivot(bank.gaussians, start, photo.K, width, height)
    if pivot is None:
        return None
    found = levenberg_marquardt(bank.gaussians, target, Camera(start, photo.K), pivot, level)
    return None if found is None else found.comparison.camera.viewmat


def _difference(bank: FeatureBank, photo: PreparedPhoto, viewmat: Float[np.ndarray, "4 4"]) -> float:
    """Return the mean squared difference of photo and render over one background, plus that of mask and alpha."""
    colors, alphas, _ = (picture[0] for picture in rasterize(bank.gaussians, _camera_of(photo, viewmat)))
    render = np.clip(over(colors, alphas, BACKGROUND), 0.0, 1.0)
    return float(((render - photo.picture) ** 2).mean() + ((alphas[..., 0] - photo.mask) ** 2).mean())


def _distinct(viewmats: list[Float[np.ndarray, "4 4"]]) -> list[Float[np.ndarray, "4 4"]]:
    """Return the cameras that are at least 10 degrees from all that come before."""
    chosen: list[Float[np.ndarray, "4 4"]] = []
    for viewmat in viewmats:
        if all(rotation_angle(viewmat, other) > SAME_CAMERA_ANGLE for other in chosen):
            chosen.append(viewmat)
    return chosen


def _render(bank: FeatureBank, photo: PreparedPhoto, viewmat: Float[np.ndarray, "4 4"]) -> SceneRender:
    return render_scene(bank.gaussians, _camera_of(photo, viewmat), bank.max_spread)


def _camera_of(photo: PreparedPhoto, viewmat: Float[np.ndarray, "4 4"]) -> Cameras:
    height, width = photo.picture.shape[:2]
    return Cameras(viewmat[None], photo.K[None], width, height)


def _located(matched: MatchedPhoto, best: Hypothesis, trials: list[Trial]) -> LocatedPhoto:
    """Return the best camera with its runner-up: the best of the trials elsewhere.

    Where none of these is accepted, starts from the matches that do not agree with the best camera are followed.
    """
    others = [trial for trial in trials if _is_elsewhere(trial.hypothesis.viewmat, best)]
    if best.inliers and not any(trial.accepted for trial in others):
        for start in other_starts(matched, best):
            trial = _follow_start(matched, start)
            if _is_elsewhere(trial.hypothesis.viewmat, best):
                others.append(trial)
                break
    second = max(others, key=_rank, default=None)
    if second is None:
        return LocatedPhoto(*best, None, False)
    runner_up = second.hypothesis if second.finished else _scored(matched, second.hypothesis)
    similar = runner_up.inliers >= AMBIGUOUS_INLIERS * best.inliers and runner_up.cost <= best.cost + AMBIGUOUS_COST
    return LocatedPhoto(*best, runner_up, second.accepted and similar)


def _rank(trial: Trial) -> tuple[bool, int, float]:
    return trial.accepted, trial.hypothesis.inliers, -trial.hypothesis.cost


def _is_elsewhere(viewmat: Float[np.ndarray, "4 4"], best: Hypothesis) -> bool:
    return rotation_angle(viewmat, best.viewmat) > SAME_CAMERA_ANGLE


def _not_found(trials: list[Trial], min_inliers: int, silhouette: str) -> NotFound:
    """Return the reason: too few matches agree, or they agree on a camera whose render is unlike the photo."""
    finished = [trial.hypothesis for trial in trials if trial.finished]
    if not finished:
        return NotFound(f"no view of the scene has {min_inliers} matches that agree{silhouette}")
    best = max(finished, key=lambda hypothesis: hypothesis.inliers)
    if not np.isfinite(best.cost):
        return NotFound(f"{best.inliers} matches agree, but too little of the object is in the photo there{silhouette}")
    return NotFound(
        f"{best.inliers} matches agree, but the scene looks unlike the photo there: "
        f"1 - correlation is {best.cost:.2f}, more than {_max_cost(best.inliers, min_inliers):g}"
    )


def _solve(
    photo: PreparedPhoto,
    points: Float[np.ndarray, "m 3"],
    pixels: Float[np.ndarray, "m 2"],
    threshold: float,
    min_inliers: int,
) -> PnpSolution | None:
    height, width = photo.picture.shape[:2]
    return solve_pnp(points, pixels, photo.K, threshold=threshold * max(width, height), min_inliers=min_inliers)
