"""The ball that holds what a splat shows, the splat moved into the unit ball, and cameras all around it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import fibonacci_views
from gatlas.geometry.frames import bounding_ball
from gatlas.geometry.rotations import quats_to_matrices
from gatlas.geometry.scene_unit import in_unit_ball
from gatlas.raster.rendering import EPS2D

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

    from gatlas.types import Cameras, Gaussians

LEAST_OPACITY = 0.05  # of Gaussians that bound the object: fainter ones are dust
TAIL, SHARE = 0.0005, 0.999  # of their ends that may lie outside: strays
HALF_COVERED = 1.2  # standard deviations at which an opaque Gaussian still covers half of a ray
ROOM = 1.05  # radii: a normalized object whose Gaussians stay within this keeps the unit ball
FITTED_SIZE = 512  # pixels: the pictures whose blur is EPS2D where a splat does not say


class SplatFrame(NamedTuple):
    """A ball in the units of the splat."""

    center: Float64[np.ndarray, " 3"]
    radius: float

    def leave(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Return points of the unit ball in the splat's units."""
        return points * self.radius + self.center


def find_frame(gaussians: Gaussians) -> SplatFrame:
    """Return the ball about what can be seen of the Gaussians (numpy); the unit ball of a normalized object.

    Strays and what is nearly transparent do not enlarge it. No Gaussian that can be seen is a GatlasError.
    """
    seen = _solid(gaussians)
    if not seen.any():
        raise GatlasError("all Gaussians of the splat are transparent or not finite: no surface to mesh")
    means = gaussians.means[seen].astype(np.float64)
    axes = quats_to_matrices(_unit(gaussians.quats[seen])) * (HALF_COVERED * gaussians.scales[seen, None, :])
    reach = np.sqrt((axes.astype(np.float64) ** 2).sum(axis=2))  # [n 3] half sides of each ellipsoid's box
    ends = np.concatenate([means - reach, means + reach])
    if in_unit_ball(gaussians) and np.quantile(np.linalg.norm(ends, axis=1), SHARE) <= ROOM * np.sqrt(3):
        lengths = np.linalg.norm(means, axis=1)
        if np.quantile(lengths, SHARE) <= ROOM:
            return SplatFrame(np.zeros(3), 1.0)
    center, radius = bounding_ball(ends, tail=TAIL, share=SHARE)
    if not 0 < radius < np.inf:
        raise GatlasError("the Gaussians of the splat have no extent: no surface to mesh")
    return SplatFrame(center, radius)


def enter_frame(gaussians: Gaussians, frame: SplatFrame) -> Gaussians:
    """Return the Gaussians (numpy) in units of the ball, those left out that are not finite or cannot be seen."""
    center, radius = frame
    kept = _finite(gaussians) & (gaussians.opacities > 0)
    gaussians = gaussians[np.flatnonzero(kept)]
    x, y, z = -center / radius
    return replace(
        gaussians,
        means=((gaussians.means.astype(np.float64) - center) / radius).astype(np.float32),
        scales=(gaussians.scales.astype(np.float64) / radius).astype(np.float32),
        origin=replace(gaussians.origin.scaled((x, y, z), 1 / radius), normalized=True),
    )


def views_around(gaussians: Gaussians, count: int, resolution: int) -> tuple[Cameras, Float64[np.ndarray, " c"] | None]:
    """Return cameras all around the unit ball and the `eps2d` that they are rendered with.

    It is None, that of the Gaussians' own pixels, where they say so; else the blur of a picture of 512 pixels, however
    many pixels there are.
    """
    cameras = fibonacci_views(count, resolution, resolution)
    if gaussians.origin.pixel_sizes is not None:
        return cameras, None
    return cameras, np.full(count, EPS2D * (resolution / FITTED_SIZE) ** 2)


def _solid(gaussians: Gaussians) -> Bool[np.ndarray, " n"]:
    finite = _finite(gaussians)
    solid = finite & (gaussians.opacities > LEAST_OPACITY)
    return solid if solid.any() else finite & (gaussians.opacities > 1 / 255)


def _finite(gaussians: Gaussians) -> Bool[np.ndarray, " n"]:
    columns = [gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities[:, None]]
    finite = np.isfinite(np.concatenate(columns, axis=1)).all(axis=1)
    return finite & (np.abs(gaussians.quats).max(axis=1) > 0)


def _unit(quats: np.ndarray) -> np.ndarray:
    quats = quats.astype(np.float64)
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)
