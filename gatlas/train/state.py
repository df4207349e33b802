"""The state of a training run: weights, moments and averages, as named tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from gatlas.errors import GatlasError
from gatlas.train.ema import WeightAverage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gatlas.train.options import TrainOptions

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of torch.optim.AdamW


class TrainState:
    """A network on its device with its optimizer and its moving average."""

    def __init__(
        self, network: nn.Module, options: TrainOptions, lr_scale: Callable[[str], float] = lambda name: 1.0
    ) -> None:
        """`lr_scale` is the factor of a weight's learning rate, by its name: "scale" in the optimizer's groups."""
        self.network = network
        self.parameters = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        if not self.parameters:
            raise ValueError("the network has no parameter that requires a gradient")
        groups: dict[float, list[nn.Parameter]] = {}
        for name, weight in self.parameters.items():
            groups.setdefault(lr_scale(name), []).append(weight)
        self.optimizer = torch.optim.AdamW(
            [{"params": weights, "scale": scale} for scale, weights in groups.items()],
            lr=options.lr,
            betas=options.betas,
            weight_decay=options.weight_decay,
            fused=True,  # one pass over the weights, on the CPU too
        )
        self.average = WeightAverage(network, options.ema_decay, options.ema_power)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that resuming needs, by name."""
        result = {f"weights.{name}": value.detach() for name, value in self._weights().items()}
        result |= {f"ema.{name}": value for name, value in self.average.values.items()}
        for name, weight in self.parameters.items():
            for moment, value in self.optimizer.state.get(weight, {}).items():
                result[f"adam.{moment}.{name}"] = value
        return result

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Restore what `tensors` gave. Tensors of another network are a GatlasError that begins with `where`."""
        targets = {f"weights.{name}": value for name, value in self._weights().items()}
        targets |= {f"ema.{name}": value for name, value in self.average.values.items()}
        for name, weight in self.parameters.items():
            if f"adam.step.{name}" not in tensors:  # it never had a gradient
                continue
            state = self.optimizer.state[weight]
            for moment in MOMENTS:
                state[moment] = torch.zeros((), device=weight.device) if moment == "step" else torch.empty_like(weight)
                targets[f"adam.{moment}.{name}"] = state[moment]
        for name, target in targets.items():
            target.copy_(_found(tensors, name, target, where))
        if rest := tensors.keys() - targets.keys():
            raise GatlasError(f"{where}: of another network: it has {min(rest)}, which this one has not")

    def averaged(self) -> dict[str, Tensor]:
        """Return the network's state_dict with the averaged weights in it."""
        by_identity = {id(weight): self.average.values[name] for name, weight in self.parameters.items()}
        return {
            name: by_identity.get(id(value), value).detach()
            for name, value in self.network.state_dict(keep_vars=True).items()
        }

    def _weights(self) -> dict[str, Tensor]:
        """Return parameters and stored buffers, each tensor once although it may have several names."""
        unique = {id(value): (name, value) for name, value in self.network.state_dict(keep_vars=True).items()}
        return dict(unique.values())


def _found(tensors: Mapping[str, Tensor], name: str, like: Tensor, where: str) -> Tensor:
    """Return a tensor, which must have the shape and the type of `like`."""
    value = tensors.get(name)
    if value is None:
        raise GatlasError(f"{where}: of another network, or damaged: it lacks {name}")
    if value.shape != like.shape or value.dtype != like.dtype:
        raise GatlasError(
            f"{where}: of another network: {name} is {value.dtype} {list(value.shape)} "
            f"instead of {like.dtype} {list(like.shape)}"
        )
    return value
