"""Meshes to pictures and depths: a z-buffer renderer on the CPU (numpy and numba).

Colors are pure albedo: no light, no shadow, no culling, so that a surface has one color from all sides. Meshes that
have no colors of their own are lit by one light that hangs in the world (see `gatlas.meshes.colors.resolve_shading`). A
pixel is the mean, in linear light, of its covered subsamples; its alpha is their share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import to_camera
from gatlas.meshes import kernels
from gatlas.meshes.colors import Surface, build_surface
from gatlas.raster.threads import get_num_threads, launch, split_range
from gatlas.types import Views

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, Float32, Int32

    from gatlas.meshes.colors import Shading
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
    if supersample < 1:
        raise ValueError(f"supersample must be >= 1, got {supersample}")
    surface = build_surface(mesh, shading)
    patterns = _patterns(supersample)
    images = np.empty((len(cameras), cameras.height, cameras.width, 4), dtype=np.float32)

    def draw(first: int, step: int, camera: int, screen: kernels.Screen) -> None:
        kernels.render_bands(first, step, surface, screen, supersample, patterns, images[camera])

    _draw_all(mesh, surface, cameras, supersample, draw)
    return Views(images=images, cameras=cameras)


def mesh_hits(mesh: Mesh, cameras: Cameras) -> MeshHits:
    """Return the face that the ray through each pixel's center meets first, and the place on it.

    Cut-out (MASK) parts are not met, nor translucent (BLEND) ones whose alpha is below 1/2.
    """
    surface = build_surface(mesh, "unlit")
    patterns = _patterns(1)
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

    _draw_all(mesh, surface, cameras, 1, draw)
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
        pixels = (local @ K.T)[:, :2] / np.where(z > 0, z, 1)[:, None]
        inside = (z > 0) & (pixels >= 0).all(axis=1) & (pixels < [cameras.width, cameras.height]).all(axis=1)
        columns, rows = pixels[inside].astype(int).T
        visible[i, inside] = z[inside] <= depths[i][rows, columns] + tolerance
    return visible


def _draw_all(
    mesh: Mesh,
    surface: Surface,
    cameras: Cameras,
    supersample: int,
    draw: Callable[[int, int, int, kernels.Screen], None],
) -> None:
    """Call draw(first, step, camera, screen) for the bands of every camera, many cameras or many bands at a time."""
    threads = get_num_threads()

    def draw_cameras(start: int, stop: int, threads_each: int) -> None:
        for camera in range(start, stop):
            screen = _screen(mesh, surface, cameras, camera, supersample)
            shares = [(first, threads_each) for first in range(threads_each)]
            launch(draw, shares, camera, screen)

    if len(cameras) >= threads:
        launch(draw_cameras, split_range(len(cameras), threads), 1)
    else:
        draw_cameras(0, len(cameras), threads)


def _screen(mesh: Mesh, surface: Surface, cameras: Cameras, camera: int, supersample: int) -> kernels.Screen:
    view = np.asarray(cameras.viewmats[camera], dtype=np.float64)
    K = np.diag([supersample, supersample, 1.0]) @ np.asarray(cameras.Ks[camera], dtype=np.float64)
    inverse = np.linalg.inv(K)
    points = np.ascontiguousarray(to_camera(np.asarray(mesh.vertices, dtype=np.float64), view))
    width, height = supersample * cameras.width, supersample * cameras.height
    records = np.empty((2 * len(surface.faces), kernels.RECORD))
    record_faces = np.empty(len(records), dtype=np.int32)
    near = kernels.NEAR_SHARE * float(points[:, 2].max(initial=0.0))
    count = 0
    if near > 0:
        count = kernels.project_faces(surface.faces, points, K, inverse, near, width, height, records, record_faces)
    records = records[:count]
    rows = kernels.BAND_ROWS * supersample
    bands = -(-height // rows)
    return kernels.Screen(points, inverse, records, record_faces[:count], *kernels.list_by_band(records, rows, bands))


def _patterns(supersample: int) -> Int32[np.ndarray, "p s"]:
    """Orders of the subsamples of a pixel, drawn once and for all."""
    rng = np.random.default_rng(0)
    count = supersample * supersample
    return np.stack([rng.permutation(count) for _ in range(kernels.PATTERNS)]).astype(np.int32)
