"""Pictures of several objects at once: as many calls of `rasterize`, or one where the device gains from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor

from gatlas.raster import rasterize
from gatlas.raster.dispatch import choose_backend
from gatlas.raster.rendering import ProjectionOptions

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.types import Cameras, Gaussians


class BatchRendering(NamedTuple):
    """Pictures of several objects."""

    colors: Float[Tensor, "b c h w 3"]  # sRGB, over the background
    alphas: Float[Tensor, "b c h w 1"]  # [0, 1]


def rasterize_batch(
    gaussians: Sequence[Gaussians], cameras: Sequence[Cameras], *, background: float = 0.0
) -> BatchRendering:
    """Render each object (torch) as its own cameras see it, over gray; differentiable to the Gaussians.

    The objects have equally many Gaussians on one device, and equally many cameras of one size; else ValueError. The
    pictures are those of `gatlas.raster.rasterize`, to rounding.
    """
    if len(gaussians) == 0 or len(gaussians) != len(cameras):
        raise ValueError(f"there must be cameras for each of one or more objects, got {len(cameras)}, {len(gaussians)}")
    counts = {len(each) for each in gaussians}
    shapes = {(len(each), each.height, each.width) for each in cameras}
    if len(counts) > 1 or len(shapes) > 1:
        raise ValueError(f"all objects must have the same counts and sizes, got {sorted(counts)} and {sorted(shapes)}")
    if isinstance(gaussians[0].means, FakeTensor):
        return _without_values(gaussians, next(iter(shapes)))
    light = torch.full((3,), background, device=gaussians[0].means.device)
    options = _options_of_all(gaussians, cameras)
    if options is not None:
        from gatlas.raster.cuda import rasterize_gsplat_batch

        return BatchRendering(*rasterize_gsplat_batch(gaussians, cameras, light, options))
    pictures = [rasterize(each, views, background=light) for each, views in zip(gaussians, cameras, strict=True)]
    return BatchRendering(*(torch.stack(images) for images in list(zip(*pictures, strict=True))[:2]))


def _options_of_all(gaussians: Sequence[Gaussians], cameras: Sequence[Cameras]) -> ProjectionOptions | None:
    """Return the settings of one call for all objects; None where the device or the objects ask for a call each."""
    means, origin = gaussians[0].means, gaussians[0].origin
    if choose_backend(means, "auto") != "cuda" or means.dtype != torch.float32:
        return None
    from gatlas.raster.cuda import FEWEST_OF_BATCH

    alike = all(
        each.origin.antialiased == origin.antialiased
        and each.origin.pixel_sizes is None
        and each.sh.shape == gaussians[0].sh.shape
        for each in gaussians
    )
    moving = any(getattr(values, "requires_grad", False) for each in cameras for values in (each.viewmats, each.Ks))
    if not alike or moving or len(means) < FEWEST_OF_BATCH or len(cameras[0]) == 0:
        return None
    return ProjectionOptions(antialiased=origin.antialiased)


def _without_values(gaussians: Sequence[Gaussians], shape: tuple[int, int, int]) -> BatchRendering:
    """Return pictures of the shapes of a rendering, with a gradient to every field: for counting memory."""
    fields = [(each.means, each.quats, each.scales, each.opacities, each.sh) for each in gaussians]
    light = torch.stack([torch.stack([values.mean() for values in each]).sum() for each in fields])
    colors, alphas = (light.view(-1, 1, 1, 1, 1).expand(-1, *shape, channels).clone() for channels in (3, 1))
    return BatchRendering(colors, alphas)
