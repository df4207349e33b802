"""3D consistency by registration: matched keypoints of neighboring views against the given cameras, without weights."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.geometry.ransac import relative_pose
from gatlas.images.resize import resize_views
from gatlas.metrics.consistency import (
    agreement,
    axis_angles,
    chance_of_as_many,
    fundamental_matrix,
    nearest_views,
    sampson_distances,
    three_view_errors,
)
from gatlas.pose.features import Features, detect, match
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.types import Views

LARGEST = 512  # pixels of a picture's longer side: larger ones are reduced
WORKING = 256  # pixels that smaller pictures are enlarged to, by a whole factor, to find keypoints in them
KEYPOINTS = 500  # of a view, those of highest contrast
RATIO = 0.8  # of Lowe's test
NEIGHBORS = 4  # views that a view is matched with, those within NEAR degrees between the axes
NEAR = 35.0
FARTHEST = 60.0  # degrees to the two nearest where NEAR has fewer
SPARSE = 30.0  # degrees to the nearest view from which on SIFT loses many matches
SMALL = 64  # pixels below which keypoints are few
TIGHT = 0.01  # of the picture's longer side: residual of a match that agrees
CERTAIN = 1e-3  # probability of as many agreeing matches by chance, below which a view is registered
CHANCE_KEYPOINTS = 40  # of a view, all pairs of which with those of another one are what chance gives
STILL = 0.005  # of the picture's longer side: a match that moved less did not move
FROZEN = 0.8  # of the matches of two pictures that did not move: the pictures do not follow their cameras
TURNED = 5.0  # degrees between the axes, from which on they would have to
NONE = np.zeros(0)  # no residuals
POSE_MATCHES = 5  # that determine the motion between two cameras


class EpipolarScore(NamedTuple):
    """Agreement of the matches of each view with the given cameras."""

    score: float  # mean over the views, [0, 1]
    registered: float  # share of views whose matches some camera explains beyond chance
    at_pose: float  # share of views whose given camera does
    matches: float  # per view, mean
    views: tuple[ViewScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the figures for a report."""
        return {**self._asdict(), "views": [view._asdict() for view in self.views]}


class ViewScore(NamedTuple):
    """Agreement of one view's matches with its neighbors."""

    view: int
    score: float  # [0, 1]; 0 where the view is not registered
    registered: bool
    at_pose: bool  # by its given camera
    turned: float | None  # degrees between the given camera and the one that explains its matches; None: there is none
    keypoints: int
    matches: int
    frozen: int  # neighbors whose picture is the same although their cameras differ


class _Matches(NamedTuple):
    """Matches of a view with its neighbors."""

    neighbor: Int[np.ndarray, " m"]  # index of the other view
    keypoint: Int[np.ndarray, " m"]  # in the view
    pixels: Float[np.ndarray, "m 2"]  # in the view
    others: Float[np.ndarray, "m 2"]  # in the other view
    residuals: Float[np.ndarray, " m"]  # shares of the longer side, from the given cameras
    chance: dict[int, Float[np.ndarray, " _"]]  # by neighbor: residuals of any pairs of its and the view's keypoints
    frozen: int  # neighbors whose matches were left out as the pictures are the same


def score_epipolar(views: Views, *, report: Report = ignore) -> EpipolarScore:
    """Return the agreement of RGB views with their cameras.

    Views without another one within FARTHEST degrees are left out, which is reported; where no two are near enough, or
    all cameras stand at one place, it is a GatlasError.
    """
    reduced: Any = resize_views(views, LARGEST)  # views of one size stay so
    cameras: Cameras = reduced.cameras
    neighbors = _neighbors(cameras)
    measured = [i for i, near in enumerate(neighbors) if len(near)]
    _check_spacing(cameras, neighbors, len(measured), report)
    factor = max(1, WORKING // max(cameras.width, cameras.height))
    features = [detect(image, upsample=factor, limit=KEYPOINTS) for image in reduced.images]
    found = tuple(_score_view(i, neighbors[i], features, cameras) for i in measured)
    mean = {name: float(np.mean([getattr(view, name) for view in found])) for name in EpipolarScore._fields[:4]}
    frozen = sum(view.frozen >= len(neighbors[view.view]) / 2 for view in found)
    if frozen:
        report(
            f"{frozen} of {len(found)} views are the same picture as their neighbors: that is no evidence, and counts 0"
        )
    if mean["registered"] < 0.5 and max(cameras.width, cameras.height) < SMALL:
        report(f"the pictures are small ({cameras.width} x {cameras.height}): few keypoints, a low score says little")
    return EpipolarScore(**mean, views=found)


def _neighbors(cameras: Cameras) -> list[Int[np.ndarray, " _"]]:
    viewmats = np.asarray(cameras.viewmats, dtype=np.float64)
    near = nearest_views(viewmats, NEIGHBORS, farthest=NEAR)
    far = nearest_views(viewmats, 2, farthest=FARTHEST)
    return [one if len(one) >= 2 else other for one, other in zip(near, far, strict=True)]


def _check_spacing(cameras: Cameras, neighbors: list[Int[np.ndarray, " _"]], measured: int, report: Report) -> None:
    if not measured:
        raise GatlasError(
            f"no two views stand apart with less than {FARTHEST:g} degrees between their axes, so none can be matched: "
            "use --measure field"
        )
    if measured < len(cameras):
        report(
            f"{len(cameras) - measured} of {len(cameras)} views have no other one within {FARTHEST:g} degrees and are "
            "left out of epipolar"
        )
    near = [(i, int(each[0])) for i, each in enumerate(neighbors) if len(each)]
    first, second = (cameras.viewmats[[pair[side] for pair in near]] for side in (0, 1))
    apart = float(np.median(axis_angles(first, second)))
    if apart > SPARSE:
        report(f"neighboring views are {apart:.0f} degrees apart: SIFT matches few keypoints, epipolar is low for them")


def _score_view(index: int, neighbors: Int[np.ndarray, " _"], features: list[Features], cameras: Cameras) -> ViewScore:
    """Return the mean agreement with the neighbors; one with which nothing matches counts as chance."""
    found = _match_view(index, neighbors, features, cameras)
    keypoints, count = len(features[index].pixels), len(found.residuals)
    at_pose = _is_at_pose(found)
    registered, turned = at_pose, 0.0 if at_pose else None
    if not at_pose:
        viewmat = _register(index, found, cameras)
        if viewmat is not None:
            registered, turned = True, float(axis_angles(viewmat[None], cameras.viewmats[index][None])[0])
    agreed = [agreement(found.residuals[found.neighbor == j], found.chance.get(int(j), NONE)) for j in neighbors]
    score = max(0.0, float(np.mean(agreed))) if registered else 0.0
    return ViewScore(index, score, registered, at_pose, turned, keypoints, count, found.frozen)


def _is_at_pose(found: _Matches) -> bool:
    """Return True where the matches with one neighbor, or with all, agree with the given camera beyond chance."""
    if not found.chance:
        return False
    if _is_certain(found.residuals, np.concatenate(list(found.chance.values()))):
        return True
    pairs = ((found.residuals[found.neighbor == j], chance) for j, chance in found.chance.items())
    return any(_is_certain(residuals, chance, tries=len(found.chance)) for residuals, chance in pairs)


def _is_certain(
    residuals: Float[np.ndarray, " m"], chance: Float[np.ndarray, " c"], *, tries: int = 1, spent: int = 0
) -> bool:
    """Return True where so many matches agree that chance does not explain it, in as many tries.

    A camera that was made of `spent` of the matches themselves was the best of as many tries as there are choices of
    these, and agrees with them anyway (Moisan & Stival 2004, number of false alarms).
    """
    hits, trials = int((residuals < TIGHT).sum()), len(residuals)
    if hits <= spent or len(chance) == 0:
        return False
    alarms = tries * comb(trials, spent)
    return alarms * chance_of_as_many(hits - spent, trials - spent, float((chance < TIGHT).mean())) < CERTAIN


def _match_view(index: int, neighbors: Int[np.ndarray, " _"], features: list[Features], cameras: Cameras) -> _Matches:
    side, own = max(cameras.width, cameras.height), features[index]
    parts: list[list[np.ndarray]] = [[np.zeros(0, dtype=np.int64)] * 2 + [np.zeros((0, 2))] * 2 + [NONE]]
    chance, frozen = {}, 0
    for j in map(int, neighbors):
        other = features[j]
        pairs = match(own, other, ratio=RATIO)
        if len(pairs) == 0:
            continue
        first, second = own.pixels[pairs[:, 0]], other.pixels[pairs[:, 1]]
        if _are_frozen(first, second, cameras[[index, j]]):
            frozen += 1
            continue
        F = fundamental_matrix(cameras, index, j)
        parts.append([np.full(len(pairs), j), pairs[:, 0], first, second, sampson_distances(F, first, second) / side])
        chance[j] = sampson_distances(F, *_any_pairs(own.pixels, other.pixels)) / side
    neighbor, keypoint, first, second, residuals = (np.concatenate(each) for each in zip(*parts, strict=True))
    found = _Matches(neighbor, keypoint, first, second, residuals, chance, frozen)
    return found._replace(residuals=np.maximum(found.residuals, _three_view_residuals(index, found, cameras) / side))


def _are_frozen(first: Float[np.ndarray, "m 2"], second: Float[np.ndarray, "m 2"], cameras: Cameras) -> bool:
    """Return True where matches stay in place though the cameras differ: they do not tell anything of a 3D object.

    A picture that is the same from everywhere agrees with the epipolar geometry of an orbit about as well as a turned
    vessel does, whose outline stays the same.
    """
    if axis_angles(cameras.viewmats[:1], cameras.viewmats[1:])[0] < TURNED:
        return False
    moved = np.linalg.norm(first - second, axis=1) / max(cameras.width, cameras.height)
    return bool((moved < STILL).mean() >= FROZEN)


def _any_pairs(
    first: Float[np.ndarray, "a 2"], second: Float[np.ndarray, "b 2"]
) -> tuple[Float[np.ndarray, "p 2"], Float[np.ndarray, "p 2"]]:
    """Return every pair of some of the pixels, evenly taken."""
    some = [each[:: -(-len(each) // CHANCE_KEYPOINTS)] for each in (first, second)]
    return np.repeat(some[0], len(some[1]), axis=0), np.tile(some[1], (len(some[0]), 1))


def _three_view_residuals(index: int, found: _Matches, cameras: Cameras) -> Float[np.ndarray, " m"]:
    """Return for each match the median RMS error, in pixels, of its keypoint's triangulations with a third view.

    0 for a keypoint that no third view shows. Two views alone leave a point free along the epipolar line.
    """
    of_keypoint: dict[int, list[int]] = defaultdict(list)
    for number, keypoint in enumerate(found.keypoint):
        of_keypoint[int(keypoint)].append(number)
    triples: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for numbers in of_keypoint.values():
        for pair in combinations(numbers, 2):
            triples[int(found.neighbor[pair[0]]), int(found.neighbor[pair[1]])].append(pair)
    errors: list[list[float]] = [[] for _ in found.keypoint]
    for (second, third), pairs in triples.items():
        first, last = np.array(pairs).T
        pixels = np.stack([found.pixels[first], found.others[first], found.others[last]])
        for pair, error in zip(pairs, three_view_errors(cameras, (index, second, third), pixels), strict=True):
            for number in pair:
                errors[number].append(float(error))
    largest = 2.0 * max(cameras.width, cameras.height)  # of a point behind a camera: medians of infinities are NaN
    return np.array([float(np.median(np.minimum(each, largest))) if each else 0.0 for each in errors])


def _register(index: int, found: _Matches, cameras: Cameras) -> Float[np.ndarray, "4 4"] | None:
    """Return the camera, up to the length of its motion, that explains the matches with one neighbor, or None.

    Relative pose in RANSAC (`gatlas.geometry.ransac`); of several neighbors the one with most agreeing matches.
    """
    best: tuple[int, Float[np.ndarray, "4 4"]] | None = None
    for j in np.unique(found.neighbor):
        pair = found.neighbor == j
        motion = _relative_pose(found.others[pair], found.pixels[pair], cameras, int(j), index)
        if motion is None:
            continue
        viewmat = motion @ np.asarray(cameras.viewmats[j], dtype=np.float64)
        both = Cameras(np.stack([cameras.viewmats[j], viewmat]), cameras.Ks[[j, index]], cameras.width, cameras.height)
        distances = sampson_distances(fundamental_matrix(both, 0, 1), found.others[pair], found.pixels[pair])
        residuals = distances / max(cameras.width, cameras.height)
        hits = int((residuals < TIGHT).sum())
        if _is_certain(residuals, found.chance[int(j)], tries=len(found.chance), spent=POSE_MATCHES) and (
            best is None or hits > best[0]
        ):
            best = hits, viewmat
    return None if best is None else best[1]


def _relative_pose(
    first: Float[np.ndarray, "m 2"], second: Float[np.ndarray, "m 2"], cameras: Cameras, i: int, j: int
) -> Float[np.ndarray, "4 4"] | None:
    """Return the motion from camera i to camera j, its translation of length 1; None of too few matches."""
    if len(first) <= POSE_MATCHES:
        return None
    threshold = TIGHT * max(cameras.width, cameras.height)
    return relative_pose(first, second, cameras.Ks[[i, j]], threshold=threshold, iterations=1000)
