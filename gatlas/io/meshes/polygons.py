"""Triangulation of the polygons that mesh files hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def triangulate(corners: Float[np.ndarray, "n 3"], sizes: Int[np.ndarray, " p"]) -> Int[np.ndarray, "t 3"]:
    """Triangles, as indices of corners, of polygons whose corners follow one another; all sizes are >= 3.

    Convex polygons become fans from their first corner; others are cut ear by ear, each in its own plane.
    """
    starts = np.cumsum(sizes) - sizes
    triangles = []
    for size in np.unique(sizes):
        polygons = starts[sizes == size][:, None] + np.arange(size)  # [q size]
        convex = are_convex(corners[polygons]) if size > 3 else np.ones(len(polygons), dtype=bool)
        fans = [polygons[convex][:, [0, k, k + 1]] for k in range(1, size - 1)]
        triangles.append(np.stack(fans, axis=1).reshape(-1, 3))
        triangles += [polygon[_cut_ears(corners[polygon])] for polygon in polygons[~convex]]
    return np.concatenate(triangles) if triangles else np.zeros((0, 3), dtype=np.int64)


def _normals(polygons: Float[np.ndarray, "q s 3"]) -> Float[np.ndarray, "q 3"]:
    """Newell's normals, twice the area long."""
    centered = polygons - polygons[:, :1]
    return np.cross(centered, np.roll(centered, -1, axis=1)).sum(axis=1)


def are_convex(polygons: Float[np.ndarray, "q s 3"]) -> np.ndarray:
    """Return True for polygons without a reflex corner; polygons that wind around more than once count as convex."""
    edges = np.roll(polygons, -1, axis=1) - polygons
    turns = np.cross(np.roll(edges, 1, axis=1), edges)
    along = np.einsum("qsi,qi->qs", turns, _normals(polygons))
    return (along >= -1e-9 * np.abs(along).max(axis=1, keepdims=True)).all(axis=1)


def _cut_ears(polygon: Float[np.ndarray, "s 3"]) -> Int[np.ndarray, "t 3"]:
    """Ear clipping (Meisters 1975) of one polygon, seen along its normal."""
    normal = _normals(polygon[None])[0]
    axis = int(np.abs(normal).argmax())
    flat = np.delete(polygon, axis, axis=1)
    if (normal[axis] < 0) != (axis == 1):  # leaving out y mirrors the plane
        flat = flat * [-1.0, 1.0]
    left, triangles = list(range(len(flat))), []
    while len(left) > 3:
        ear = next((k for k in range(len(left)) if _is_ear(flat, left, k)), 0)  # 0: a polygon that crosses itself
        triangles.append([left[ear - 1], left[ear], left[(ear + 1) % len(left)]])
        del left[ear]
    return np.array([*triangles, left])


def _is_ear(flat: Float[np.ndarray, "s 2"], left: list[int], k: int) -> bool:
    before, tip, after = left[k - 1], left[k], left[(k + 1) % len(left)]
    a, b, c = flat[before], flat[tip], flat[after]
    if _turn(a, b, c) <= 0:
        return False
    others = flat[[i for i in left if i not in (before, tip, after)]]
    inside = (_turn(a, b, others) >= 0) & (_turn(b, c, others) >= 0) & (_turn(c, a, others) >= 0)
    return not inside.any()


def _turn(a: Float[np.ndarray, " xy"], b: Float[np.ndarray, " xy"], c: Float[np.ndarray, "*n 2"]) -> np.ndarray:
    """Twice the signed area of (a, b, c): positive where it winds from x to y."""
    return (b[0] - a[0]) * (c[..., 1] - a[1]) - (b[1] - a[1]) * (c[..., 0] - a[0])
