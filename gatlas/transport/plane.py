"""The sphere flattened onto a square grid: projections of the sphere, and which sphere point fills which cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.transport.assignment import assign
from gatlas.transport.sphere import fibonacci_sphere

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int

_BELOW_ONE = np.nextafter(1.0, 0.0)


def project_equirect(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Longitude and colatitude of unit vectors, both scaled to [0, 1): u to the right, v down from y = +1.

    u = atan2(z, x) / 2 pi modulo 1, v = acos(y) / pi. The axis is y, as it is for `fibonacci_sphere`.
    """
    x, y, z = _coordinates(points)
    u = np.arctan2(z, x) / (2.0 * np.pi) % 1.0
    v = np.arccos(np.clip(y, -1.0, 1.0)) / np.pi
    return np.minimum(np.stack([u, v], axis=1), _BELOW_ONE)


def project_octahedral(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """The equal-area octahedral map of unit vectors into [0, 1)^2: y = +1 in the middle, y = -1 in the corners.

    Clarberg 2008, "Fast equal-area mapping of the (hemi)sphere using SIMD", with y as the axis: the upper half fills
    the inner diamond, the lower half the four corners, so that the map is continuous across the equator.
    """
    x, y, z = _coordinates(points)
    radius = np.sqrt(np.maximum(0.0, 1.0 - np.abs(y)))  # equal area: 1 - |y| is the share of the half above the point
    turn = np.arctan2(np.abs(z), np.abs(x)) * (2.0 / np.pi)  # 0 ... 1 over a quadrant
    v = turn * radius
    u = radius - v
    lower = y < 0
    u, v = np.where(lower, 1.0 - v, u), np.where(lower, 1.0 - u, v)
    plane = np.stack([np.copysign(u, x), np.copysign(v, z)], axis=1)
    return np.clip((plane + 1.0) / 2.0, 0.0, _BELOW_ONE)


PROJECTIONS: dict[str, Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 2"]]] = {
    "equirect": project_equirect,
    "octahedral": project_octahedral,
}


def compute_plane_permutation(size: int, projection: str = "equirect") -> Int[np.ndarray, " cells"]:
    """Return the index of the point of `fibonacci_sphere(size * size)` in each cell of the grid, row by row (int32).

    The projected sphere points move one-to-one onto the cell centers by exact optimal transport, so that neighbors on
    the sphere stay neighbors on the grid. Xiang et al. 2025, sec. 4.2. It depends on nothing else: `atlas.plane`
    ships and caches it.
    """
    if size < 1:
        raise ValueError(f"size must be >= 1, got {size}")
    if projection not in PROJECTIONS:
        raise ValueError(f"projection must be one of {', '.join(PROJECTIONS)}, got {projection!r}")
    flattened = PROJECTIONS[projection](fibonacci_sphere(size * size))
    centers = (np.arange(size) + 0.5) / size
    grid = np.stack([np.tile(centers, size), np.repeat(centers, size)], axis=1)
    cells = np.empty(size * size, dtype=np.int32)
    cells[assign(flattened, grid).targets] = np.arange(size * size)
    return cells


def _coordinates(points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, " n"], ...]:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points must be [n 3], got shape {list(points.shape)}")
    return points[:, 0], points[:, 1], points[:, 2]
