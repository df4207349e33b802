"""The optimizer of a training: AdamW with its moments in 32 bits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

    from gatlas.train.options import TrainOptions


def make_optimizer(groups: Sequence[dict[str, Any]], options: TrainOptions) -> torch.optim.Optimizer:
    """Return the optimizer of groups of parameters, as torch's optimizers take them."""
    return torch.optim.AdamW(
        groups,
        lr=options.lr,
        betas=options.betas,
        weight_decay=options.weight_decay,
        fused=True,  # one pass over the weights, on the CPU too
    )


def moment_bytes(weights: Iterable[nn.Parameter], options: TrainOptions) -> int:
    """Return the bytes of what the optimizer keeps of each weight: two moments, and the number of its steps."""
    return sum(2 * 4 * weight.numel() + 4 for weight in weights)
