"""Classifier-free guidance, and the thresholding that keeps strongly guided samples in range."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    Predict = Callable[[Float[Tensor, "m ..."], Bool[Tensor, " m"]], Float[Tensor, "m ..."]]


def guide(
    conditional: Float[Tensor, "*shape"], unconditional: Float[Tensor, "*shape"], guidance: float
) -> Float[Tensor, "*shape"]:
    """Return the guided prediction; `guidance` is 1 + w in the notation of Ho & Salimans 2022."""
    return unconditional + guidance * (conditional - unconditional)  # eq. 6


def guided(predict: Predict, x: Float[Tensor, "n ..."], guidance: float) -> Float[Tensor, "n ..."]:
    """Return the guided prediction for x (float32), with both predictions from one call.

    `predict(rows, conditional)` gets the n samples, all conditional, or with guidance other than 1 the n samples
    twice: first with their condition, then without.
    """
    count, copies = len(x), 1 if guidance == 1.0 else 2
    conditional = torch.arange(copies * count, device=x.device) < count
    prediction = predict(x.repeat(copies, *[1] * (x.ndim - 1)), conditional).float()
    return prediction if copies == 1 else guide(prediction[:count], prediction[count:], guidance)


def dynamic_threshold(x0: Float[Tensor, "n ..."], quantile: float = 0.995) -> Float[Tensor, "n ..."]:
    """Return each sample clipped at that quantile of its absolute values, or at 1 if lower, and divided by it.

    Saharia et al. 2022, sec. 2.3: an alternative to clipping at 1 for data in [-1, 1].
    """
    bound = torch.quantile(x0.flatten(1).abs(), quantile, dim=1).clamp(min=1.0).view(-1, *[1] * (x0.ndim - 1))
    return x0.clamp(-bound, bound) / bound
