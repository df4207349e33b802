"""Choosing points so that no two are close: weighted dart throwing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.jit import njit

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def choose_blue_noise(
    points: Float[np.ndarray, "n 3"], density: Float[np.ndarray, " n"], count: int
) -> Int[np.ndarray, " count"]:
    """Indices of `count` points, spaced in proportion to density^-1/2 (density of points on a surface).

    The points are tried in their order, which should be random. The spacing starts too wide and shrinks by a tenth
    until enough points are accepted. Sorted.
    """
    if not 1 <= count <= len(points):
        raise ValueError(f"count must be between 1 and {len(points)} points, got {count}")
    if count == len(points):
        return np.arange(count)
    points = np.ascontiguousarray(points, dtype=np.float64)
    spacing = np.maximum(density, 1e-12 * density.max()) ** -0.5
    # Start where the densest possible packing of the bounding box's surface would just hold `count` points.
    extent = float(np.ptp(points, axis=0).max()) or 1.0
    spacing = spacing * (extent * np.sqrt(6.0 / count) / np.sqrt(np.mean(spacing**2)))
    # A sparse region's spacing is capped, or the search around one point would visit the whole grid.
    spacing = np.minimum(spacing, 8 * np.median(spacing))
    taken = np.zeros(len(points), dtype=np.bool_)
    found = 0
    for _ in range(400):
        found = _throw(points, spacing, taken, found, count)
        if found == count:
            return np.flatnonzero(taken)
        spacing *= 0.9
    # Only exact duplicates are left at this spacing (0.9^400 of the first): any of them serves.
    rest = np.flatnonzero(~taken)[: count - found]
    taken[rest] = True
    return np.flatnonzero(taken)


@njit(cache=True)
def _throw(points, spacing, taken, found, count):  # type: ignore[no-untyped-def]
    """One pass over the points: accept each that has no accepted point within its spacing."""
    cell = np.median(spacing)
    low = np.empty(3)
    for d in range(3):
        low[d] = points[:, d].min()
    buckets = 1 << 18
    head = np.full(buckets, -1, np.int64)
    following = np.full(len(points), -1, np.int64)

    for i in range(len(points)):
        if taken[i]:
            key = _bucket(
                int((points[i, 0] - low[0]) / cell),
                int((points[i, 1] - low[1]) / cell),
                int((points[i, 2] - low[2]) / cell),
                buckets,
            )
            following[i] = head[key]
            head[key] = i

    for i in range(len(points)):
        if taken[i]:
            continue
        reach = int(np.ceil(spacing[i] / cell))
        cx = int((points[i, 0] - low[0]) / cell)
        cy = int((points[i, 1] - low[1]) / cell)
        cz = int((points[i, 2] - low[2]) / cell)
        limit = spacing[i] * spacing[i]
        free = True
        for x in range(cx - reach, cx + reach + 1):
            for y in range(cy - reach, cy + reach + 1):
                for z in range(cz - reach, cz + reach + 1):
                    j = head[_bucket(x, y, z, buckets)]
                    while j >= 0:
                        dx = points[i, 0] - points[j, 0]
                        dy = points[i, 1] - points[j, 1]
                        dz = points[i, 2] - points[j, 2]
                        if dx * dx + dy * dy + dz * dz < limit:
                            free = False
                            break
                        j = following[j]
                    if not free:
                        break
                if not free:
                    break
            if not free:
                break
        if free:
            taken[i] = True
            key = _bucket(cx, cy, cz, buckets)
            following[i] = head[key]
            head[key] = i
            found += 1
            if found == count:
                break
    return found


@njit(cache=True)
def _bucket(x, y, z, buckets):  # type: ignore[no-untyped-def]
    return ((x * 73856093) ^ (y * 19349663) ^ (z * 83492791)) & (buckets - 1)
