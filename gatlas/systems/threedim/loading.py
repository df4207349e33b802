"""New and trained 3DiM systems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch

from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import read_description
from gatlas.models.xunet import XUNet, fresh_network, weight_shapes
from gatlas.models.xunet_config import XUNetConfig
from gatlas.systems import network_folder
from gatlas.systems.contract import digest_of_weights
from gatlas.systems.threedim.config import ThreeDimConfig
from gatlas.systems.threedim.declaration import NAME
from gatlas.systems.threedim.system import ThreeDimSystem

if TYPE_CHECKING:
    from gatlas.types import AtlasStats

FREE = ("dropout", "octave_falloff", "open_start")  # fields of the network's config that its weights do not depend on


def create(
    config: ThreeDimConfig, *, base: str | None = None, stats: AtlasStats | None = None, seed: int = 0
) -> ThreeDimSystem:
    """Return a system to train: from random weights, or from a base: a model of gatlas.

    The sizes of the network, and the frame of its cameras, must be the base's; others are a GatlasError.
    """
    if stats is not None:
        raise GatlasError(f"--stats: {NAME} needs no statistics")
    if base is None:
        return ThreeDimSystem(config, fresh_network(config, torch.Generator().manual_seed(seed)))
    trained = load(base)
    names = [field.name for field in fields(XUNetConfig) if field.name not in FREE] + ["relative", "prediction"]
    network_folder.check_same_network(base, names, config, trained.config)
    network = XUNet(config)  # with the config's own dropout
    network.load_state_dict(trained.network.state_dict())
    return ThreeDimSystem(config, network)


def load(
    model: str, *, device: Any = "cpu", dtype: Any = None, settings: Mapping[str, Any] | None = None
) -> ThreeDimSystem:
    """Return the trained system of a model folder, a run or a checkpoint."""
    description = read_description(model)
    if description["system"] != NAME:
        raise GatlasError(f"{model}: a model of the system {description['system']!r}, not of {NAME!r}")
    config = ThreeDimConfig.from_json(description["config"], f"{model}: its config in gatlas.json")
    config = replace(config, **(settings or {}))
    weights = network_folder.load_network(model, weight_shapes(config))
    with torch.device("meta"):
        network = XUNet(config)
    network.load_state_dict(weights, assign=True)
    system = ThreeDimSystem(config, network.to(device).eval())
    system.model, system.weights = model, digest_of_weights(network)
    system.to(device, dtype)
    return system
