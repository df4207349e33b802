"""Surfaces from opaque photos with known cameras: plane sweeps, smoothed, and what several photos agree about.

Collins 1996 (plane sweep), Hirschmueller 2008 (semi-global matching). A fit that begins on the surfaces needs few
of the steps of one that begins at random places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.fit.photo_gains import gain_from_points, gain_ratio, solve_gains
from gatlas.fit.projection import project_points
from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.rays import directions_through
from gatlas.images.resize import resize_views

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Int

    from gatlas.types import AnyCameras, AnyViews

COARSE_SIDE, SIDE = 72, 176  # pixels of the longer side of the pictures that are matched
COARSE_PLANES, PLANES = 96, 80
MOST_PHOTOS = 64  # that are matched: more show little more
NEIGHBORS = 4  # photos that each is matched with
BEST = 2  # of them count at each pixel: the others may not see it
PARALLAX, NARROW, WIDE = 10.0, 5.0, 10.0  # degrees between photos that match well, and the spreads below and above
TURNED = 50.0  # degrees between optical axes above which photos are not matched
NEAREST, FARTHEST = 0.1, 50.0  # of the distance to the subject; radii of the unit ball
FLAT = 0.015  # standard deviation of gray that counts as texture; less is drowned by noise
WINDOW = 5  # pixels
LIMIT = 2.0  # of a difference of two normalized grays
UNSEEN = 0.5  # cost where no neighbor shows the place, of at most 1
SMALL_STEP, LARGE_STEP = 0.04, 0.25  # costs of a step of one plane, and of several, between pixels
AGREE = 1.5  # planes between the depths of two photos of one surface
FILLED_EVERY = 3  # rows and columns: pixels that no other photo agrees about
SEEN_THROUGH = 0.34  # views that see something behind a point, per view that finds it
TAIL, MARGIN = 0.005, 1.25  # of the coarse depths, left out as mistakes; and room around the rest


class StereoCloud(NamedTuple):
    """Points on surfaces, in the units of the cameras: pixels that other photos agree with, and some between them."""

    points: Float[np.ndarray, "n 3"]
    rgb: Float[np.ndarray, "n 3"]  # of the photo, over its gain
    normals: Float[np.ndarray, "n 3"]  # unit, towards the photo
    pixels: Float[np.ndarray, " n"]  # size of a matched pixel at the point
    detail: Float[np.ndarray, " n"]  # of the photo there: the magnitude of its Laplacian


class StereoSurfaces(NamedTuple):
    """Surfaces that photos show, and how bright each of the photos is."""

    cloud: StereoCloud
    gains: Float[np.ndarray, "c 3"]  # of the colors of each photo, with mean 1
    subjects: tuple[Bool[np.ndarray, "_ _"] | None, ...]  # pixels of each photo, reduced, that show the unit ball


class _DepthMap(NamedTuple):
    """Inverse depths (z) of one view's pixels, where others agree, and the distance between its planes."""

    inverse: Float32[np.ndarray, "h w"]
    step: float
    agreed: Bool[np.ndarray, "h w"]


def find_surfaces(views: AnyViews, limit: int, rng: np.random.Generator) -> StereoSurfaces:
    """Return points on the surfaces that several photos show, in random order, of which `limit` are looked at.

    Photos may be of unequal exposure: they are matched by their structure, and the places that they agree about give
    the gain of each, which the points' colors are without. Parts of a photo that no other agrees about continue the
    surfaces beside them, with fewer points. The cameras must be in the units of the unit ball. What photos see
    something behind of is left out; without agreement about anything there are no points.
    """
    every = views
    matched = np.arange(len(every))
    if len(views) > MOST_PHOTOS:
        matched = np.unique(np.linspace(0, len(views) - 1, MOST_PHOTOS).astype(int))
        views = views[matched]
    neighbors = matching_views(views.cameras)
    depths = _subject_depths(views.cameras)
    ranges = [(1 / FARTHEST, 1 / (NEAREST * min(depth, FARTHEST / 2))) for depth in depths]
    thumbnails, small = resize_views(views, COARSE_SIDE), resize_views(views, SIDE)
    coarse = _depth_maps(thumbnails, neighbors, ranges, COARSE_PLANES)
    gains = _photo_gains(thumbnails, neighbors, coarse)
    maps = _depth_maps(small, neighbors, _narrowed(ranges, coarse), PLANES, gains)
    gains = _photo_gains(small, neighbors, maps)
    parts = [_points(small, index, found, gains[index]) for index, found in enumerate(maps)]
    cloud = StereoCloud(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    looked_at = rng.permutation(len(cloud.points))[:limit]
    cloud = StereoCloud(*(column[looked_at] for column in cloud))
    kept = _not_seen_through(cloud.points, small.cameras, maps)
    cloud = StereoCloud(*(column[kept] for column in cloud))
    subjects: list[np.ndarray | None] = [None] * len(every)
    for index, found in enumerate(maps):
        distances = np.linalg.norm(_lifted(small.cameras, index, found.inverse), axis=1)
        subjects[matched[index]] = (distances < 1).reshape(found.inverse.shape)
    return StereoSurfaces(cloud, _gains_of_all(gains, matched, cloud, every), tuple(subjects))


def matching_views(cameras: AnyCameras) -> list[list[int]]:
    """For each camera at most NEIGHBORS others that see its subject from about PARALLAX beside it, best first."""
    eyes = camera_centers(cameras.viewmats).astype(np.float64)
    axes = cameras.viewmats[:, 2, :3].astype(np.float64)
    subjects = eyes + _subject_depths(cameras)[:, None] * axes
    chosen = []
    for index, subject in enumerate(subjects):
        rays = subject - eyes
        rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-9)
        angles = np.degrees(np.arccos(np.clip(rays @ rays[index], -1, 1)))
        spread = np.where(angles < PARALLAX, NARROW, WIDE)
        score = np.exp(-((angles - PARALLAX) ** 2) / (2 * spread**2))
        score[(axes @ axes[index] < np.cos(np.radians(TURNED))) | (angles < 0.2)] = 0.0
        score[index] = 0.0
        best = np.argsort(-score, kind="stable")[:NEIGHBORS]
        chosen.append([int(other) for other in best if score[other] > 1e-4])
    return chosen


def _subject_depths(cameras: AnyCameras) -> Float[np.ndarray, " c"]:
    """Depth of the ball's center in each camera, or a radius where it is nearer or behind."""
    return np.maximum(cameras.viewmats[:, 2, 3].astype(np.float64), 1.0)


def _narrowed(ranges: list[tuple[float, float]], coarse: list[_DepthMap]) -> list[tuple[float, float]]:
    narrowed = []
    for (far, near), found in zip(ranges, coarse, strict=True):
        agreed = found.inverse[found.agreed]
        if len(agreed) < 20:
            narrowed.append((far, near))
            continue
        low, high = np.quantile(agreed, [TAIL, 1 - TAIL])
        narrowed.append((max(float(low) / MARGIN, far), min(float(high) * MARGIN, near)))
    return narrowed


def _depth_maps(
    views: AnyViews,
    neighbors: list[list[int]],
    ranges: list[tuple[float, float]],
    planes: int,
    gains: Float[np.ndarray, "c 3"] | None = None,
) -> list[_DepthMap]:
    """The views' depths, matched as they are or, where they are known, without the gains of their exposures."""
    gains = np.ones((len(views), 3), dtype=np.float32) if gains is None else gains.astype(np.float32)
    grays = [
        _normalized_gray(np.asarray(image)[..., :3] / gain) for image, gain in zip(views.images, gains, strict=True)
    ]
    swept = []
    for index, others in enumerate(neighbors):
        inverses = np.linspace(*ranges[index], planes)
        if others:
            costs = _sweep(grays, views.cameras, index, others, inverses)
            best = _subplane(_smoothed(costs))
        else:
            best = np.zeros(grays[index].shape, dtype=np.float32)
        step = float(inverses[1] - inverses[0])
        swept.append(_DepthMap((inverses[0] + step * best).astype(np.float32), step, np.empty(0, dtype=bool)))
    return [
        found._replace(agreed=_agreed(views.cameras, swept, index, neighbors[index]))
        for index, found in enumerate(swept)
    ]


def _normalized_gray(image: Float32[np.ndarray, "h w _"]) -> Float32[np.ndarray, "h w"]:
    """Gray less its local mean, over its local deviation: what two photos of different exposure have in common.

    Only FLAT depends on the exposure.
    """
    import cv2

    gray = np.ascontiguousarray(image[..., :3].mean(axis=-1), dtype=np.float32)
    mean = cv2.blur(gray, (2 * WINDOW - 1, 2 * WINDOW - 1))
    square = cv2.blur(gray * gray, (2 * WINDOW - 1, 2 * WINDOW - 1))
    normalized: np.ndarray = (gray - mean) / np.sqrt(np.maximum(square - mean * mean, 0.0) + FLAT**2)
    return normalized


def _sweep(
    grays: list[Float32[np.ndarray, "_ _"]],
    cameras: AnyCameras,
    index: int,
    others: list[int],
    inverses: Float[np.ndarray, " d"],
) -> Float32[np.ndarray, "d h w"]:
    """Cost in [0, 1] of each plane at each pixel: the mean of the BEST neighbors' differences."""
    import cv2

    own = grays[index]
    height, width = own.shape
    costs = np.empty((len(inverses), height, width), dtype=np.float32)
    layers = np.empty((len(others), height, width), dtype=np.float32)
    ways = [_homography_parts(cameras, index, other) for other in others]
    for plane, inverse in enumerate(inverses):
        for layer, (turn, shift), other in zip(layers, ways, others, strict=True):
            warped = cv2.warpPerspective(
                grays[other],
                turn + inverse * shift,
                (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=float("nan"),
            )
            difference = np.minimum(np.abs(own - warped), LIMIT) / LIMIT
            cv2.blur(np.where(np.isnan(difference), UNSEEN, difference), (WINDOW, WINDOW), dst=layer)
        costs[plane] = np.partition(layers, min(BEST, len(others)) - 1, axis=0)[:BEST].mean(axis=0)
    return costs


def _homography_parts(
    cameras: AnyCameras, index: int, other: int
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 3"]]:
    """(A, B) with A + B / z the map from pixels at depth z of one view to pixels of another (first pixel at 0)."""
    first, second = (cameras.viewmats[i].astype(np.float64) for i in (index, other))
    to_other = second @ np.linalg.inv(first)
    own_K, other_K = (cameras.Ks[i].astype(np.float64) for i in (index, other))
    centered = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    back = np.linalg.inv(centered @ own_K)
    forth = centered @ other_K
    shift = np.zeros((3, 3))
    shift[:, 2] = to_other[:3, 3]
    return forth @ to_other[:3, :3] @ back, forth @ shift @ back


def _smoothed(costs: Float32[np.ndarray, "d h w"]) -> Float32[np.ndarray, "d h w"]:
    """The costs summed along paths from four sides, on which steps in depth cost (semi-global matching)."""
    total = np.zeros_like(costs)
    for axis in (1, 2):
        lines = np.moveaxis(costs, axis, 0)  # [line, plane, along]
        sums = np.moveaxis(total, axis, 0)
        for way in (1, -1):
            before = np.zeros(lines.shape[1:], dtype=np.float32)
            for line, kept in zip(lines[::way], sums[::way], strict=True):
                least = before.min(axis=0)
                reached = np.minimum(before, least + LARGE_STEP)
                np.minimum(reached[1:], before[:-1] + SMALL_STEP, out=reached[1:])
                np.minimum(reached[:-1], before[1:] + SMALL_STEP, out=reached[:-1])
                before = line + reached - least
                kept += before
    return total


def _subplane(costs: Float32[np.ndarray, "d h w"]) -> Float32[np.ndarray, "h w"]:
    """Number of the plane of least cost at each pixel, refined by a parabola through three."""
    best = costs.argmin(axis=0)
    middle = np.clip(best, 1, len(costs) - 2)
    below, at, above = (np.take_along_axis(costs, (middle + k)[None], axis=0)[0] for k in (-1, 0, 1))
    bend = below - 2 * at + above
    offset = np.divide(0.5 * (below - above), bend, out=np.zeros_like(bend), where=bend > 1e-6)
    return np.where(best == middle, middle + np.clip(offset, -0.5, 0.5), best).astype(np.float32)


def _agreed(cameras: AnyCameras, maps: list[_DepthMap], index: int, others: list[int]) -> Bool[np.ndarray, "h w"]:
    """True where two neighbors, or the only one, found the same place."""
    own = maps[index].inverse
    points = _lifted(cameras, index, own)
    votes = np.zeros(own.size, dtype=np.int32)
    for other in others:
        inside, inverse, row, column = _seen(points, cameras, other)
        apart = np.abs(maps[other].inverse[row, column] - inverse)
        votes += inside & (apart < AGREE * max(maps[index].step, maps[other].step))
    return (votes >= min(2, max(len(others), 1))).reshape(own.shape)


def _not_seen_through(
    points: Float[np.ndarray, "n 3"], cameras: AnyCameras, maps: list[_DepthMap]
) -> Bool[np.ndarray, " n"]:
    """True where the views that find a point at its place are well more than those that see something behind it."""
    same, behind = np.zeros(len(points), dtype=np.int32), np.zeros(len(points), dtype=np.int32)
    for index, found in enumerate(maps):
        inside, inverse, row, column = _seen(points, cameras, index)
        known = inside & found.agreed[row, column]
        nearer = (inverse - found.inverse[row, column]) / found.step  # planes
        same += known & (np.abs(nearer) < AGREE)
        behind += known & (nearer > 2 * AGREE)
    return behind <= SEEN_THROUGH * same


def _photo_gains(views: AnyViews, neighbors: list[list[int]], maps: list[_DepthMap]) -> Float[np.ndarray, "c 3"]:
    """The gains of photos by the colors of places where two of them agree."""
    ratios = []
    for index, others in enumerate(neighbors):
        agreed = maps[index].agreed.ravel()
        points = _lifted(views.cameras, index, maps[index].inverse)[agreed]
        own = np.asarray(views.images[index])[..., :3].reshape(-1, 3)[agreed].astype(np.float64)
        for other in others:
            inside, inverse, row, column = _seen(points, views.cameras, other)
            apart = np.abs(maps[other].inverse[row, column] - inverse)
            same = inside & (apart < AGREE * max(maps[index].step, maps[other].step))
            shown = np.asarray(views.images[other])[row[same], column[same], :3].astype(np.float64)
            ratios.append(gain_ratio(index, other, own[same], shown))
    return solve_gains([ratio for ratio in ratios if ratio is not None], len(views))


def _gains_of_all(
    gains: Float[np.ndarray, "m 3"], matched: Int[np.ndarray, " m"], cloud: StereoCloud, views: AnyViews
) -> Float[np.ndarray, "c 3"]:
    """The gains of the photos that were matched, and of the others, which the points give."""
    found = np.ones((len(views), 3))
    found[matched] = gains
    for index in np.setdiff1d(np.arange(len(views)), matched):
        found[index] = gain_from_points(cloud.points, cloud.rgb, views, int(index))
    return found / found.mean(axis=0)


def _seen(
    points: Float[np.ndarray, "n 3"], cameras: AnyCameras, index: int
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Return which points a camera shows, their inverse depths, and their rows and columns, 0 where they are not."""
    found = project_points(points, cameras, index)
    return found.inside, 1 / np.where(found.inside, found.depths, 1.0), found.rows, found.columns


def _lifted(cameras: AnyCameras, index: int, inverse: Float32[np.ndarray, "h w"]) -> Float[np.ndarray, "n 3"]:
    """World positions of a view's pixels, row by row."""
    height, width = inverse.shape
    rows, columns = np.mgrid[:height, :width] + 0.5
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=-1)
    view = np.full(height * width, index)
    eye = camera_centers(cameras.viewmats[index : index + 1].astype(np.float64))
    return eye + directions_through(pixels, cameras, view) / inverse.reshape(-1, 1)


def _points(views: AnyViews, index: int, found: _DepthMap, gain: Float[np.ndarray, " 3"]) -> StereoCloud:
    from scipy.ndimage import distance_transform_edt, gaussian_laplace

    if not found.agreed.any():
        nothing = np.empty((0, 3))
        return StereoCloud(nothing, nothing, nothing, np.empty(0), np.empty(0))
    beside = distance_transform_edt(~found.agreed, return_distances=False, return_indices=True)
    inverse = found.inverse[tuple(beside)]
    places = _lifted(views.cameras, index, inverse)
    grid = places.reshape(*inverse.shape, 3)
    across = np.cross(np.gradient(grid, axis=1), np.gradient(grid, axis=0)).reshape(-1, 3)
    normals = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    eye = camera_centers(views.cameras.viewmats[index : index + 1].astype(np.float64))
    normals *= -np.sign(np.einsum("ni,ni->n", normals, places - eye) + 1e-12)[:, None]
    between = np.zeros_like(found.agreed)
    between[::FILLED_EVERY, ::FILLED_EVERY] = True
    kept = np.flatnonzero(found.agreed | between)
    sizes = 1 / (inverse.ravel() * views.cameras.Ks[index, 0, 0])
    picture = np.asarray(views.images[index])[..., :3] / gain
    detail = np.where(found.agreed, np.abs(gaussian_laplace(picture, (1.0, 1.0, 0.0))).mean(axis=-1), 0.0).ravel()
    return StereoCloud(places[kept], picture.reshape(-1, 3)[kept], normals[kept], sizes[kept], detail[kept])
