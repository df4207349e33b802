"""The oracle: Gaussian rasterization in plain torch, any floating type, differentiated by autograd.

This is what every backend computes (the conventions of gsplat 1.5.3, Kerbl et al. 2023):

- OpenCV cameras; the center of the first pixel is (0.5, 0.5); skew is ignored.
- A Gaussian is left out where z < near_plane or z > far_plane, or where its opacity is below 1/255.
- cov2d = J W S W' J' + eps2d I. The Jacobian J is taken at the mean, moved to within 0.3 half-pictures of the picture's
  edge; the mean itself is not moved.
- Antialiased, an opacity is multiplied by sqrt(det(J W S W' J') / det(cov2d)) before anything else is made of it.
- alpha = min(0.999, opacity exp(-sigma)), 0 where it is below 1/255. A clamped alpha has no gradient.
- Front to back by depth rounded to float32, ties by index. A Gaussian that would leave a transmittance of 1e-4 or
  less is not blended and ends the pixel.
- There is no cut at a number of standard deviations: gsplat's box (at most 3.33, rounded up to whole pixels) ends where
  alpha < 1/255 for every opacity in [0, 1], so it only saves time. Here too it only chooses what to evaluate.
- depth is the mean of z with the blending weights, sum(T alpha z) / max(alpha, 1e-10).
- median depth is the z of the Gaussian behind which the transmittance is 1/2 or less, for the first time; 0 where none.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from gatlas.raster.colors import seen_colors
from gatlas.raster.rendering import ProjectionOptions, Rendering

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Int64
    from torch import Tensor

    from gatlas.types import Cameras, Gaussians

MIN_ALPHA = 1 / 255
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4
MAX_EXTENT = 3.33  # standard deviations
DEFAULTS = ProjectionOptions()
ROWS_AT_ONCE = 4  # of pixels, to bound memory


class Projection(NamedTuple):
    """Gaussians in the picture of one camera."""

    means2d: Float[Tensor, "n 2"]  # pixels
    conics: Float[Tensor, "n 3"]  # xx, xy, yy of the inverse covariance
    depths: Float[Tensor, " n"]  # z in the camera
    radii: Float[Tensor, "n 2"]  # half sides of the box, pixels
    opacities: Float[Tensor, " n"]  # lowered where antialiased
    visible: Bool[Tensor, " n"]


def rasterize_reference(
    gaussians: Gaussians,
    cameras: Cameras,
    backgrounds: Float[Tensor, "c 3"],
    means2d_absgrad: Float32[Tensor, "c n 2"] | None,
    options: ProjectionOptions,
) -> Rendering:
    """`gatlas.raster.rasterize` for torch tensors; the cameras' gradients too."""
    pictures = []
    for i, colors in enumerate(seen_colors(gaussians, cameras.viewmats)):
        projection = project(gaussians, cameras[i], options.of_camera(i))
        absolute = None if means2d_absgrad is None else means2d_absgrad[i]
        pictures.append(_blend(projection, colors, backgrounds[i], absolute, cameras.width, cameras.height))
    if not pictures:
        empty = gaussians.means.new_zeros
        shape = (0, cameras.height, cameras.width)
        return Rendering(empty((*shape, 3)), empty((*shape, 1)), empty((*shape, 1)))
    return Rendering(*(torch.stack(images) for images in zip(*pictures, strict=True)))


def project(gaussians: Gaussians, camera: Cameras, options: ProjectionOptions = DEFAULTS) -> Projection:
    """The Gaussians in the picture of a set of one camera."""
    viewmat, K = camera.viewmats[0], camera.Ks[0]
    width, height = camera.width, camera.height
    rotation = viewmat[:3, :3]
    means = gaussians.means @ rotation.T + viewmat[:3, 3]
    depths = means[:, 2]
    in_range = (depths >= options.near_plane) & (depths <= options.far_plane) & (gaussians.opacities >= MIN_ALPHA)
    z = torch.where(in_range, depths, 1.0)  # keeps what is left out finite, hence its gradient 0
    ratios = means[:, :2] / z[:, None]
    focal, center = torch.stack([K[0, 0], K[1, 1]]), K[:2, 2]
    means2d = focal * ratios + center

    size = torch.tensor([width, height], dtype=K.dtype, device=K.device)
    margin = 0.3 * 0.5 * size / focal
    ratios = torch.minimum(torch.maximum(ratios, -(center / focal + margin)), (size - center) / focal + margin)
    zero = torch.zeros_like(z)
    J = torch.stack(
        [focal[0] / z, zero, -focal[0] * ratios[:, 0] / z, zero, focal[1] / z, -focal[1] * ratios[:, 1] / z], dim=-1
    ).reshape(-1, 2, 3)
    T = J @ rotation @ (_rotation_matrices(gaussians.quats) * gaussians.scales[:, None, :])
    cov2d = T @ T.mT + options.eps2d * torch.eye(2, dtype=T.dtype, device=T.device)
    xx, xy, yy = cov2d[:, 0, 0], cov2d[:, 0, 1], cov2d[:, 1, 1]
    determinants = xx * yy - xy * xy
    proper = in_range & (determinants > 0) & determinants.isfinite()
    determinants = torch.where(proper, determinants, 1.0)
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinants[:, None]
    opacities = gaussians.opacities
    if options.antialiased:  # det(T T') as the square of a cross product, which does not cancel for needles
        squares = torch.linalg.cross(T[:, 0], T[:, 1]).square().sum(dim=-1) / determinants
        flat = squares <= MIN_ALPHA**2 / 4  # leaves less than 1/255 of any opacity; the root has no gradient at 0
        opacities = torch.where(flat, 0.0, opacities * torch.where(flat, 1.0, squares).sqrt())
        proper = proper & (opacities >= MIN_ALPHA)

    with torch.no_grad():
        extents = (2 * torch.log(opacities.clamp(min=MIN_ALPHA) / MIN_ALPHA)).sqrt().clamp(max=MAX_EXTENT)
        radii = extents[:, None] * torch.stack([xx, yy], dim=-1).sqrt()
        inside = (means2d + radii > 0) & (means2d - radii < size)
        visible = proper & inside.all(dim=-1)
    return Projection(means2d, conics, depths, radii, opacities, visible)


def _rotation_matrices(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(entries, dim=-1).reshape(-1, 3, 3)


def _blend(
    projection: Projection,
    colors: Float[Tensor, "n 3"],
    background: Float[Tensor, " 3"],
    absolute: Float32[Tensor, "n 2"] | None,
    width: int,
    height: int,
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 1"], Float[Tensor, "h w 1"]]:
    """Blend front to back, a band of rows at a time."""
    bands = []
    for rows, touching, alpha, transmittance in _bands(projection, absolute, width, height):
        weights = alpha * transmittance[:, :-1]
        left = transmittance[:, -1:]
        band_colors = weights @ colors[touching] + left * background
        band_alphas = 1 - left
        band_depths = (weights @ projection.depths[touching, None]) / band_alphas.clamp(min=1e-10)
        shape = (len(rows), width, -1)
        bands.append([band.reshape(shape) for band in (band_colors, band_alphas, band_depths)])
    band_colors, band_alphas, band_depths = (torch.cat(images) for images in zip(*bands, strict=True))
    return band_colors, band_alphas, band_depths


def median_gaussians_reference(
    gaussians: Gaussians, cameras: Cameras, options: ProjectionOptions
) -> Int64[Tensor, "c h w"]:
    """`gatlas.raster.median_gaussians` for torch tensors."""
    shape = (len(cameras), cameras.height, cameras.width)
    indices = torch.full(shape, -1, dtype=torch.int64, device=gaussians.means.device)
    for i in range(len(cameras)):
        projection = project(gaussians, cameras[i], options.of_camera(i))
        for rows, touching, _, transmittance in _bands(projection, None, cameras.width, cameras.height):
            halved = transmittance[:, 1:] <= 0.5  # behind each Gaussian
            if halved.shape[1]:
                first = touching[halved.to(torch.uint8).argmax(dim=1)]
                found = torch.where(halved.any(dim=1), first, -1)
                indices[i, rows[0] : rows[-1] + 1] = found.reshape(len(rows), cameras.width)
    return indices


def _bands(
    projection: Projection, absolute: Float32[Tensor, "n 2"] | None, width: int, height: int
) -> Iterator[tuple[range, Int64[Tensor, " m"], Float[Tensor, "p m"], Float[Tensor, "p m_plus_1"]]]:
    """Yield bands of rows: the Gaussians that may touch them, front to back, their alphas and the light before each.

    The light has one column more: what is left behind all.
    """
    order = torch.argsort(projection.depths.detach().to(torch.float32), stable=True)
    order = order[projection.visible[order]]
    means2d, conics, _, radii, opacities = (field[order] for field in projection[:5])
    top, bottom = means2d[:, 1].detach() - radii[:, 1], means2d[:, 1].detach() + radii[:, 1]
    for first in range(0, height, ROWS_AT_ONCE):
        rows = range(first, min(first + ROWS_AT_ONCE, height))
        touching = (top <= rows[-1] + 1) & (bottom >= rows[0])
        grid = torch.meshgrid(torch.arange(width), torch.tensor(list(rows)), indexing="xy")
        pixels = torch.stack(grid, dim=-1).reshape(-1, 1, 2).to(means2d) + 0.5  # [p 1 2]
        offsets = means2d[touching] - pixels  # [p m 2]
        if absolute is not None and offsets.requires_grad:
            offsets.register_hook(partial(_add_absolute, absolute, order[touching]))
        dx, dy = offsets.unbind(-1)  # [p m]
        xx, xy, yy = conics[touching].unbind(-1)
        sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
        alpha = (opacities[touching] * torch.exp(-sigma)).clamp(max=MAX_ALPHA)
        alpha = torch.where((sigma >= 0) & (alpha >= MIN_ALPHA), alpha, 0.0)
        with torch.no_grad():  # once a Gaussian ends the pixel, all behind it find even less light
            blended = torch.cumprod(1 - alpha, dim=1) > MIN_TRANSMITTANCE
        alpha = torch.where(blended, alpha, 0.0)
        transmittance = torch.cumprod(torch.cat([alpha.new_ones(len(alpha), 1), 1 - alpha], dim=1), dim=1)  # [p m+1]
        yield rows, order[touching], alpha, transmittance


def _add_absolute(
    absolute: Float32[Tensor, "n 2"], order: Int64[Tensor, " m"], v_offsets: Float[Tensor, "p m 2"]
) -> None:
    absolute.index_add_(0, order, v_offsets.abs().sum(dim=0).to(absolute))
