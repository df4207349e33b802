"""Losses of the denoised Gaussians against pictures of the object: color, silhouette and LPIPS.

Xiang et al. 2025, eq. 5. The pictures are those of a folder of views, or renders of the atlas's own Gaussians from
random cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gatlas.geometry.cameras import random_views
from gatlas.images.composite import composite
from gatlas.raster.batched import rasterize_batch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.metrics.lpips import Lpips
    from gatlas.types import Cameras, Gaussians, Views

BACKGROUND = 1.0  # white, under both pictures


class References(NamedTuple):
    """Reference pictures of some objects of a batch: equally many of each, of one size."""

    objects: tuple[int, ...]  # their places in the batch
    colors: Float[Tensor, "b c h w 3"]  # over the background
    alphas: Float[Tensor, "b c h w 1"]
    cameras: tuple[Cameras, ...]  # of each object, around the unit ball


def references_of(
    gaussians: Sequence[Gaussians], views: Sequence[Views | None], count: int, side: int, seeds: Sequence[int]
) -> list[References]:
    """Return the pictures that each object of a batch is compared with.

    They are its `views` (RGBA), or where it has none, `count` renders of its true Gaussians (torch, in the unit ball)
    from random cameras of `side` pixels that follow from its seed. Objects with equally many pictures of one size are
    together.
    """
    groups: dict[tuple[bool, tuple[int, ...]], list[int]] = {}
    for i, own in enumerate(views):
        shape = (count, side, side) if own is None else own.images.shape[:3]
        groups.setdefault((own is None, tuple(shape)), []).append(i)
    device = gaussians[0].means.device
    found = []
    for places in groups.values():
        pictures = [each for each in (views[i] for i in places) if each is not None]
        if pictures:
            images = _to_device(np.stack([each.images for each in pictures]), device)
            colors, alphas = composite(images, BACKGROUND), images[..., 3:]
            cameras = tuple(each.cameras for each in pictures)
        else:
            cameras = tuple(random_views(count, side, side, np.random.default_rng(seeds[i])) for i in places)
            with torch.no_grad():
                colors, alphas = rasterize_batch([gaussians[i] for i in places], cameras, background=BACKGROUND)
        found.append(References(tuple(places), colors, alphas, cameras))
    return found


def rendered_terms(
    gaussians: Sequence[Gaussians],
    references: Sequence[References],
    weights: Float[Tensor, " b"],
    lpips: Lpips | None,
) -> dict[str, Tensor]:
    """Return the mean absolute differences of colors ("rgb") and alphas ("mask"), and with a network the mean "lpips".

    Each is a mean over an object's pictures, times the object's weight, averaged over the batch. All pictures of equal
    size are rendered and compared in one call.
    """
    totals: dict[str, Tensor] = {}
    for each in references:
        rendering = rasterize_batch([gaussians[i] for i in each.objects], each.cameras, background=BACKGROUND)
        terms = {
            "rgb": (rendering.colors - each.colors).abs().mean(dim=(1, 2, 3, 4)),
            "mask": (rendering.alphas - each.alphas).abs().mean(dim=(1, 2, 3, 4)),
        }
        if lpips is not None:
            pairs = rendering.colors.clamp(0.0, 1.0).flatten(0, 1), each.colors.flatten(0, 1)
            terms["lpips"] = lpips(*pairs).view(len(each.objects), -1).mean(dim=1)
        every = len(each.objects) == len(weights)
        share = weights if every else torch.stack([weights[i] for i in each.objects])
        for name, term in terms.items():
            total = (share * term).sum() / len(weights)
            totals[name] = totals[name] + total if name in totals else total
    return totals


def _to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Return the array as a tensor on the device; a GPU copies it while the host goes on."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
