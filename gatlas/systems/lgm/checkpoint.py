"""Weights of LGM: the published safetensors, and the model folders of gatlas.

    gatlas.json                          system, config, versions
    network/model.safetensors            float32

A published file holds the weights alone, in half precision. Which of the published networks it is of follows from their
shapes. Whether its rotations are those of the first training does not: model_fp16.safetensors and
model_fp16_fixrot.safetensors have the same names, shapes and sizes, so that only the file's name tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import DESCRIPTION, FORMAT
from gatlas.io.models.tensors import (
    Shapes,
    check_weights,
    read_tensors,
    tensor_shapes,
    weight_files,
    write_json,
    write_tensors,
)
from gatlas.models.lgm import weight_shapes
from gatlas.systems.lgm.config import BIG, SMALL, TINY, LgmSystemConfig
from gatlas.systems.lgm.declaration import NAME

if TYPE_CHECKING:
    from torch import Tensor

PART, STEM = "network", "model"
LEGACY, FIXED = "model_fp16.safetensors", "fixrot"


def published_config(path: str | Path, settings: Mapping[str, Any]) -> LgmSystemConfig:
    """Return the config of a published file, with `settings`.

    The file of the first training is a GatlasError unless `settings` say what its rotations are, and the other one
    where they say what they are not.
    """
    name = Path(path).name
    if name == LEGACY and "legacy_rot" not in settings:
        raise GatlasError(
            f"{path}: these weights were trained with a fault in the rotations: use model_fp16_fixrot.safetensors, or "
            "add --set legacy_rot=true to show them as they were trained"
        )
    if FIXED in name and settings.get("legacy_rot"):
        raise GatlasError(f"{path}: its rotations are right, by its name: leave out --set legacy_rot=true")
    found = tensor_shapes(path).items()
    nearest = max((BIG, SMALL, TINY), key=lambda config: len(found & weight_shapes(config).items()))
    return replace(nearest, **settings)


def published_notes(path: str | Path, settings: Mapping[str, Any]) -> list[str]:
    """Return what the user should know where a file's name does not tell which rotations it has."""
    if FIXED in Path(path).name or "legacy_rot" in settings:
        return []
    return [
        f"{path}: taken for weights whose rotations are right, as model_fp16_fixrot.safetensors is: if they are those "
        f"of {LEGACY} under another name, add --set legacy_rot=true"
    ]


def load_published(path: str | Path, shapes: Shapes) -> dict[str, Tensor]:
    """Return the weights (float32, on the CPU) of a published file; one of another network is a GatlasError."""
    import torch

    check_weights(Path(path), _by_shape(path), shapes, "these are not the published weights of LGM")
    return read_tensors([Path(path)], torch.float32, remedy="download it again")


def _by_shape(path: str | Path) -> dict[str, Tensor]:
    """Return empty tensors of the shapes of a file."""
    import torch

    return {name: torch.empty(shape, device="meta") for name, shape in tensor_shapes(path).items()}


def save_description(folder: str | Path, config: Mapping[str, Any]) -> None:
    """Write gatlas.json into an existing folder."""
    import torch

    from gatlas import __version__

    versions = {"gatlas": __version__, "torch": torch.__version__}
    description = {"format": FORMAT, "system": NAME, "config": dict(config), "versions": versions}
    write_json(Path(folder) / DESCRIPTION, description)


def save_weights(folder: str | Path, weights: Mapping[str, Tensor]) -> None:
    """Write model.safetensors into the existing folder of the part."""
    import torch

    write_tensors(
        Path(folder) / f"{STEM}.safetensors",
        {name: weight.detach().to(torch.float32) for name, weight in weights.items()},
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
    check_weights(part, weights, shapes, f"{DESCRIPTION} and the weights are not of one model")
    return weights
