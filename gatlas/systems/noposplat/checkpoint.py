"""Weights of NoPoSplat: published checkpoints, and the model folders of gatlas.

    gatlas.json                          system, config, versions
    network/model.safetensors            float32, without the second names of shared weights

A published checkpoint is a torch file whose `state_dict` has the network's weights under the prefix `encoder.`; those
for three views and for two have the same names. It is read as data: a file that holds code is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import DESCRIPTION, FORMAT
from gatlas.io.models.tensors import (
    Shapes,
    check_weights,
    read_tensors,
    weight_files,
    write_json,
    write_tensors,
)
from gatlas.io.models.torch_file import load_state
from gatlas.systems.noposplat.declaration import NAME

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_network", "load_published", "save_description", "save_weights"]

PART, STEM, PREFIX = "network", "model", "encoder."

# The published files hold four layers of each head twice, under two names.
_SECOND_NAME = re.compile(r"^(.*\.scratch\.)layer_rn\.(\d)(\..*)$")


def load_published(path: str | Path, shapes: Shapes) -> dict[str, Tensor]:
    """Return the weights (float32, on the CPU) of a published checkpoint, without their prefix.

    `shapes` are those of the network, with both names of shared weights. Entries without the prefix (the state of the
    training) are left out. A file that is no checkpoint of this network is a GatlasError.
    """
    path = Path(path)
    state = load_state(path)
    if any(name.startswith(PREFIX) for name in state):
        state = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
    advice = "this is no published checkpoint of NoPoSplat, or of another version"
    check_weights(path, state, shapes, advice)
    for name in shapes:
        first = _first_name(name)
        if first != name and not bool((state[name] == state[first]).all()):
            raise GatlasError(f"{path}: damaged: '{name}' differs from '{first}', whose weights it shares")
    weights = {name: _as_float(path, name, state[name]) for name in shapes if _first_name(name) == name}
    return _with_second_names(weights, shapes)


def save_description(folder: str | Path, config: Mapping[str, Any]) -> None:
    """Write gatlas.json into an existing folder."""
    import torch

    from gatlas import __version__

    versions = {"gatlas": __version__, "torch": torch.__version__}
    description = {"format": FORMAT, "system": NAME, "config": dict(config), "versions": versions}
    write_json(Path(folder) / DESCRIPTION, description)


def save_weights(folder: str | Path, weights: Mapping[str, Tensor]) -> None:
    """Write model.safetensors into the existing folder of the part. Shared weights are stored once."""
    import torch

    stored = {name: weight.detach().to(torch.float32) for name, weight in weights.items() if _first_name(name) == name}
    write_tensors(Path(folder) / f"{STEM}.safetensors", stored)


def load_network(folder: str | Path, shapes: Shapes) -> dict[str, Tensor]:
    """Return the weights (float32, on the CPU) of a model, a run or one of its checkpoints.

    `shapes` follow from the folder's config; see `gatlas.io.models.pipeline.read_description`. Weights that are
    missing, of another shape, or that the network does not know are a GatlasError.
    """
    import torch

    part = Path(folder) / PART
    if not part.is_dir():
        raise GatlasError(
            f"{folder}: has no {PART} yet: training has saved no checkpoint in it, or it is another model"
        )
    weights = read_tensors(weight_files(part, STEM), torch.float32)
    unique = {name: shape for name, shape in shapes.items() if _first_name(name) == name}
    check_weights(part, weights, unique, f"{DESCRIPTION} and the weights are not of one model")
    return _with_second_names(weights, shapes)


def _first_name(name: str) -> str:
    """Return the name under which a weight is stored."""
    second = _SECOND_NAME.match(name)
    return name if second is None else f"{second[1]}layer{int(second[2]) + 1}_rn{second[3]}"


def _with_second_names(weights: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    return {name: weights[_first_name(name)] for name in shapes}


def _as_float(path: Path, name: str, tensor: Tensor) -> Tensor:
    """Return a float32 copy, so that nothing stays mapped to a file that may be removed."""
    import torch

    if not tensor.is_floating_point():
        raise GatlasError(f"{path}: damaged: '{name}' holds {tensor.dtype}, not floating-point numbers")
    value = tensor.to(torch.float32, copy=True)
    if not bool(value.isfinite().all()):
        raise GatlasError(f"{path}: damaged: '{name}' holds NaN or infinity")
    return value
