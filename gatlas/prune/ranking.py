"""Ranking of Gaussians by visibility, opacity or volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import around, random_views
from gatlas.raster import visibility

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Gaussians

SCORES = ("visibility-sum", "visibility-max", "sampled", "opacity", "volume")


def rank(
    gaussians: Gaussians,
    score: str,
    rng: np.random.Generator,
    *,
    views: int = 64,
    resolution: int = 256,
) -> Float[np.ndarray, " n"]:
    """A score for each Gaussian (numpy): the higher, the sooner it is kept.

    visibility-sum: blending weight (transmittance x alpha), summed over the pixels of random cameras around the object.
    visibility-max: the largest weight in any one pixel. sampled: keys whose greatest `count` are a random sample drawn
    in proportion to visibility-sum, without replacement (Efraimidis and Spirakis 2006), so that faint regions keep
    their share. opacity and volume need no cameras: alpha, and the product of the standard deviations.
    """
    if score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}, got {score!r}")
    if score == "opacity":
        return gaussians.opacities.astype(np.float64)
    if score == "volume":
        return gaussians.scales.astype(np.float64).prod(axis=1)
    if score == "visibility-max":
        return _over_views(gaussians, rng, views, resolution, "max")
    total = _over_views(gaussians, rng, views, resolution, "sum")
    if score == "visibility-sum":
        return total
    with np.errstate(divide="ignore"):
        return np.log(rng.random(len(total))) / total  # -inf, so last, where nothing is seen


def _over_views(
    gaussians: Gaussians, rng: np.random.Generator, views: int, resolution: int, reduce: str
) -> Float[np.ndarray, " n"]:
    """Visibility from random cameras that look at the center of the Gaussians' bounding ball from all sides."""
    cameras = around(gaussians, random_views(views, resolution, resolution, rng))
    result = np.zeros(len(gaussians))
    for camera in cameras:
        if reduce == "max":
            result = np.maximum(result, visibility(gaussians, camera, reduce="max")[0])
        else:
            result += visibility(gaussians, camera)[0]
    return result


def keep_highest(gaussians: Gaussians, scores: Float[np.ndarray, " n"], count: int) -> Gaussians:
    """Keep the `count` Gaussians with the highest score, in their original order. Ties go to the earlier Gaussian."""
    if count < 1:
        raise ValueError(f"count must be >= 1, got {count}")
    if count > len(gaussians):
        raise ValueError(f"count must be <= {len(gaussians)} Gaussians, got {count}")
    order = np.argsort(-scores, kind="stable")  # [n]
    return gaussians[np.sort(order[:count])]


def drop_faint(gaussians: Gaussians, min_opacity: float) -> Gaussians:
    """The Gaussians whose opacity is at least `min_opacity`. That none is left is a GatlasError."""
    kept = gaussians[gaussians.opacities >= min_opacity]
    if len(kept) == 0:
        raise GatlasError(f"no Gaussian has an opacity of {min_opacity} or more")
    return kept
