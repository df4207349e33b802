"""The moving average of the weights, with which samples are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


def decay_at(step: int, decay: float, power: float) -> float:
    """Return the decay after a step, counted from 1: min(decay, 1 - (1 + step)^-power), which forgets the start."""
    return min(decay, 1.0 - (1.0 + step) ** -power)


class WeightAverage:
    """The exponential moving average of a network's trained parameters, float32, on their device."""

    def __init__(self, network: nn.Module, decay: float, power: float) -> None:
        self.decay, self.power = decay, power
        self.parameters = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        self.values = {name: weight.detach().to(torch.float32, copy=True) for name, weight in self.parameters.items()}
        self._values: list[Tensor] = list(self.values.values())
        self._weights: list[Tensor] = list(self.parameters.values())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the weights after a step, counted from 1."""
        torch._foreach_lerp_(self._values, self._weights, 1.0 - decay_at(step, self.decay, self.power))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the network the averaged weights inside the block. No value is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for weight, value in zip(self._weights, self._values, strict=True):
            weight.data, value.data = value.data, weight.data
