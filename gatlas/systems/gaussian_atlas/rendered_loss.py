"""Losses of the denoised Gaussians against pictures of the object: color, silhouette and LPIPS.

Xiang et al. 2025, eq. 5. The pictures are those of a folder of views, or renders of the atlas's own Gaussians from
random cameras.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gatlas.geometry.cameras import random_views
from gatlas.images.composite import composite
from gatlas.raster import rasterize

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.metrics.lpips import Lpips
    from gatlas.types import Cameras, Gaussians, Views

BACKGROUND = 1.0  # white, under both pictures


class Reference(NamedTuple):
    """Reference pictures of an object."""

    colors: Float[Tensor, "c h w 3"]  # over the background
    alphas: Float[Tensor, "c h w 1"]
    cameras: Cameras  # around the unit ball


def from_gaussians(gaussians: Gaussians, count: int, side: int, generator: torch.Generator) -> Reference:
    """Return renders of Gaussians in the unit ball (torch), from random cameras."""
    cameras = random_views(count, side, side, _numpy_generator(generator))
    with torch.no_grad():
        rendering = rasterize(gaussians, cameras, background=torch.full((3,), BACKGROUND))
    return Reference(rendering.colors, rendering.alphas, cameras)


def from_views(views: Views) -> Reference:
    """Return the object's own pictures (RGBA)."""
    images = torch.from_numpy(views.images)
    return Reference(composite(images, BACKGROUND), images[..., 3:], views.cameras)


def compare(gaussians: Gaussians, reference: Reference, lpips: Lpips | None) -> dict[str, Tensor]:
    """Return the mean absolute difference of colors ("rgb") and alphas ("mask"), and with a network the mean LPIPS."""
    rendering = rasterize(gaussians, reference.cameras, background=torch.full((3,), BACKGROUND))
    colors, alphas = (picture.to(rendering.colors.device) for picture in reference[:2])
    terms = {
        "rgb": (rendering.colors - colors).abs().mean(),
        "mask": (rendering.alphas - alphas).abs().mean(),
    }
    if lpips is not None:
        terms["lpips"] = lpips(rendering.colors.clamp(0.0, 1.0), colors).mean()
    return terms


def rendered_terms(
    gaussians: Callable[[int], Gaussians],
    references: Callable[[int], Reference],
    weights: Float[Tensor, " b"],
    lpips: Lpips | None,
) -> dict[str, Tensor]:
    """Return the terms of `compare`, weighted per object and averaged over the batch.

    An object of weight 0 is not rendered.
    """
    names = ("rgb", "mask", *(("lpips",) if lpips is not None else ()))
    totals = {name: weights.new_zeros(()) for name in names}
    for i, weight in enumerate(weights.tolist()):
        if weight > 0:
            for name, term in compare(gaussians(i), references(i), lpips).items():
                totals[name] = totals[name] + weight * term / len(weights)
    return totals


def _numpy_generator(generator: torch.Generator) -> np.random.Generator:
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))
