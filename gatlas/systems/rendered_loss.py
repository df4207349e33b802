"""The denoised Gaussians against pictures of the object: colours, silhouette and LPIPS.

Xiang et al. 2025, eq. 5. The pictures are those of a folder of views, or of the atlas's own Gaussians from random
cameras.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gatlas.cameras import random_views
from gatlas.errors import GatlasError
from gatlas.io.transforms import read_views
from gatlas.raster import composite, rasterize

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.metrics.lpips import Lpips
    from gatlas.types import Cameras, Gaussians

BACKGROUND = 1.0  # white, under both pictures


class Reference(NamedTuple):
    """What an object looks like."""

    colors: Float[Tensor, "c h w 3"]  # over the background
    alphas: Float[Tensor, "c h w 1"]
    cameras: Cameras  # around the unit ball


def from_gaussians(gaussians: Gaussians, count: int, side: int, generator: torch.Generator) -> Reference:
    """Pictures of Gaussians in the unit ball (torch), from random cameras."""
    cameras = random_views(count, side, side, _numpy_generator(generator))
    with torch.no_grad():
        rendering = rasterize(gaussians, cameras, background=torch.full((3,), BACKGROUND))
    return Reference(rendering.colors, rendering.alphas, cameras)


def from_folder(
    folder: str, to_world: Float[np.ndarray, "4 4"], count: int, side: int, generator: torch.Generator
) -> Reference:
    """`count` random pictures of a folder with a transforms.json, reduced to `side` pixels; all where there are fewer.

    `to_world` leads from the unit ball to the frame of the cameras. Pictures without transparency have no silhouette:
    they are a GatlasError.
    """
    rng = _numpy_generator(generator)
    views = read_views(folder, side=side, pick=lambda n: np.sort(rng.permutation(n)[:count]).tolist())
    images = torch.from_numpy(np.asarray(views.images))
    if images.shape[-1] != 4:
        raise GatlasError(
            f"{folder}: the pictures have no transparency, which the mask loss compares: render them with gatlas "
            "render, or add masks"
        )
    cameras = replace(views.cameras, viewmats=into_unit_ball(views.cameras.viewmats, to_world))
    return Reference(composite(images, BACKGROUND), images[..., 3:], cameras)


def into_unit_ball(
    viewmats: Float[np.ndarray, "c 4 4"], to_world: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "c 4 4"]:
    """Cameras of a world as cameras of the unit ball that a similarity places in it: the pictures stay the same."""
    moved = viewmats.astype(np.float64) @ to_world
    moved[:, :3] /= np.cbrt(np.linalg.det(to_world[:3, :3]))  # a picture does not change with the unit of length
    return moved.astype(np.float32)


def compare(gaussians: Gaussians, reference: Reference, lpips: Lpips | None) -> dict[str, Tensor]:
    """Mean absolute difference of colours ("rgb") and alphas ("mask"), and the mean LPIPS where a network is given."""
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
    """The terms of `compare`, weighted for each object and averaged over the batch.

    An object of weight 0 is neither rendered nor looked up.
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
