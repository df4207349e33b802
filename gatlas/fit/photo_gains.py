"""Brightness of photos against each other, from places that several of them show: how each was exposed.

A gain per photo and channel. Without it the points that a fit begins on have the colors of photos that disagree, which
a short fit does not repair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.fit.projection import project_points

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.types import AnyViews

BLACK, SATURATED = 1 / 255, 250 / 255  # sRGB: pixels beyond are clipped
HEADROOM = 0.9  # of the brightest that is not clipped in either photo
FEWEST = 10  # pixels that say something of two photos
DOUBT = 20.0  # pixels that speak for a gain of 1
CELLS = 48  # across a photo: of the points in one, the nearest are seen
NEAREST = 1.05  # depths of the nearest point in a cell


class GainRatio(NamedTuple):
    """Brightness of one photo over that of another, where both show the same places."""

    first: int
    second: int
    log_ratio: Float[np.ndarray, " 3"]  # per channel
    pixels: int  # that it is the median of


def gain_ratio(
    first: int, second: int, own: Float[np.ndarray, "n 3"], others: Float[np.ndarray, "n 3"]
) -> GainRatio | None:
    """Return the ratio of the colors of the same places in two photos; None where too few are known."""
    clear = ((np.minimum(own, others) > BLACK) & (np.maximum(own, others) < SATURATED)).all(axis=1)
    if clear.sum() < FEWEST:
        return None
    middle = np.sqrt(own * others)  # favors neither photo
    logs = _weighted_median(np.log(own[clear] / others[clear]), middle[clear])  # dark pixels are mostly noise
    # A limit on the brighter photo leaves out the pixels in which it is brighter than elsewhere.
    clear &= (middle < HEADROOM * SATURATED * np.exp(-np.abs(logs) / 2)).all(axis=1)
    if clear.sum() >= FEWEST:
        logs = _weighted_median(np.log(own[clear] / others[clear]), middle[clear])
    return GainRatio(first, second, logs, int(clear.sum()))


def _weighted_median(values: Float[np.ndarray, "n 3"], weights: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " 3"]:
    order = np.argsort(values, axis=0)
    reached = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    middle = (reached < reached[-1] / 2).sum(axis=0)
    return np.take_along_axis(np.take_along_axis(values, order, axis=0), middle[None], axis=0)[0]


def solve_gains(ratios: list[GainRatio], photos: int) -> Float[np.ndarray, "c 3"]:
    """Return the gains of so many photos that the ratios ask for, in the least squares of logarithms; their mean is 1.

    Photos that no ratio names have that of the others' geometric mean.
    """
    normal, right = DOUBT * np.eye(photos), np.zeros((photos, 3))
    for first, second, log_ratio, pixels in ratios:
        normal[[first, second], [first, second]] += pixels
        normal[[first, second], [second, first]] -= pixels
        right[first] += pixels * log_ratio
        right[second] -= pixels * log_ratio
    gains = np.exp(np.linalg.solve(normal, right))
    return gains / gains.mean(axis=0)


def gain_from_points(
    points: Float[np.ndarray, "n 3"], rgb: Float[np.ndarray, "n 3"], views: AnyViews, index: int
) -> Float[np.ndarray, " 3"]:
    """Return the gain of one more photo over points on surfaces with colors; 1 where it shows too few of them."""
    found = project_points(points, views.cameras, index)
    shown = np.flatnonzero(found.inside)
    width, height = views.cameras.sizes[index]
    side = max(width, height) / CELLS
    cells: Int[np.ndarray, " k"] = (found.rows[shown] // side).astype(int) * CELLS + (
        found.columns[shown] // side
    ).astype(int)
    nearest = np.full(CELLS * CELLS, np.inf)
    np.minimum.at(nearest, cells, found.depths[shown])
    shown = shown[found.depths[shown] <= NEAREST * nearest[cells]]
    photo = np.asarray(views.images[index], dtype=np.float64)[found.rows[shown], found.columns[shown], :3]
    ratio = gain_ratio(index, index, photo, rgb[shown])
    return np.ones(3) if ratio is None else np.exp(ratio.log_ratio)
