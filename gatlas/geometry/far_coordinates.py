"""Coordinates that float32 cannot hold: a scene that is small beside its distance from the origin, as maps have them.

Such coordinates are kept in float64, or relative to a center near the scene, until they are in the scene's own frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.frames import bounding_ball

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

FINEST = 1e-5  # of the extent: the step of float32 at the scene's far side above which the scene is far away
MEASURED = 65_536  # points, evenly picked of more, that measure an extent


def extent_and_step(points: Float[np.ndarray, "n 3"]) -> tuple[float, float]:
    """Return how large the points' bounding ball is across, strays left out, and the step of float32 at its far side.

    Both are in the points' units; they must be finite.
    """
    center, radius = _ball(points)
    return 2 * radius, _step(np.abs(center).max() + radius)


def float32_holds(points: Float[np.ndarray, "n 3"]) -> bool:
    """Return True if float32 keeps the places of points relative to each other, to FINEST of their extent.

    So it does where all are at one place.
    """
    if len(points) == 0:
        return True
    extent, step = extent_and_step(points)
    return extent == 0 or step <= FINEST * extent


def center_of_far(points: Float[np.ndarray, "n 3"], extent: float = 0.0) -> Float64[np.ndarray, " 3"] | None:
    """Return a center to subtract from points that float32 would not hold; None where it holds them.

    What the points are the middles of is `extent` across at least, in their units. The center's coordinates are
    multiples of a power of two about as large, so that nothing is rounded.
    """
    center, radius = _ball(points)
    if radius == 0 or _step(np.abs(center).max() + radius) <= FINEST * max(2 * radius, extent):
        return None
    unit = 2.0 ** np.floor(np.log2(2 * radius))
    return np.round(center / unit) * unit + 0.0


def _ball(points: Float[np.ndarray, "n 3"]) -> tuple[Float64[np.ndarray, " 3"], float]:
    some = np.asarray(points[:: max(1, len(points) // MEASURED)], dtype=np.float64)
    return bounding_ball(some, tail=0.0005, share=0.999)


def _step(coordinate: float) -> float:
    return float(np.spacing(np.float32(min(coordinate, 1e38))))
