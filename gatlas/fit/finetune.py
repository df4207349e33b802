"""A few more steps for Gaussians that lost some of their number."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.cameras import fibonacci_views
from gatlas.fit.mesh import SUPERSAMPLE, measure
from gatlas.fit.optimize import optimize
from gatlas.frames import into_unit_ball, scaled
from gatlas.raster import rasterize
from gatlas.raster.mesh import normalize_mesh, render_mesh
from gatlas.types import Mesh, Views

if TYPE_CHECKING:
    from gatlas.fit.optimize import Progress
    from gatlas.types import Cameras, Gaussians

RATE = 0.3  # of a fit's learning rates: what is near its place already should not be thrown about


def finetune(
    gaussians: Gaussians,
    reference: Gaussians | Mesh,
    iterations: int,
    rng: np.random.Generator,
    *,
    views: int = 64,
    resolution: int = 256,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Gaussians:
    """The same number of Gaussians after `iterations` steps towards pictures of the reference (numpy).

    The reference is the mesh that they were fitted to, or the Gaussians before some were taken.
    """
    unit, center, scale = into_unit_ball(gaussians)
    cameras = fibonacci_views(views, resolution, resolution)
    if isinstance(reference, Mesh):
        pictures = reference_views(reference, cameras)
    else:
        pictures = reference_views(_moved(reference, center, scale), cameras)
    tuned = optimize(
        replace(unit, sh=unit.sh[:, :1]), pictures, iterations, rng, rate=RATE, device=device, progress=progress
    )
    return scaled(tuned, center, scale)


def picture_quality(
    gaussians: Gaussians, reference: Gaussians | Mesh, *, views: int = 20, resolution: int = 256
) -> tuple[float, float]:
    """PSNR in dB and SSIM against the reference over white, from cameras that `finetune` does not use (numpy)."""
    unit, center, scale = into_unit_ball(gaussians)
    cameras = fibonacci_views(views, resolution, resolution, phase=0.5)
    moved = reference if isinstance(reference, Mesh) else _moved(reference, center, scale)
    return measure(unit, reference_views(moved, cameras))


def reference_views(reference: Gaussians | Mesh, cameras: Cameras) -> Views:
    """RGBA pictures of a mesh, moved into the unit ball, or of Gaussians that are there already."""
    if isinstance(reference, Mesh):
        return render_mesh(normalize_mesh(reference), cameras, supersample=SUPERSAMPLE)
    images = np.empty((len(cameras), cameras.height, cameras.width, 4), dtype=np.float32)
    for image, camera in zip(images, cameras, strict=True):
        colors, alphas, _ = rasterize(reference, camera)
        image[..., :3] = np.divide(colors[0], alphas[0], out=np.zeros_like(colors[0]), where=alphas[0] > 0)
        image[..., 3:] = alphas[0]
    return Views(images.clip(0.0, 1.0), cameras)


def _moved(gaussians: Gaussians, center: tuple[float, float, float], scale: float) -> Gaussians:
    """Into the unit ball of other Gaussians."""
    x, y, z = center
    return scaled(gaussians, (-x / scale, -y / scale, -z / scale), 1 / scale)
