"""Meshes to pictures and depths: a z-buffer renderer on the CPU (numpy and numba).

Colors are pure albedo and what the surface emits: no light, no shadow, no culling, so that a surface has one color from
all sides. Meshes whose own colors do not show their form are lit by one light that hangs in the world (see
`gatlas.meshes.shading`). A pixel is the mean, in linear light, of its covered subsamples; its alpha is their share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import to_camera
from gatlas.meshes import kernels
from gatlas.meshes.colors import build_surface
from gatlas.meshes.draw import draw_all, draw_images, subsample_orders
from gatlas.meshes.shading import choose_shading
from gatlas.types import Views

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Int32

    from gatlas.meshes.shading import Shading
    from gatlas.types import Cameras, Mesh


class MeshHits(NamedTuple):
    """The surface points that the rays through the pixel centers meet."""

    faces: Int32[np.ndarray, "c h w"]  # -1 where nothing is
    barycentrics: Float32[np.ndarray, "c h w 2"]  # weights of the face's first two corners; the third is the rest
    depths: Float32[np.ndarray, "c h w"]  # z in the camera, world units; +inf where nothing is


def render_mesh(mesh: Mesh, cameras: Cameras, *, supersample: int = 4, shading: Shading = "auto") -> Views:
    """Pictures of a mesh: float32, straight RGBA, sRGB-encoded; alpha is the covered share of the pixel.

    Each pixel has `supersample`^2 subsamples. Translucent (BLEND) faces cover a share of them that is chosen by a hash,
    the same in every run.
    """
    lit = choose_shading(mesh, shading) == "headlight"
    return Views(images=draw_images(mesh, cameras, supersample, lit=lit), cameras=cameras)


def mesh_hits(mesh: Mesh, cameras: Cameras) -> MeshHits:
    """Return the face that the ray through each pixel's center meets first, and the place on it.

    Cut-out (MASK) parts are not met, nor translucent (BLEND) ones whose alpha is below 1/2.
    """
    surface = build_surface(mesh, lit=False)
    patterns = subsample_orders(1)
    shape = (len(cameras), cameras.height, cameras.width)
    hits = MeshHits(
        faces=np.empty(shape, dtype=np.int32),
        barycentrics=np.empty((*shape, 2), dtype=np.float32),
        depths=np.empty(shape, dtype=np.float32),
    )

    def draw(first: int, step: int, camera: int, screen: kernels.Screen) -> None:
        kernels.hit_bands(
            first, step, surface, screen, patterns, hits.depths[camera], hits.faces[camera], hits.barycentrics[camera]
        )

    draw_all(mesh, surface, cameras, 1, draw)
    return hits


def mesh_depths(mesh: Mesh, cameras: Cameras) -> Float32[np.ndarray, "c h w"]:
    """z in the camera, world units, of what each pixel's center sees; +inf where nothing is. See `mesh_hits`."""
    return mesh_hits(mesh, cameras).depths


def visible_from(
    points: Float[np.ndarray, "n 3"], depths: Float[np.ndarray, "c h w"], cameras: Cameras, tolerance: float
) -> Bool[np.ndarray, "c n"]:
    """Return which points each camera sees: in its picture and at most `tolerance` (world units) behind its depths."""
    visible = np.zeros((len(cameras), len(points)), dtype=bool)
    for i in range(len(cameras)):
        view, K = np.asarray(cameras.viewmats[i], dtype=np.float64), np.asarray(cameras.Ks[i], dtype=np.float64)
        local = to_camera(points, view)
        z = local[:, 2]
        x, y = (local @ K.T)[:, :2].T / np.where(z > 0, z, 1)
        inside = (z > 0) & (x >= 0) & (y >= 0) & (x < cameras.width) & (y < cameras.height)
        columns, rows = x[inside].astype(int), y[inside].astype(int)
        visible[i, inside] = z[inside] <= depths[i][rows, columns] + tolerance
    return visible
