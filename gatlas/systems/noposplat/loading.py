"""New and trained NoPoSplat systems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import read_description
from gatlas.systems import network_folder
from gatlas.systems.contract import digest_of_weights
from gatlas.systems.noposplat import checkpoint as published
from gatlas.systems.noposplat.config import SceneConfig
from gatlas.systems.noposplat.declaration import NAME
from gatlas.systems.noposplat.network import NoPoSplat, fresh_network, weight_shapes
from gatlas.systems.noposplat.system import NoPoSplatSystem

if TYPE_CHECKING:
    from gatlas.types import AtlasStats

_NETWORK = (
    "patch",
    "encoder_dim",
    "encoder_depth",
    "encoder_heads",
    "decoder_dim",
    "decoder_depth",
    "decoder_heads",
    "mlp_ratio",
    "hooks",
    "head_dim",
    "level_dims",
    "sh_degree",
    "scale_unit",
    "scale_max",
    "residual",
)  # fmt: skip  (keys that must be those of the weights)


def create(
    config: SceneConfig, *, base: str | None = None, stats: AtlasStats | None = None, seed: int = 0
) -> NoPoSplatSystem:
    """Return a system to train: from random weights, or from a base: a published file or a model of gatlas.

    The sizes of the network must be the base's; others are a GatlasError.
    """
    if stats is not None:
        raise GatlasError(f"--stats: {NAME} needs no statistics")
    if base is None:
        return NoPoSplatSystem(config, fresh_network(config, torch.Generator().manual_seed(seed)))
    trained = load(base)
    network_folder.check_same_network(base, _NETWORK, config, trained.config)
    return NoPoSplatSystem(config, trained.network)


def load(
    model: str, *, device: Any = "cpu", dtype: Any = None, settings: Mapping[str, Any] | None = None
) -> NoPoSplatSystem:
    """Return the trained system of a model folder, a run, a checkpoint or a published file.

    A published file does not hold the size of its images: it is 256 x 256, or 512 x 512 where the name has "512".
    """
    if io.exists(model) and not io.is_folder(model):
        config = replace(published_config(model), **(settings or {}))
        weights = published.load_published(model, weight_shapes(config))
    else:
        description = read_description(model)
        if description["system"] != NAME:
            raise GatlasError(f"{model}: a model of the system {description['system']!r}, not of {NAME!r}")
        config = SceneConfig.from_json(description["config"], f"{model}: its config in gatlas.json")
        config = replace(config, **(settings or {}))
        weights = published.load_network(model, weight_shapes(config))
    with torch.device("meta"):
        network = NoPoSplat(config)
    network.load_state_dict(weights, assign=True)
    system = NoPoSplatSystem(config, network.to(device).eval())
    system.model, system.weights = model, digest_of_weights(network)
    system.to(device, dtype)
    return system


def published_config(name: str) -> SceneConfig:
    """Return the config of a published file, by its name."""
    side = 512 if "512" in name.replace("\\", "/").rpartition("/")[2] else 256
    return SceneConfig(width=side, height=side)
