"""Adapters of low rank that are trained beside frozen weights (Hu et al. 2022, LoRA), by peft.

A weight W of a linear layer or a convolution becomes W + B A, whose B begins as zeros. The functions of weights take
those of a network with adapters, by the names that peft gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from torch import Tensor

_FROZEN = ".base_layer."
_FIRST, _SECOND = ".lora_A.default.weight", ".lora_B.default.weight"


def add_adapters(network: nn.Module, rank: int, *, seed: int = 0) -> None:
    """Freeze a network's weights and add adapters to all its linear layers and convolutions, which change nothing yet.

    Without peft it is a GatlasError.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise GatlasError("lora_rank: needs peft: pip install 'gatlas[lora]'") from None
    layers = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    ]
    # The scale of an adapter is alpha / rank, and a file without an alpha is read as if alpha were the rank.
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers)
    with torch.random.fork_rng(devices=[]):  # peft draws A from torch's own generator
        torch.manual_seed(seed)
        inject_adapter_in_model(config, network)


def has_adapters(weights: Mapping[str, Tensor]) -> bool:
    """Return True for the weights of a network with adapters."""
    return any(name.endswith(_FIRST) for name in weights)


def adapter_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the adapters alone, under diffusers' names: LAYER.lora_A.weight and LAYER.lora_B.weight."""
    return {
        name.replace(".default.weight", ".weight"): value
        for name, value in weights.items()
        if name.endswith((_FIRST, _SECOND))
    }


def merged_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the network without adapters that predicts the same."""
    merged = {}
    for name, value in weights.items():
        if name.endswith((_FIRST, _SECOND)):
            continue
        layer, frozen, kind = name.rpartition(_FROZEN)
        if frozen and kind == "weight":
            first, second = (weights[layer + end].flatten(1) for end in (_FIRST, _SECOND))
            value = value + (second @ first).view(value.shape)
        merged[f"{layer}.{kind}" if frozen else name] = value
    return merged
