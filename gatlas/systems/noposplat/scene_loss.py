"""Losses of a predicted scene: against photos from other cameras, and against the rays of its own pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gatlas.geometry.rays import pixel_rays
from gatlas.metrics import psnr
from gatlas.raster.batched import rasterize_batch
from gatlas.types import Cameras, Gaussians

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.systems.noposplat.network import PixelGaussians

MAX_PSNR = 100.0  # dB, that of equal images: logs hold finite numbers


def render_targets(
    pixels: PixelGaussians,
    viewmats: Float[Tensor, "b t 4 4"],
    Ks: Float[Tensor, "b t 3 3"],
    width: int,
    height: int,
) -> Float[Tensor, "b t h w 3"]:
    """Return renders of each sample's Gaussians over black. `Ks` have rows divided by the width and the height."""
    size = torch.tensor([[width], [height], [1.0]], device=Ks.device)
    flat = pixels.flatten()
    splats = [Gaussians(*fields) for fields in zip(*flat, strict=True)]
    cameras = [Cameras(*each, width, height) for each in zip(viewmats, Ks * size, strict=True)]
    return rasterize_batch(splats, cameras).colors


def ray_distance(
    means: Float[Tensor, "b v h w 3"], viewmats: Float[Tensor, "b v 4 4"], Ks: Float[Tensor, "b v 3 3"]
) -> Float[Tensor, ""]:
    """Return the mean squared chord between a Gaussian's direction from its own view's camera and its pixel's ray.

    The surface that a pixel shows lies on its ray: with known poses this places the Gaussians of every view up to their
    depth, also while the renders do not yet. It is 4 for a Gaussian straight behind its camera.
    """
    height, width = means.shape[2:4]
    local = torch.einsum("bvij,bvhwj->bvhwi", viewmats[..., :3, :3], means) + viewmats[:, :, None, None, :3, 3]
    rays = pixel_rays(Ks, width, height, normalized=True)
    directions, rays = (torch.nn.functional.normalize(each, dim=-1, eps=1e-3) for each in (local, rays))
    return (directions - rays).square().sum(dim=-1).mean()


def mean_color_psnr(truth: Float[Tensor, "*n h w 3"]) -> Float[Tensor, "*n"]:
    """Return the PSNR of the best image of a single color, dB: the score of knowing no more than the brightness."""
    return psnr(truth.mean(dim=(-3, -2), keepdim=True).expand_as(truth), truth, limit=MAX_PSNR)
