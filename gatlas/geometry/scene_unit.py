"""The length by which lengths in a scene are judged, whatever the unit that it is written in."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64

    from gatlas.types import Gaussians

MEASURED = 65_536  # Gaussians, evenly picked of more, whose places measure a scene

LEAST_REACH, FARTHEST = 0.02, 50.0  # of an object in the unit ball; of a scene with its background half is within 4

_units: WeakKeyDictionary[Gaussians, float] = WeakKeyDictionary()


def scene_unit(gaussians: Gaussians) -> float:
    """Return the scene's unit in world units (numpy): 1 of a normalized object, which is in the unit ball.

    Of others it is the median distance of the Gaussians from their middle: the sky around a scene does not enlarge it.
    Gaussians at one place have the largest standard deviation as their unit. It is measured once for each object.
    """
    if gaussians not in _units:
        _units[gaussians] = 1.0 if in_unit_ball(gaussians) else _measured(gaussians)
    return _units[gaussians]


def in_unit_ball(gaussians: Gaussians) -> bool:
    """Return True of a normalized object (numpy), unless another program scaled or moved it and left its header."""
    if not gaussians.origin.normalized:
        return False
    return in_ball(gaussians)


def in_ball(gaussians: Gaussians, ball: tuple[float, float, float, float] | None = None) -> bool:
    """Return True where the Gaussians (numpy) are as an object in that ball is: neither all far away nor tiny.

    `ball` is center and radius; None is the unit ball.
    """
    x, y, z, radius = ball or (0.0, 0.0, 0.0, 1.0)
    means = (_some_means(gaussians) - (x, y, z)) / radius
    if len(means) == 0:
        return True
    reach = float(np.abs(means).max()) + 3 * float(np.max(gaussians.scales)) / radius
    return reach > LEAST_REACH and float(np.median(np.linalg.norm(means, axis=1))) < FARTHEST


def _some_means(gaussians: Gaussians) -> Float64[np.ndarray, "n 3"]:
    step = max(1, len(gaussians) // MEASURED)
    means = np.asarray(gaussians.means[::step], dtype=np.float64)
    return means[np.isfinite(means).all(axis=1)]


def _measured(gaussians: Gaussians) -> float:
    means = _some_means(gaussians)
    if len(means) == 0:
        return 1.0
    typical = float(np.median(np.linalg.norm(means - np.median(means, axis=0), axis=1)))
    return typical or float(np.max(gaussians.scales)) or 1.0
