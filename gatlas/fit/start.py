"""Initial Gaussians for a fit of a mesh: small thin discs on the visible surface, denser where pictures have detail."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.fit.blue_noise import choose_blue_noise
from gatlas.geometry.cameras import to_camera
from gatlas.geometry.rotations import quats_from_normals
from gatlas.geometry.sh import rgb_to_dc
from gatlas.images.composite import composite
from gatlas.meshes.render import mesh_depths, visible_from
from gatlas.meshes.sample import sample_surface, surface_area, surface_colors
from gatlas.types import LOG_SCALE_RANGE, Gaussians

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from gatlas.meshes.shading import Shading
    from gatlas.types import Cameras, Mesh, Views

POOL = 3  # visible candidates per Gaussian: 8 give the same fit and take three times as long
EVEN_SHARE = 0.1  # of the density, whatever the detail
DETAIL_POWER = 0.67
LAPLACE_SIGMA = 0.7  # pixels
LAPLACE_REACH = 3  # pixels: scipy's filters end at four sigmas
DISC_SIGMA = 0.45  # of the spacing
THICKNESS_SIGMA = 0.05  # of the spacing
OPACITY = 0.9


class VisibleSurface(NamedTuple):
    """Area-uniform points of a surface that some camera sees."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    colors: Float[np.ndarray, "n 4"]  # straight RGBA
    density: Float[np.ndarray, " n"]  # of Gaussians there, > 0, by texture detail and expected pixels
    area: float  # of all that is seen, world units squared


def surface_gaussians(
    mesh: Mesh, views: Views, count: int, rng: np.random.Generator, shading: Shading = "auto"
) -> Gaussians:
    """Exactly `count` Gaussians on the part of a normalized mesh that at least one view sees (numpy).

    The density follows texture detail and expected pixels; the places are blue noise; the discs lie in the surface.
    """
    surface = visible_surface(mesh, views, count, rng, shading)
    chosen = choose_blue_noise(surface.points, surface.density, count)
    relative = surface.density[chosen] / surface.density.mean()
    gaussians = discs(
        surface.points[chosen], surface.normals[chosen], surface.colors[chosen], relative, surface.area / count
    )
    return replace(gaussians, origin=mesh.origin)


def discs(
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    colors: Float[np.ndarray, "n 4"],
    density: Float[np.ndarray, " n"],
    area: float,
) -> Gaussians:
    """Return thin discs at points of a surface; `density` is relative to its mean and `area` that of one disc there."""
    spacing = np.sqrt(area / density)
    # A far sparser corner than the rest would otherwise begin as one big blot.
    spacing = np.clip(spacing, None, 4 * np.median(spacing))
    scales = spacing[:, None] * np.array([DISC_SIGMA, DISC_SIGMA, THICKNESS_SIGMA])
    return Gaussians(
        means=points.astype(np.float32),
        quats=quats_from_normals(normals).astype(np.float32),
        scales=np.clip(scales, *np.exp(LOG_SCALE_RANGE)).astype(np.float32),
        opacities=(OPACITY * np.clip(colors[:, 3], 0.05, 1.0)).astype(np.float32),
        sh=rgb_to_dc(np.clip(colors[:, None, :3], 0.0, 1.0)).astype(np.float32),
    )


def visible_surface(
    mesh: Mesh, views: Views, count: int, rng: np.random.Generator, shading: Shading, *, pool: int = POOL
) -> VisibleSurface:
    """Return `pool` points per Gaussian, of `count`, that some view sees, and the density of Gaussians at each.

    There are fewer where nearly all of the surface is hidden, but never fewer than `count`.
    """
    cameras = views.cameras
    points, normals, colors, visible, area = _visible_pool(mesh, cameras, count, rng, shading, pool)
    pixels = _expected_pixels(points, normals, visible, cameras)
    detail = picture_detail(points, visible, views)
    density = (EVEN_SHARE + (1 - EVEN_SHARE) * detail / max(float(detail.mean()), 1e-12)) * np.sqrt(
        pixels + 0.05 * pixels.mean()
    )
    return VisibleSurface(points, normals, colors, density, area)


def _visible_pool(
    mesh: Mesh, cameras: Cameras, count: int, rng: np.random.Generator, shading: Shading, pool: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Area-uniform points that some camera sees: points, normals [n 3], colors [n 4], visible [c n]; and their area.

    There are `pool` for each Gaussian, unless nearly all of the surface is hidden; never fewer than `count`.
    """
    depths = mesh_depths(mesh, cameras)
    pixel = 2.0 / float(cameras.Ks[:, 0, 0].min())  # about one pixel at the far side of the unit ball, world units
    rounds, found, drawn = [], 0, 0
    while found < pool * count and drawn < 16 * pool * count:
        batch = max(pool * count, 4096)
        points, normals, faces, barycentrics = sample_surface(mesh, batch, rng)
        visible = visible_from(points, depths, cameras, 2 * pixel)
        colors = surface_colors(mesh, faces, barycentrics, shading)
        seen = np.flatnonzero(visible.any(axis=0) & (colors[:, 3] > 0.05))
        rounds.append((points[seen], normals[seen], colors[seen], visible[:, seen]))
        found, drawn = found + len(seen), drawn + batch
    if found == 0:
        raise GatlasError("no point of the surface is seen from any camera: the mesh is fully transparent or too thin")
    points, normals, colors = (np.concatenate([each[i] for each in rounds]) for i in range(3))
    visible = np.concatenate([each[3] for each in rounds], axis=1)
    # The draws are area-uniform, so the share that is visible measures the visible area.
    area = surface_area(mesh) * found / drawn
    if found < count:  # a sliver of a large mesh: repeat its points, each Gaussian finds its own place in the fit
        repeated = np.resize(np.arange(found), count)
        return points[repeated], normals[repeated], colors[repeated], visible[:, repeated], area
    first = slice(0, pool * count)
    return points[first], normals[first], colors[first], visible[:, first], area


def _expected_pixels(
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    visible: Bool[np.ndarray, "c n"],
    cameras: Cameras,
) -> Float[np.ndarray, " n"]:
    """Pixels that a unit of surface area covers, averaged over the views: visible * cos * (focal / depth)^2."""
    total = np.zeros(len(points))
    for viewmat, K, seen in zip(cameras.viewmats, cameras.Ks, visible, strict=True):
        local = to_camera(points[seen], viewmat)
        facing = np.abs(np.einsum("ni,ni->n", local, normals[seen] @ viewmat[:3, :3].T))
        facing /= np.linalg.norm(local, axis=1)
        total[seen] += facing * K[0, 0] * K[1, 1] / local[:, 2] ** 2
    return total / len(cameras)


def picture_detail(
    points: Float[np.ndarray, "n 3"], visible: Bool[np.ndarray, "c n"], views: Views
) -> Float[np.ndarray, " n"]:
    """Detail at each point: RMS over the views that see it of the picture's Laplacian over grey, to DETAIL_POWER."""
    from scipy.ndimage import gaussian_laplace

    squared = np.zeros(len(points))
    cameras = views.cameras
    for image, viewmat, K, seen in zip(views.images, cameras.viewmats, cameras.Ks, visible, strict=True):
        if not seen.any():
            continue
        local = to_camera(points[seen], viewmat)
        column = (local[:, 0] / local[:, 2] * K[0, 0] + K[0, 2]).astype(int).clip(0, cameras.width - 1)
        row = (local[:, 1] / local[:, 2] * K[1, 1] + K[1, 2]).astype(int).clip(0, cameras.height - 1)
        # As far as points are, and the filter's reach around them
        top, left = max(0, int(row.min()) - LAPLACE_REACH), max(0, int(column.min()) - LAPLACE_REACH)
        shown = image[top : int(row.max()) + LAPLACE_REACH + 1, left : int(column.max()) + LAPLACE_REACH + 1]
        over_grey = composite(shown, 0.5)
        laplacian = sum(gaussian_laplace(over_grey[..., channel], LAPLACE_SIGMA) ** 2 for channel in range(3))
        squared[seen] += laplacian[row - top, column - left]
    return (squared / np.maximum(visible.sum(axis=0), 1)) ** (DETAIL_POWER / 2)
