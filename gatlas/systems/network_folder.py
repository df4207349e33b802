"""Model folders of systems that are one network.

gatlas.json                          system, config, versions
network/model.safetensors            float32
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import DESCRIPTION, FORMAT
from gatlas.io.models.tensors import (
    Shapes,
    check_floating,
    check_weights,
    read_tensors,
    weight_files,
    write_json,
    write_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor

PART, STEM = "network", "model"


def save_description(folder: str | Path, system: str, config: Mapping[str, Any]) -> None:
    """Write gatlas.json into an existing folder."""
    import torch

    from gatlas import __version__

    versions = {"gatlas": __version__, "torch": torch.__version__}
    description = {"format": FORMAT, "system": system, "config": dict(config), "versions": versions}
    write_json(Path(folder) / DESCRIPTION, description)


def save_weights(folder: str | Path, weights: Mapping[str, Tensor]) -> None:
    """Write model.safetensors into the existing folder of the part."""
    import torch

    write_tensors(
        Path(folder) / f"{STEM}.safetensors",
        {name: weight.detach().to(torch.float32) for name, weight in weights.items()},
    )


def check_same_network(base: str, keys: Iterable[str], config: object, trained: object) -> None:
    """Raise a GatlasError where a training's config differs, in a key that the weights depend on, from its base's."""
    changed = [key for key in keys if getattr(config, key) != getattr(trained, key)]
    if changed:
        key = changed[0]
        raise GatlasError(
            f"{base}: its network has {key} {getattr(trained, key)}, and the preset {getattr(config, key)}: "
            f"use the preset that it was made with, or set {', '.join(changed)}"
        )


def load_network(folder: str | Path, shapes: Shapes) -> dict[str, Tensor]:
    """Return the weights (float32, on the CPU) of a model, a run or one of its checkpoints.

    Weights that are missing, of another shape, or that the network does not know are a GatlasError.
    """
    import torch

    part = Path(folder) / PART
    if not part.is_dir():
        raise GatlasError(
            f"{folder}: has no {PART} yet: training has saved no checkpoint in it, or it is another model"
        )
    weights = read_tensors(weight_files(part, STEM), torch.float32)
    advice = f"{DESCRIPTION} and the weights are not of one model"
    check_weights(part, weights, shapes, advice)
    check_floating(part, weights, advice)
    return weights
