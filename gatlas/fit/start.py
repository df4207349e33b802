"""Where a fit of a mesh begins: small thin discs on the visible surface, dense where the pictures need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.fit.blue_noise import choose_blue_noise
from gatlas.raster.mesh import mesh_depths, sample_surface, surface_colors, visible_from
from gatlas.rotations import quats_from_normals
from gatlas.sh import rgb_to_dc
from gatlas.types import LOG_SCALE_RANGE, Gaussians

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from gatlas.types import Cameras, Mesh, Views

POOL = 8  # visible candidates per Gaussian
EVEN_SHARE = 0.1  # of the density, whatever the detail
DETAIL_POWER = 0.67
DISC_SIGMA = 0.45  # of the spacing
THICKNESS_SIGMA = 0.05  # of the spacing
OPACITY = 0.9


def surface_gaussians(mesh: Mesh, views: Views, count: int, rng: np.random.Generator) -> Gaussians:
    """Exactly `count` Gaussians on the part of a normalised mesh that at least one view sees (numpy).

    The density follows texture detail and expected pixels; the places are blue noise; the discs lie in the surface.
    """
    cameras = views.cameras
    depths = mesh_depths(mesh, cameras)
    pool = POOL * count
    points, normals, faces, barycentrics = sample_surface(mesh, 3 * pool, rng)
    pixel = 2.0 / cameras.Ks[:, 0, 0].min()  # about one pixel of the unit ball's far side, world units
    visible = visible_from(points, depths, cameras, float(2 * pixel))
    colors = surface_colors(mesh, faces, barycentrics)  # [n 4]
    keep = np.flatnonzero(visible.any(axis=0) & (colors[:, 3] > 0.05))[:pool]
    if len(keep) == 0:
        raise GatlasError("no point of the surface is seen from any camera: the mesh is fully transparent or too thin")
    # The pool is area-uniform, so the share that is visible measures the visible area.
    area = surface_area(mesh) * float((visible.any(axis=0) & (colors[:, 3] > 0.05)).mean())
    if len(keep) < count:  # a thin visible part of a large mesh: repeat it, each copy at its own place
        keep = np.resize(keep, count)
    points, normals, colors, visible = points[keep], normals[keep], colors[keep], visible[:, keep]

    pixels = _expected_pixels(points, normals, visible, cameras)
    detail = _detail(points, visible, views)
    density = (EVEN_SHARE + (1 - EVEN_SHARE) * detail / max(float(detail.mean()), 1e-12)) * np.sqrt(
        pixels + 0.05 * pixels.mean()
    )
    chosen = choose_blue_noise(points, density, count)
    spacing = np.sqrt(area / (count * density[chosen] / density.mean()))
    # A far sparser corner than the rest would otherwise begin as one big blot.
    spacing = np.clip(spacing, None, 4 * np.median(spacing))
    scales = spacing[:, None] * np.array([DISC_SIGMA, DISC_SIGMA, THICKNESS_SIGMA])
    return Gaussians(
        means=points[chosen].astype(np.float32),
        quats=quats_from_normals(normals[chosen]).astype(np.float32),
        scales=np.clip(scales, *np.exp(LOG_SCALE_RANGE)).astype(np.float32),
        opacities=(OPACITY * np.clip(colors[chosen, 3], 0.05, 1.0)).astype(np.float32),
        sh=rgb_to_dc(np.clip(colors[chosen, None, :3], 0.0, 1.0)).astype(np.float32),
        origin=mesh.origin,
    )


def surface_area(mesh: Mesh) -> float:
    """Area of all triangles, world units squared."""
    a, b, c = (np.asarray(mesh.vertices, dtype=np.float64)[mesh.faces[:, i]] for i in range(3))
    return float(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())


def _expected_pixels(
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    visible: Bool[np.ndarray, "c n"],
    cameras: Cameras,
) -> Float[np.ndarray, " n"]:
    """Pixels that a unit of surface area covers, averaged over the views: visible * cos * (focal / depth)^2."""
    total = np.zeros(len(points))
    for viewmat, K, seen in zip(cameras.viewmats, cameras.Ks, visible, strict=True):
        local = points[seen] @ viewmat[:3, :3].T + viewmat[:3, 3]
        facing = np.abs(np.einsum("ni,ni->n", local, normals[seen] @ viewmat[:3, :3].T))
        facing /= np.linalg.norm(local, axis=1)
        total[seen] += facing * K[0, 0] * K[1, 1] / local[:, 2] ** 2
    return total / len(cameras)


def _detail(
    points: Float[np.ndarray, "n 3"], visible: Bool[np.ndarray, "c n"], views: Views
) -> Float[np.ndarray, " n"]:
    """Detail at each point: RMS over the views that see it of the picture's Laplacian over grey, to DETAIL_POWER."""
    from scipy.ndimage import gaussian_laplace

    squared = np.zeros(len(points))
    cameras = views.cameras
    for image, viewmat, K, seen in zip(views.images, cameras.viewmats, cameras.Ks, visible, strict=True):
        over_grey = image[..., :3] * image[..., 3:] + 0.5 * (1 - image[..., 3:])
        laplacian = sum(gaussian_laplace(over_grey[..., channel], 0.7) ** 2 for channel in range(3))
        local = points[seen] @ viewmat[:3, :3].T + viewmat[:3, 3]
        column = (local[:, 0] / local[:, 2] * K[0, 0] + K[0, 2]).astype(int).clip(0, cameras.width - 1)
        row = (local[:, 1] / local[:, 2] * K[1, 1] + K[1, 2]).astype(int).clip(0, cameras.height - 1)
        squared[seen] += laplacian[row, column]
    return (squared / np.maximum(visible.sum(axis=0), 1)) ** (DETAIL_POWER / 2)
