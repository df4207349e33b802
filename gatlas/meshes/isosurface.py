"""A signed distance in a sparse grid to triangles, smooth and few of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.meshes.fusion import slab
from gatlas.meshes.fusion_kernels import BLOCK

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from gatlas.meshes.fusion import SparseGrid

    Vertices = Float64[np.ndarray, "v 3"]
    Triangles = Int64[np.ndarray, "t 3"]

LAYERS = 8  # blocks: the thickness of the slabs in which the surface is found, to bound memory
# Voxels: every value is at least this far from the surface's, which keeps the vertices of different edges apart.
CLEAR = 0.01
AT_ONCE = 2**17  # triangles measured at a time, to bound memory
ROUNDING = 1e-4  # voxels
LEAST_SHARE = 5e-4  # of the area: smaller parts are noise
SHRINK, SWELL = 0.5, -0.53  # Taubin 1995: steps towards the neighbors' mean and back


def march(grid: SparseGrid) -> tuple[Vertices, Triangles]:
    """Return the surface on which the distance is 0, wound outward, in units of the ball.

    It is Lewiner's marching cubes (scikit-image), slab by slab: the vertices of a plane between two slabs are in the
    same places from both sides and become one.
    """
    marching_cubes = _imported("skimage.measure", "scikit-image").marching_cubes
    clear = np.float32(CLEAR * grid.voxel)
    parts, triangles, count = [], [], 0
    begin, end = int(grid.blocks[:, 0].min()), int(grid.blocks[:, 0].max()) + 1
    starts = np.arange(begin, end, LAYERS)
    for first in starts.tolist():
        stop = min(first + LAYERS, end)
        values = slab(grid, first, stop + 1)[: (stop - first) * BLOCK + 1]
        values = np.copysign(np.maximum(np.abs(values), clear), values)
        if not values.min() < 0 < values.max():
            continue
        vertices, faces, _, _ = marching_cubes(values, 0.0, gradient_direction="descent")
        vertices = vertices.astype(np.float64)
        vertices[:, 0] += first * BLOCK
        parts.append(vertices)
        triangles.append(faces.astype(np.int64) + count)
        count += len(vertices)
    if not parts:
        raise GatlasError("the views of the splat show no closed surface: it is too thin or too transparent to mesh")
    vertices, faces = _merged(np.concatenate(parts), np.concatenate(triangles), BLOCK * starts[1:])
    return grid.corner + grid.voxel * (vertices + 0.5), faces


def _merged(vertices: Vertices, triangles: Triangles, planes: Int64[np.ndarray, " p"]) -> tuple[Vertices, Triangles]:
    """Return the surface with the vertices on planes between slabs, which are there twice up to rounding, once."""
    from scipy.spatial import cKDTree

    index = np.arange(len(vertices))
    for plane in planes:
        near = np.flatnonzero(np.abs(vertices[:, 0] - plane) < ROUNDING)
        if len(near):
            pairs = cKDTree(vertices[near]).query_pairs(ROUNDING, output_type="ndarray")
            index[near[pairs.max(axis=1)]] = near[pairs.min(axis=1)]
    kept, compact = np.unique(index, return_inverse=True)
    triangles = compact.reshape(-1)[triangles]
    a, b, c = triangles.T
    return vertices[kept], triangles[(a != b) & (b != c) & (c != a)]


def without_specks(vertices: Vertices, triangles: Triangles) -> tuple[Vertices, Triangles]:
    """Return the surface without parts of less than 0.05 % of the area, and without cavities, which nobody sees."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    compact = triangles.astype(np.int32)
    ends = np.concatenate([compact[:, :2], compact[:, 1:]])
    edges = coo_matrix((np.ones(len(ends), dtype=np.int8), ends.T), shape=(len(vertices),) * 2)
    count, labels = connected_components(edges, directed=False)
    del ends, edges, compact
    part = labels[triangles[:, 0]]
    area, volume = np.empty(len(triangles)), np.empty(len(triangles))
    for first in range(0, len(triangles), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        corners = vertices[triangles[some]]
        normals = 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area[some] = np.linalg.norm(normals, axis=1)
        volume[some] = (normals * corners[:, 0]).sum(axis=1) / 3
    areas, volumes = np.bincount(part, area, count), np.bincount(part, volume, count)
    kept = (areas >= LEAST_SHARE * areas.sum()) & (volumes > 0)
    return compacted(vertices, triangles[kept[part]])


def compacted(vertices: Vertices, triangles: Triangles) -> tuple[Vertices, Triangles]:
    """Return the surface without the vertices that no triangle has."""
    used = np.zeros(len(vertices), dtype=bool)
    used[triangles] = True
    number = np.cumsum(used) - 1
    return vertices[used], number[triangles]


def smoothed(vertices: Vertices, triangles: Triangles, rounds: int) -> Vertices:
    """Return the vertices of a closed surface after rounds of Taubin's smoothing, which keeps the volume."""
    from scipy.sparse import csr_matrix, diags

    if rounds == 0 or len(vertices) == 0:
        return vertices
    compact = triangles.astype(np.int32)  # of a closed surface, whose triangles run along each edge both ways
    starts, ends = compact.reshape(-1), compact[:, [1, 2, 0]].reshape(-1)
    edges = csr_matrix((np.ones(len(starts)), (starts, ends)), shape=(len(vertices),) * 2)
    del starts, ends, compact
    edges.data[:] = 1.0
    mean = diags(1.0 / np.maximum(edges.sum(axis=1).A1, 1.0)) @ edges
    for _ in range(rounds):
        for step in (SHRINK, SWELL):
            vertices = vertices + step * (mean @ vertices - vertices)
    return vertices


def simplified(vertices: Vertices, triangles: Triangles, count: int) -> tuple[Vertices, Triangles]:
    """Return the surface with about `count` triangles, at most, by collapsing edges (Garland and Heckbert 1997)."""
    if len(triangles) <= count:
        return vertices.astype(np.float64), triangles.astype(np.int64)
    simplify = _imported("fast_simplification", "fast-simplification").simplify
    found, faces = simplify(
        np.ascontiguousarray(vertices, dtype=np.float32),
        np.ascontiguousarray(triangles, dtype=np.int32),
        target_count=count,
    )
    return found.astype(np.float64), faces.astype(np.int64)


def _imported(module: str, package: str):  # type: ignore[no-untyped-def]
    """Return a module of the extra `mesh`; a GatlasError that names the extra where it is not installed."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise GatlasError(f"meshes need {package}: pip install 'gatlas[mesh]'") from None
