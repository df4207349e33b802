"""The published weights of LGM; for the model folders of gatlas see `gatlas.systems.network_folder`.

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
from gatlas.io.models.tensors import Shapes, check_floating, check_weights, read_tensors, tensor_shapes
from gatlas.models.lgm import weight_shapes
from gatlas.systems.lgm.config import BIG, SMALL, TINY, LgmSystemConfig

if TYPE_CHECKING:
    from torch import Tensor

LEGACY, FIXED = "model_fp16.safetensors", "fixrot"


def published_config(path: str | Path, settings: Mapping[str, Any]) -> LgmSystemConfig:
    """Return the config of a published file, with `settings`.

    The file of the first training is a GatlasError unless `settings` say what its rotations are, and the other one
    where they say what they are not.
    """
    names = _names(path)
    if LEGACY in names and "legacy_rot" not in settings:
        raise GatlasError(
            f"{path}: these weights were trained with a fault in the rotations: use model_fp16_fixrot.safetensors, or "
            "add --set legacy_rot=true to show them as they were trained"
        )
    if _is_fixed(names) and settings.get("legacy_rot"):
        raise GatlasError(f"{path}: its rotations are right, by its name: leave out --set legacy_rot=true")
    found = tensor_shapes(path).items()
    nearest = max((BIG, SMALL, TINY), key=lambda config: len(found & weight_shapes(config).items()))
    return replace(nearest, **settings)


def published_notes(path: str | Path, settings: Mapping[str, Any]) -> list[str]:
    """Return what the user should know where a file's name does not tell which rotations it has."""
    if _is_fixed(_names(path)) or "legacy_rot" in settings:
        return []
    return [
        f"{path}: taken for weights whose rotations are right, as model_fp16_fixrot.safetensors is: if they are those "
        f"of {LEGACY} under another name, add --set legacy_rot=true"
    ]


def load_published(path: str | Path, shapes: Shapes) -> dict[str, Tensor]:
    """Return the weights (float32, on the CPU) of a published file; one of another network is a GatlasError."""
    import torch

    advice = "these are not the published weights of LGM"
    check_weights(Path(path), _by_shape(path), shapes, advice)
    weights = read_tensors([Path(path)], torch.float32, remedy="download it again")
    check_floating(Path(path), weights, advice)
    return weights


def _names(path: str | Path) -> set[str]:
    """Return the name of a file, and that of the one that it links to."""
    return {Path(path).name, Path(path).resolve().name}


def _is_fixed(names: set[str]) -> bool:
    return any(FIXED in name for name in names)


def _by_shape(path: str | Path) -> dict[str, Tensor]:
    """Return empty tensors of the shapes of a file."""
    import torch

    return {name: torch.empty(shape, device="meta") for name, shape in tensor_shapes(path).items()}
