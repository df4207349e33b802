"""The surface of a mesh: its area, points of it, and the colors that it shows there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.images.srgb import linear_to_srgb
from gatlas.meshes.colors import build_surface, face_normals, sample_colors, unit
from gatlas.meshes.shading import choose_shading
from gatlas.raster.threads import get_num_threads, launch, split_range

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Float64, Int

    from gatlas.meshes.shading import Shading
    from gatlas.types import Mesh


def surface_area(mesh: Mesh) -> float:
    """Return the area of all triangles, world units squared."""
    return float(0.5 * np.linalg.norm(face_normals(mesh), axis=1).sum())


def sample_surface(
    mesh: Mesh, count: int, rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"], Int[np.ndarray, " n"], Float64[np.ndarray, "n 3"]]:
    """Return `count` uniformly random points of the surface, unit normals of their faces, faces and barycentrics."""
    crosses = face_normals(mesh)
    areas = np.linalg.norm(crosses, axis=1)
    total = np.cumsum(areas)
    if len(total) == 0 or not total[-1] > 0:
        raise ValueError(f"a surface to sample must have an area > 0, got {len(mesh.faces)} faces without any")
    faces = np.searchsorted(total, rng.random(count) * total[-1], side="right")
    faces = np.minimum(faces, np.flatnonzero(areas)[-1])  # a product may round up to the total
    # A square root makes the triangle uniform: Osada et al. 2002, eq. 1.
    root, along = np.sqrt(rng.random(count)), rng.random(count)
    barycentrics = np.stack([1 - root, root * (1 - along), root * along], axis=1)
    corners = np.asarray(mesh.vertices, dtype=np.float64)[np.asarray(mesh.faces)[faces]]  # [n 3 3]
    return np.einsum("nk,nki->ni", barycentrics, corners), unit(crosses[faces]), faces, barycentrics


def surface_colors(
    mesh: Mesh, faces: Int[np.ndarray, " n"], barycentrics: Float[np.ndarray, "n 3"], shading: Shading = "auto"
) -> Float32[np.ndarray, "n 4"]:
    """Return the colors that `render_mesh` shows at points of the surface: straight RGBA, sRGB-encoded."""
    if len(faces) and not (np.min(faces) >= 0 and np.max(faces) < len(mesh.faces)):
        raise ValueError(f"faces must be in [0, {len(mesh.faces)}), got {np.min(faces)} to {np.max(faces)}")
    surface = build_surface(mesh, lit=choose_shading(mesh, shading) == "headlight")
    colors = np.empty((len(faces), 4))
    launch(
        sample_colors,
        split_range(len(faces), get_num_threads()),
        surface,
        np.ascontiguousarray(faces, dtype=np.int64),
        np.ascontiguousarray(barycentrics, dtype=np.float64),
        colors,
    )
    colors[:, :3] = linear_to_srgb(colors[:, :3])
    return np.clip(colors, 0.0, 1.0).astype(np.float32)
