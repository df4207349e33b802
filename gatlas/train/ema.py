"""The moving average of the weights, with which samples are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch

from gatlas.train.sharding import part_of

if TYPE_CHECKING:
    from torch import Tensor, nn


def decay_at(step: int, decay: float, power: float) -> float:
    """Return the decay after a step, counted from 1: min(decay, 1 - (1 + step)^-power), which forgets the start."""
    return min(decay, 1.0 - (1.0 + step) ** -power)


class WeightAverage:
    """The exponential moving average of a network's trained parameters, float32: of those that this process has.

    It is on their device or on the `host`. There it lags behind: the weights of a step are copied while the next step
    is computed, and are averaged after it, or when `values` are asked for.
    """

    def __init__(self, network: nn.Module, decay: float, power: float, *, host: bool = False) -> None:
        self.decay, self.power = decay, power
        self.parameters = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        weights = self._weights()
        self._host = host and any(weight.device.type != "cpu" for weight in weights)
        self._values = [
            weight.to("cpu" if self._host else weight.device, torch.float32, copy=True) for weight in weights
        ]
        cuda = self._host and all(weight.is_cuda for weight in weights)
        # Pinned, so that a copy does not wait for the GPU and the GPU does not wait for it.
        copies = [torch.empty_like(value) for value in self._values] if self._host else []
        self._copies = [copied.pin_memory() for copied in copies] if cuda else copies
        self._stream = torch.cuda.Stream() if cuda else None
        self._lag: float | None = None  # weight of the copies that are not averaged yet

    @property
    def values(self) -> dict[str, Tensor]:
        """The averages by name."""
        self._catch_up()
        return dict(zip(self.parameters, self._values, strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the weights after a step, counted from 1."""
        share = 1.0 - decay_at(step, self.decay, self.power)
        if not self._host:
            torch._foreach_lerp_(self._values, self._weights(), share)
            return
        self._catch_up()
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            for copied, weight in zip(self._copies, self._weights(), strict=True):
                copied.copy_(weight, non_blocking=True)
        self._lag = share

    def wait(self) -> None:
        """Have the next changes of the weights wait until those of the last step are copied."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the network the averaged weights inside the block. No value is copied, if both are on one device."""
        self._catch_up()
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _catch_up(self) -> None:
        if self._lag is not None:
            if self._stream is not None:
                self._stream.synchronize()
            torch._foreach_lerp_(self._values, self._copies, self._lag)
            self._lag = None

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, value in zip(self.parameters.values(), self._values, strict=True):
            if self._host:
                held = weight.to("cpu", copy=True)
                weight.copy_(value)
                value.copy_(held)
            else:
                weight.data, value.data = value.data, weight.data

    def _weights(self) -> list[Tensor]:
        return [part_of(weight).values for weight in self.parameters.values()]
