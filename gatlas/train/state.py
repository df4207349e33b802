"""The state of a training run: weights, moments and averages, as named tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from gatlas.errors import GatlasError
from gatlas.train.ema import WeightAverage
from gatlas.train.optimizer import (
    MOMENTS,
    MOMENTS_8BIT,
    begin_moments,
    is_eight_bit,
    make_optimizer,
    moment_bytes,
    moments_of,
    require_optimizer,
)
from gatlas.train.sharding import part_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gatlas.train.options import TrainOptions
    from gatlas.train.sharding import Fetch, TensorPart


class TrainState:
    """A network on its device with its optimizer and its moving average."""

    def __init__(
        self,
        network: nn.Module,
        options: TrainOptions,
        lr_scale: Callable[[str], float] = lambda name: 1.0,
        *,
        ema_host: bool = False,
        eight_bit: bool = False,
    ) -> None:
        """`lr_scale` is the factor of a weight's learning rate, by its name: "scale" in the optimizer's groups.

        With `ema_host` the averages are on the host, and with `eight_bit` the moments are in 8 bits.
        """
        self.network = network
        self.parameters = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        if not self.parameters:
            raise ValueError("the network has no parameter that requires a gradient")
        groups: dict[float, list[nn.Parameter]] = {}
        for name, weight in self.parameters.items():
            groups.setdefault(lr_scale(name), []).append(weight)
        grouped = [{"params": weights, "scale": scale} for scale, weights in groups.items()]
        self.optimizer = make_optimizer(grouped, options, eight_bit=eight_bit)
        self.average = WeightAverage(network, options.ema_decay, options.ema_power, host=ema_host)

    def parts(self) -> dict[str, TensorPart]:
        """Return everything that resuming needs, by name, as far as this process has it."""
        result = {f"weights.{name}": part_of(value) for name, value in self._weights().items()}
        for name, value in self.average.values.items():
            result[f"ema.{name}"] = part_of(self.parameters[name])._replace(values=value)
        for name, weight in self.parameters.items():
            for key, value in moments_of(self.optimizer, weight, name).items():
                result[key] = part_of(value)
        return result

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that resuming needs, by name: of what is divided over processes, shapes and kinds alone."""
        return {
            name: torch.empty(part.shape, dtype=part.values.dtype, device="meta") if part.divided else part.values
            for name, part in self.parts().items()
        }

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Restore what `tensors` gave. Tensors of another network are a GatlasError that begins with `where`."""
        require_optimizer(self.optimizer, tensors, where)
        begin_moments(self.optimizer, tensors, self.parameters)
        targets = self.parts()
        for name, part in targets.items():
            part.values.copy_(part.rows_of(_found(tensors, name, part, where)))
        if rest := tensors.keys() - targets.keys():
            raise GatlasError(f"{where}: of another network: it has {min(rest)}, which this one has not")

    def checkpoint_size(self) -> int:
        """Return the bytes that a checkpoint takes on disk with averaged weights and moments, and a little more."""
        tensors = self.tensors()
        files = [*tensors.values(), *self.averaged(tensors).values()]
        coming = [weight for weight in self.parameters.values() if not self.optimizer.state.get(weight)]
        moments = MOMENTS_8BIT if (eight_bit := is_eight_bit(self.optimizer)) else MOMENTS
        headers = 256 * (len(files) + len(moments) * len(coming)) + (1 << 14)
        return sum(each.nbytes for each in files) + moment_bytes(coming, eight_bit=eight_bit) + headers

    def averaged(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the network's state_dict with the averaged weights in it, of the `tensors` of a checkpoint."""
        keys = self._keys(averaged=True)
        return {name: tensors[keys[id(value)]] for name, value in self.network.state_dict(keep_vars=True).items()}

    def gathered(self, fetch: Fetch, *, averaged: bool) -> dict[str, Tensor]:
        """Return the whole parameters by name, or their averages, on the network's device."""
        keys, parts, result = self._keys(averaged=averaged), self.parts(), {}
        for name, weight in self.network.named_parameters():
            part = parts[keys[id(weight)]]
            whole = torch.empty(part.shape, dtype=part.values.dtype)
            fetch(keys[id(weight)], whole)
            result[name] = whole.to(weight.device)
        return result

    def _keys(self, *, averaged: bool) -> dict[int, str]:
        """Return the name in a checkpoint of each tensor of the network, or of its average, by identity."""
        keys = {id(value): f"weights.{name}" for name, value in self._weights().items()}
        return keys | ({id(weight): f"ema.{name}" for name, weight in self.parameters.items()} if averaged else {})

    def _weights(self) -> dict[str, Tensor]:
        """Return parameters and stored buffers, each tensor once although it may have several names."""
        unique = {id(value): (name, value) for name, value in self.network.state_dict(keep_vars=True).items()}
        return dict(unique.values())


def _found(tensors: Mapping[str, Tensor], name: str, part: TensorPart, where: str) -> Tensor:
    """Return a tensor, which must have the shape and the type of the one that `part` is of."""
    value = tensors.get(name)
    if value is None:
        raise GatlasError(f"{where}: of another network, or damaged: it lacks {name}")
    if value.shape != part.shape or value.dtype != part.values.dtype:
        raise GatlasError(
            f"{where}: of another network: {name} is {value.dtype} {list(value.shape)} "
            f"instead of {part.values.dtype} {list(part.shape)}"
        )
    return value
