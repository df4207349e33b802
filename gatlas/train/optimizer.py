"""The optimizer of a training: AdamW with its moments in 32 bits, or in 8 by bitsandbytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gatlas.train.options import TrainOptions

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of torch.optim.AdamW
MOMENTS_8BIT = ("step", "state1", "state2", "absmax1", "absmax2")  # of bitsandbytes.optim.AdamW8bit
SMALLEST_8BIT, BLOCK_8BIT = 4096, 256  # numbers of a weight with such moments, and of those with one scale


def make_optimizer(
    groups: Sequence[dict[str, Any]], options: TrainOptions, *, eight_bit: bool = False
) -> torch.optim.Optimizer:
    """Return the optimizer of groups of parameters, as torch's optimizers take them.

    With `eight_bit` the moments of weights of 4,096 numbers or more are in 8 bits, with a scale for each 256; without
    bitsandbytes that is a GatlasError.
    """
    settings: dict[str, Any] = {"lr": options.lr, "betas": options.betas, "weight_decay": options.weight_decay}
    if not eight_bit:
        return torch.optim.AdamW(groups, **settings, fused=True)  # one pass over the weights, on the CPU too
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise GatlasError("--optimizer adamw8bit: needs bitsandbytes: pip install 'gatlas[eight-bit]'") from None
    optimizer: torch.optim.Optimizer = AdamW8bit(groups, **settings, min_8bit_size=SMALLEST_8BIT)
    return optimizer


def is_eight_bit(optimizer: torch.optim.Optimizer) -> bool:
    """Return True for the optimizer of 8 bits of `make_optimizer`."""
    return not isinstance(optimizer, torch.optim.AdamW)


def moments_of(optimizer: torch.optim.Optimizer, weight: nn.Parameter, name: str) -> dict[str, Tensor]:
    """Return what the optimizer keeps of a weight, by its names in a checkpoint; nothing before its first gradient."""
    state = optimizer.state.get(weight, {})
    if not is_eight_bit(optimizer):
        return {f"adam.{moment}.{name}": state[moment] for moment in MOMENTS if moment in state}
    # The map of the 8 bits is that of every weight. The number of steps is no tensor there.
    return {f"adam8.{moment}.{name}": torch.as_tensor(state[moment]) for moment in MOMENTS_8BIT if moment in state}


def begin_moments(optimizer: torch.optim.Optimizer, stored: Mapping[str, Tensor], names: Mapping[str, Any]) -> None:
    """Make the moments of the weights that had some in `stored`, by `names`; all but the 8-bit steps are then zeros."""
    places = {
        id(weight): (group, index, place)
        for index, group in enumerate(optimizer.param_groups)
        for place, weight in enumerate(group["params"])
    }
    for name, weight in names.items():
        if is_eight_bit(optimizer):
            if f"adam8.step.{name}" in stored:
                group, index, place = places[id(weight)]
                any_optimizer: Any = optimizer
                any_optimizer.init_state(group, weight, index, place)
                optimizer.state[weight]["step"] = int(stored[f"adam8.step.{name}"])
        elif f"adam.step.{name}" in stored:
            for moment in MOMENTS:
                value = torch.zeros((), device=weight.device) if moment == "step" else torch.zeros_like(weight)
                optimizer.state[weight][moment] = value


def require_optimizer(optimizer: torch.optim.Optimizer, stored: Iterable[str], where: str) -> None:
    """Raise a GatlasError where the names of a checkpoint are those of the other optimizer."""
    kinds = {name.partition(".")[0] for name in stored} & {"adam", "adam8"}
    for kind, flag, other in (("adam", "adamw", True), ("adam8", "adamw8bit", False)):
        if kind in kinds and is_eight_bit(optimizer) is other:
            raise GatlasError(f"{where}: of a run with another optimizer: resume it with --optimizer {flag}")


def moment_bytes(weights: Iterable[nn.Parameter], *, eight_bit: bool = False) -> int:
    """Return the bytes of what the optimizer keeps of weights: two moments, and the number of steps or the scales."""
    total = 2 * 4 * 256 if eight_bit else 0  # the maps of the 8 bits
    for weight in weights:
        count = weight.numel()
        if not eight_bit:
            total += 2 * 4 * count + 4
        elif count < SMALLEST_8BIT:
            total += 2 * 4 * count
        else:
            total += 2 * (count + 4 * -(-count // BLOCK_8BIT))
    return total
