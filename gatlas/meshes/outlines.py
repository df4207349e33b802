"""A surface moved so that its outlines are where the splat's are.

Depths say little about where a surface bends away from a view: there the splat is blurred and its Gaussians stand out
of the surface. The outlines of the splat's pictures show just these places, from other views the same ones head-on. So
each vertex moves along its normal by what the outlines beside it are off, in the mean; what shows no outline follows
its neighbors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.meshes import outline_kernels
from gatlas.meshes.colors import face_normals
from gatlas.meshes.depth_maps import parts_of
from gatlas.meshes.render import mesh_hits
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range
from gatlas.types import Material, Mesh

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float64, Int64

    from gatlas.meshes.render import MeshHits
    from gatlas.meshes.splat_views import SplatViews

    Vertices = Float64[np.ndarray, "v 3"]
    Triangles = Int64[np.ndarray, "t 3"]

ROUNDS = 2  # of measuring and moving
REACH = 0.0135  # radii: an outline that is farther is another one
STIFFNESS = 0.5  # of an edge, against the pixels beside an outline: how much neighbors move alike
REST = 0.2  # of the mean weight of a vertex: what holds each one, and most those beside no outline, where it is
SWEEPS = 40  # of Jacobi's iteration


def fit_outlines(
    vertices: Vertices,
    triangles: Triangles,
    views: SplatViews,
    *,
    rounds: int = ROUNDS,
    on_round: Callable[[], None] = lambda: None,
) -> Vertices:
    """Return the vertices of a surface, in the units of the views' ball, moved to the outlines that the views show."""
    edges = _adjacency(len(vertices), triangles)
    for _ in range(rounds):
        mesh = uncolored(vertices, triangles)
        normals = _vertex_normals(mesh)
        sums, weights = np.zeros(len(vertices)), np.zeros(len(vertices))
        for part in parts_of(views.cameras):
            _add_outlines(mesh, normals, views, part, sums, weights)
        vertices = vertices + _relaxed(sums, weights, edges)[:, None] * normals
        on_round()
    return vertices


def _add_outlines(
    mesh: Mesh,
    normals: Vertices,
    views: SplatViews,
    part: slice,
    sums: Float64[np.ndarray, " v"],
    weights: Float64[np.ndarray, " v"],
) -> None:
    """Add to each vertex what the outlines of some views say: distances times their weights, and the weights."""
    hits = mesh_hits(mesh, views.cameras[part])
    covered = hits.faces >= 0
    pixels = np.argwhere(_beside_outline(covered))
    corners, shares = _corners(mesh, hits, pixels)
    distances, strengths = np.empty(len(pixels)), np.empty(len(pixels))
    with announced_compilation(outline_kernels.measure_outlines):
        launch(
            outline_kernels.measure_outlines,
            split_range(len(pixels), get_num_threads()),
            pixels,
            (normals[corners] * shares[..., None]).sum(axis=1),
            views.maps.pinholes.views[part],
            views.maps.pinholes.focals[part],
            covered,
            hits.depths,
            views.pictures[part][..., 3],
            REACH,
            distances,
            strengths,
        )
    shares *= strengths[:, None]
    for k in range(3):
        weights += np.bincount(corners[:, k], shares[:, k], len(weights))
        sums += np.bincount(corners[:, k], shares[:, k] * distances, len(sums))


def _beside_outline(covered: Bool[np.ndarray, "c h w"]) -> Bool[np.ndarray, "c h w"]:
    """Return which covered pixels have a neighbor that is not; none at the border of the picture."""
    found = np.zeros_like(covered)
    inner = covered[:, 1:-1, 1:-1]
    found[:, 1:-1, 1:-1] = inner & ~(
        covered[:, :-2, 1:-1] & covered[:, 2:, 1:-1] & covered[:, 1:-1, :-2] & covered[:, 1:-1, 2:]
    )
    return found


def _corners(
    mesh: Mesh, hits: MeshHits, pixels: Int64[np.ndarray, "n 3"]
) -> tuple[Int64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"]]:
    """Return the vertices of the face that each pixel shows, and their shares in the place that it shows."""
    places = tuple(pixels.T)
    shares = np.empty((len(pixels), 3))
    shares[:, :2] = hits.barycentrics[places]
    shares[:, 2] = 1.0 - shares[:, 0] - shares[:, 1]
    return mesh.faces[hits.faces[places]].astype(np.int64), shares.clip(0.0, 1.0)


def _relaxed(sums: Float64[np.ndarray, " v"], weights: Float64[np.ndarray, " v"], edges) -> Float64[np.ndarray, " v"]:  # type: ignore[no-untyped-def]
    """Return steps that are weighted means of what is known of a vertex and the steps of its neighbors."""
    steps = np.zeros(len(sums))
    total = weights + STIFFNESS * edges.sum(axis=1).A1 + REST * weights.mean()
    for _ in range(SWEEPS):
        steps = np.divide(sums + STIFFNESS * (edges @ steps), total, out=np.zeros_like(sums), where=total > 0)
    return steps


def _adjacency(count: int, triangles: Triangles):  # type: ignore[no-untyped-def]
    """Return the sparse matrix that is 1 where two vertices share an edge of a closed surface."""
    from scipy.sparse import csr_matrix

    starts, ends = triangles.reshape(-1), triangles[:, [1, 2, 0]].reshape(-1)
    edges = csr_matrix((np.ones(len(starts)), (starts, ends)), shape=(count, count))
    edges.data[:] = 1.0
    return edges


def _vertex_normals(mesh: Mesh) -> Vertices:
    """Return the normals of the vertices: means of those of their faces, weighted by area."""
    normals = face_normals(mesh)
    sums = np.zeros((len(mesh.vertices), 3))
    for k in range(3):
        for axis in range(3):
            sums[:, axis] += np.bincount(mesh.faces[:, k], normals[:, axis], len(sums))
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return sums / np.where(lengths > 0, lengths, 1.0)


def uncolored(vertices: Vertices, triangles: Triangles) -> Mesh:
    """Return the surface as a mesh without colors."""
    return Mesh(
        vertices=vertices,
        faces=triangles.astype(np.int32),
        face_materials=np.zeros(len(triangles), dtype=np.int32),
        uvs=np.zeros((len(vertices), 2), dtype=np.float32),
        colors=np.ones((len(vertices), 4), dtype=np.float32),
        materials=(Material(),),
    )
