"""Drawing of a mesh by one camera after another or several at a time, many bands of rows of each at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.cameras import to_camera
from gatlas.meshes import kernels
from gatlas.meshes.colors import Surface, build_surface
from gatlas.raster.threads import get_num_threads, launch, split_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float32, Int32

    from gatlas.types import Cameras, Mesh


def draw_images(mesh: Mesh, cameras: Cameras, supersample: int, *, lit: bool) -> Float32[np.ndarray, "c h w 4"]:
    """Return pictures of a mesh, with or without the headlight: straight RGBA, sRGB-encoded."""
    if supersample < 1:
        raise ValueError(f"supersample must be >= 1, got {supersample}")
    surface = build_surface(mesh, lit=lit)
    patterns = subsample_orders(supersample)
    images = np.empty((len(cameras), cameras.height, cameras.width, 4), dtype=np.float32)

    def draw(first: int, step: int, camera: int, screen: kernels.Screen) -> None:
        kernels.render_bands(first, step, surface, screen, supersample, patterns, images[camera])

    draw_all(mesh, surface, cameras, supersample, draw)
    return images


def draw_all(
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


def subsample_orders(supersample: int) -> Int32[np.ndarray, "p s"]:
    """Orders of the subsamples of a pixel, drawn once and for all."""
    rng = np.random.default_rng(0)
    count = supersample * supersample
    return np.stack([rng.permutation(count) for _ in range(kernels.PATTERNS)]).astype(np.int32)
