"""Objects of a set as they are compared: points, mean color, and pictures from all sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.geometry.frames import into_unit_ball
from gatlas.geometry.sh import dc_to_rgb
from gatlas.raster import rasterize

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

    from gatlas.types import Gaussians

ELEVATION = 15.0  # degrees of the views


class ScoredObject(NamedTuple):
    """The parts of an object that are compared."""

    name: str
    prompt: str | None
    gaussians: int  # number of them
    points: Float32[np.ndarray, "n 3"]  # centers of Gaussians in the unit ball
    color: Float64[np.ndarray, " 3"]  # mean sRGB, each Gaussian by its opacity


def describe_object(
    gaussians: Gaussians, name: str, prompt: str | None, *, points: int | None = None, seed: int = 0
) -> ScoredObject:
    """Return what is compared of Gaussians in the unit ball (numpy); of more than `points`, so many are drawn.

    Transparent Gaussians have no place; an object of none else is a GatlasError.
    """
    seen = np.flatnonzero(gaussians.opacities > 0)
    if len(seen) == 0:
        raise GatlasError(f"{name}: all of its Gaussians are transparent: there is nothing to compare")
    chosen = seen
    if points is not None and len(seen) > points:
        chosen = np.sort(np.random.default_rng(seed).permutation(seen)[:points])
    return ScoredObject(name, prompt, len(gaussians), gaussians.means[chosen].astype(np.float32), mean_color(gaussians))


def mean_color(gaussians: Gaussians) -> Float64[np.ndarray, " 3"]:
    """Return the mean sRGB color of Gaussians, each by its opacity."""
    weights = gaussians.opacities / gaussians.opacities.sum()
    return np.asarray(weights @ np.clip(dc_to_rgb(gaussians.sh[:, 0]), 0.0, 1.0), dtype=np.float64)


def in_ball(gaussians: Gaussians) -> Gaussians:
    """Return the Gaussians in the unit ball: as they are where their origin says that they are in it."""
    return gaussians if gaussians.origin.normalized else into_unit_ball(gaussians)[0]


def pictures_around(gaussians: Gaussians, count: int, side: int) -> Float32[np.ndarray, "c h w 3"]:
    """Return RGB pictures over white from cameras on a circle around the unit ball, the first in front."""
    white = np.ones(3, dtype=np.float32)
    cameras = orbit(count, side, side, elevation=ELEVATION)
    images = [np.clip(rasterize(gaussians, camera, background=white).colors[0], 0.0, 1.0) for camera in cameras]
    return np.stack(images).astype(np.float32)


def cameras_json(count: int, side: int) -> dict[str, object]:
    """Return what documents say of `pictures_around`."""
    return {"background": "white", "circle": count, "elevation": ELEVATION, "width": side, "height": side}
