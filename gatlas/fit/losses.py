"""The loss between pictures of Gaussians and of their object during a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from gatlas.metrics.ssim import agreement

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.metrics.lpips import Lpips

SQUARED = 10.0  # weight of the squared error against that of the absolute one: the same pull at an error of 0.05
ROOT = 0.25  # weight of the root of the mean squared error against that of the absolute one
LEAST_SQUARED = 1e-8  # is added to it under the root, whose slope at 0 is infinite: 80 dB
LPIPS_CROP = 64  # pixels a side: on one core the VGG16 distance of a whole 256^2 picture costs 100 steps of the rest


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of the loss."""

    rgb: float = 0.8  # of the error, see `picture_loss`
    ssim: float = 0.2  # 1 - SSIM
    lpips: float = 0.1  # only where a network is given
    scales: float = 0.0  # mean product of a Gaussian's three scales (Lu et al. 2024, Scaffold-GS, eq. 10)


DIRECT_WEIGHTS = LossWeights()
SCAFFOLD_WEIGHTS = LossWeights(scales=0.01)


ErrorKind = Literal["absolute", "squared", "root"]


class PictureLoss(NamedTuple):
    """Scalar tensors."""

    loss: Float[Tensor, ""]
    squared: Float[Tensor, ""]  # mean squared error of the whole picture, without a gradient


def picture_loss(
    image: Float[Tensor, "c h w 3"],
    target: Float[Tensor, "c h w 3"],
    weights: LossWeights = DIRECT_WEIGHTS,
    lpips: Lpips | None = None,
    window: tuple[slice, slice] | None = None,
    *,
    error: ErrorKind = "absolute",
) -> PictureLoss:
    """Weighted error and 1 - SSIM, and LPIPS of the rows and columns of `window` where a network is given.

    Differentiable to `image`. The error is L1, or "squared": SQUARED times the mean squared error, whose pull falls
    with it, or "root": ROOT times the root of that mean. Without a window the network sees the whole pictures.
    """
    means = agreement(image, target)
    if error == "squared":
        distance = SQUARED * means.squared
    elif error == "root":
        distance = ROOT * (means.squared + LEAST_SQUARED).sqrt()
    else:
        distance = means.absolute
    loss = weights.rgb * distance + weights.ssim * (1 - means.similarity)
    if lpips is not None:
        rows, columns = window or (slice(None), slice(None))
        loss = loss + weights.lpips * lpips(image[:, rows, columns], target[:, rows, columns]).mean()
    return PictureLoss(loss, means.squared.detach())


def foreground_window(
    alphas: Float[np.ndarray, "h w"], rng: np.random.Generator, size: int = LPIPS_CROP
) -> tuple[slice, slice]:
    """Rows and columns of a square of at most `size` pixels, inside the picture, around a random covered pixel."""
    covered = np.flatnonzero(alphas > 0.5)
    middle = rng.choice(covered) if len(covered) else alphas.size // 2
    window = []
    for center, length in zip(divmod(int(middle), alphas.shape[1]), alphas.shape, strict=True):
        side = min(size, length)
        first = min(max(center - side // 2, 0), length - side)
        window.append(slice(first, first + side))
    return window[0], window[1]
