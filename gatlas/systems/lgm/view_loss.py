"""Losses of predicted Gaussians against the views of their objects, in the network's frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from gatlas.geometry.rays import plucker, rays
from gatlas.geometry.sh import rgb_to_dc
from gatlas.models.lgm import network_inputs
from gatlas.raster.batched import rasterize_batch
from gatlas.systems.lgm.hull_entries import HullViews, cameras_of, hull_entries
from gatlas.types import Gaussians

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.metrics.lpips import Lpips
    from gatlas.models.lgm import ViewGaussians
    from gatlas.systems.lgm.config import LgmSystemConfig

LPIPS_SIDE = 256  # pixels; larger pictures are reduced to it
MAX_PSNR = 100.0  # dB, that of equal images: logs hold finite numbers


def posed_inputs(
    pictures: Float[Tensor, "b v s s 4"],
    viewmats: Float[Tensor, "b v 4 4"],
    Ks: Float[Tensor, "b v 3 3"],
    config: LgmSystemConfig,
) -> Float[Tensor, "b v c s s"]:
    """Return the network's input. Pictures, [0, 1], are over white; `Ks` have rows divided by the width and height."""
    with torch.autocast(pictures.device.type, enabled=False):  # it would round the rays
        return _posed_inputs(pictures, viewmats, Ks, config)


def _posed_inputs(
    pictures: Float[Tensor, "b v s s 4"],
    viewmats: Float[Tensor, "b v 4 4"],
    Ks: Float[Tensor, "b v 3 3"],
    config: LgmSystemConfig,
) -> Float[Tensor, "b v c s s"]:
    batch, views, height, width = pictures.shape[:4]
    origins, directions = rays(cameras_of(viewmats.flatten(0, 1), Ks.flatten(0, 1), width, height))
    maps = plucker(origins[:, None, None], directions).movedim(-1, 1).unflatten(0, (batch, views))
    colors, alphas = pictures.movedim(-1, 2).split([3, 1], dim=2)
    if not config.hull_input:
        return network_inputs(colors, maps)
    side = config.splat_side(height)
    cameras = zip(alphas[:, :, 0], viewmats, Ks, strict=True)
    entries = torch.stack([hull_entries(HullViews(*views), (side, side), config.distance) for views in cameras])
    entries = functional.interpolate(entries, (height, width), mode="nearest")[:, :, None]
    return network_inputs(colors, maps, alphas, entries)


def render_objects(
    gaussians: ViewGaussians, viewmats: Float[Tensor, "b t 4 4"], Ks: Float[Tensor, "b t 3 3"], side: int
) -> Float[Tensor, "b t s s 4"]:
    """Return renders of each object's Gaussians over white, and their alphas. `Ks` as in `posed_inputs`."""
    splats = [
        Gaussians(means, quats, scales, opacities, rgb_to_dc(colors)[:, None])
        for means, quats, scales, opacities, colors in zip(*gaussians, strict=True)
    ]
    cameras = [cameras_of(*each, side, side) for each in zip(viewmats, Ks, strict=True)]
    return torch.cat(rasterize_batch(splats, cameras, background=1.0), dim=-1)


def lpips_distance(
    lpips: Lpips, rendered: Float[Tensor, "b t s s 3"], truth: Float[Tensor, "b t s s 3"]
) -> Float[Tensor, ""]:
    """Return the mean LPIPS of pictures at LPIPS_SIDE pixels or fewer."""
    pairs = []
    for pictures in (rendered, truth):
        flat = pictures.flatten(0, 1).clamp(0.0, 1.0)
        if flat.shape[1] > LPIPS_SIDE:
            small = functional.interpolate(
                flat.movedim(-1, 1), (LPIPS_SIDE, LPIPS_SIDE), mode="bilinear", align_corners=False
            )
            flat = small.movedim(1, -1)
        pairs.append(flat)
    return lpips(*pairs).mean()
