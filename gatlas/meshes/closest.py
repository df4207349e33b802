"""The closest points of a surface: a tree of boxes over the triangles, and exact distances to those that it leaves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.jit import njit
from gatlas.meshes.colors import check_indices
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int64

    from gatlas.types import Mesh

LEAF = 4  # triangles, at least: a leaf has fewer than twice as many
DEPTH = 64  # of the stack: the tree is complete, so that its depth is the logarithm of its leaves


class ClosestPoints(NamedTuple):
    """For each point, the nearest of the surface."""

    distances: Float64[np.ndarray, " n"]  # units of the vertices, >= 0
    points: Float64[np.ndarray, "n 3"]  # on the surface
    faces: Int64[np.ndarray, " n"]  # the triangle that the point lies on; one of several


class Surroundings(NamedTuple):
    """The triangles of a mesh in a complete binary tree: node i has the children 2 i + 1 and 2 i + 2."""

    boxes: Float64[np.ndarray, "nodes 6"]  # least x, y, z, greatest x, y, z
    corners: Float64[np.ndarray, "leaves size 9"]  # three corners of each triangle of a leaf
    faces: Int64[np.ndarray, "leaves size"]


def closest_points(mesh: Mesh | Surroundings, points: Float[np.ndarray, "n 3"]) -> ClosestPoints:
    """Return the distance of each point from the mesh's surface, the nearest point there and its face (float64).

    Exact up to the rounding of float64, for any set of triangles, also degenerate ones, which count as lines or points.
    Faces that are transparent count; vertices without a face do not. For many calls on one mesh give what
    `surround(mesh)` returns. A mesh without faces and points that are not finite are a ValueError.
    """
    tree = mesh if isinstance(mesh, Surroundings) else surround(mesh)
    queries = np.ascontiguousarray(points, dtype=np.float64)
    if queries.ndim != 2 or queries.shape[1] != 3 or not np.isfinite(queries).all():
        raise ValueError(f"points must be finite and have shape [n 3], got {list(queries.shape)}")
    found = np.empty((len(queries), 4))
    faces = np.empty(len(queries), dtype=np.int64)
    with announced_compilation(_find_closest):
        launch(_find_closest, split_range(len(queries), get_num_threads()), *tree, queries, found, faces)
    return ClosestPoints(found[:, 3].copy(), found[:, :3].copy(), faces)


def surround(mesh: Mesh) -> Surroundings:
    """Return the tree that `closest_points` searches: triangles halved by the median of their middles (numpy).

    Each node is cut along the axis in which the middles extend most. Memory: about 250 bytes per triangle.
    """
    check_indices(mesh)
    if len(mesh.faces) == 0:
        raise ValueError("a surface to be close to must have faces, got 0")
    corners = np.asarray(mesh.vertices, dtype=np.float64)[np.asarray(mesh.faces)]  # [f 3 3]
    if not np.isfinite(corners).all():
        raise ValueError("the vertices of faces must be finite")
    order = _leaves_of(corners.mean(axis=1))
    ordered = corners[order]  # [leaves size 3 3]
    leaves = len(order)
    boxes = np.empty((2 * leaves - 1, 6))
    boxes[leaves - 1 :, :3] = ordered.min(axis=(1, 2))
    boxes[leaves - 1 :, 3:] = ordered.max(axis=(1, 2))
    while leaves > 1:
        first, leaves = leaves - 1, leaves // 2
        below = boxes[first : first + 2 * leaves].reshape(leaves, 2, 6)
        boxes[leaves - 1 : 2 * leaves - 1, :3] = below[:, :, :3].min(axis=1)
        boxes[leaves - 1 : 2 * leaves - 1, 3:] = below[:, :, 3:].max(axis=1)
    return Surroundings(boxes, ordered.reshape(*order.shape, 9), order)


def _leaves_of(middles: Float64[np.ndarray, "f 3"]) -> Int64[np.ndarray, "leaves size"]:
    """Return the faces of each leaf; the last one is repeated until all leaves are full."""
    count = len(middles)
    levels = max(0, (count // LEAF).bit_length() - 1)
    size = -(-count >> levels) if levels else count
    order = np.minimum(np.arange(size << levels), count - 1)[None]
    for _ in range(levels):
        placed = middles[order]  # [nodes faces 3]
        axis = np.ptp(placed, axis=1).argmax(axis=1)
        keys = np.take_along_axis(placed, axis[:, None, None], axis=2)[..., 0]
        cut = np.argpartition(keys, keys.shape[1] // 2, axis=1)
        order = np.take_along_axis(order, cut, axis=1).reshape(2 * len(order), -1)
    return order


@njit(nogil=True, cache=True)
def _find_closest(start, stop, boxes, corners, faces, points, found, found_faces):  # type: ignore[no-untyped-def]
    """Fill rows start..stop of `found` (x, y, z, distance) and of `found_faces`."""
    leaves, size = corners.shape[0], corners.shape[1]
    nodes, bounds = np.empty(DEPTH, dtype=np.int64), np.empty(DEPTH)
    for row in range(start, stop):
        x, y, z = points[row, 0], points[row, 1], points[row, 2]
        best, best_face = math.inf, faces[0, 0]
        at_x, at_y, at_z = x, y, z
        nodes[0], bounds[0], height = 0, 0.0, 1
        while height > 0:
            height -= 1
            if bounds[height] >= best:  # also as near: of many faces in one place one is looked at
                continue
            node = nodes[height]
            if node >= leaves - 1:
                leaf = node - leaves + 1
                for slot in range(size):
                    squared, near_x, near_y, near_z = _nearest_of_triangle(corners[leaf, slot], x, y, z)
                    if squared < best:
                        best, best_face, at_x, at_y, at_z = squared, faces[leaf, slot], near_x, near_y, near_z
                continue
            left, right = 2 * node + 1, 2 * node + 2
            near_left, near_right = _squared_to_box(boxes[left], x, y, z), _squared_to_box(boxes[right], x, y, z)
            if near_left < near_right:  # the nearer one is taken from the stack first
                left, right, near_left, near_right = right, left, near_right, near_left
            nodes[height], bounds[height] = left, near_left
            nodes[height + 1], bounds[height + 1] = right, near_right
            height += 2
        found[row, 0], found[row, 1], found[row, 2], found[row, 3] = at_x, at_y, at_z, math.sqrt(best)
        found_faces[row] = best_face


@njit(nogil=True)
def _squared_to_box(box, x, y, z):  # type: ignore[no-untyped-def]
    dx = max(box[0] - x, 0.0, x - box[3])
    dy = max(box[1] - y, 0.0, y - box[4])
    dz = max(box[2] - z, 0.0, z - box[5])
    return dx * dx + dy * dy + dz * dz


@njit(nogil=True)
def _nearest_of_triangle(corners, x, y, z):  # type: ignore[no-untyped-def]
    """Return the squared distance to a triangle (nine numbers) and the nearest point there.

    The foot of the perpendicular where it lies inside, else the nearest of the three sides: of a triangle without area
    there is no foot, and of a needle's, which is inexact, the sides are compared too.
    """
    ax, ay, az = corners[0], corners[1], corners[2]
    ux, uy, uz = corners[3] - ax, corners[4] - ay, corners[5] - az
    vx, vy, vz = corners[6] - ax, corners[7] - ay, corners[8] - az
    px, py, pz = x - ax, y - ay, z - az
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    area = nx * nx + ny * ny + nz * nz
    squared, near_x, near_y, near_z = math.inf, ax, ay, az
    if area > 0.0:
        # Barycentric coordinates as ratios of areas: (u x p) . n and (p x v) . n.
        second = ((uy * pz - uz * py) * nx + (uz * px - ux * pz) * ny + (ux * py - uy * px) * nz) / area
        first = ((py * vz - pz * vy) * nx + (pz * vx - px * vz) * ny + (px * vy - py * vx) * nz) / area
        if first >= 0.0 and second >= 0.0 and first + second <= 1.0:
            near_x, near_y, near_z = (
                ax + first * ux + second * vx,
                ay + first * uy + second * vy,
                az + first * uz + second * vz,
            )
            squared = (x - near_x) ** 2 + (y - near_y) ** 2 + (z - near_z) ** 2
    for side in range(3):
        i, j = 3 * side, 3 * ((side + 1) % 3)
        sx, sy, sz = corners[j] - corners[i], corners[j + 1] - corners[i + 1], corners[j + 2] - corners[i + 2]
        length = sx * sx + sy * sy + sz * sz
        along = (x - corners[i]) * sx + (y - corners[i + 1]) * sy + (z - corners[i + 2]) * sz
        share = min(max(along / length, 0.0), 1.0) if length > 0.0 else 0.0
        cx, cy, cz = corners[i] + share * sx, corners[i + 1] + share * sy, corners[i + 2] + share * sz
        apart = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
        if apart < squared:
            squared, near_x, near_y, near_z = apart, cx, cy, cz
    return squared, near_x, near_y, near_z
