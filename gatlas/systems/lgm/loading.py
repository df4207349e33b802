"""New and trained LGM systems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import read_description
from gatlas.models.lgm import LGM, fresh_network, weight_shapes
from gatlas.models.view_unet_config import LgmConfig
from gatlas.systems import network_folder
from gatlas.systems.contract import digest_of_weights
from gatlas.systems.lgm import checkpoint
from gatlas.systems.lgm.config import LgmSystemConfig
from gatlas.systems.lgm.declaration import NAME
from gatlas.systems.lgm.system import LgmSystem

if TYPE_CHECKING:
    from gatlas.types import AtlasStats


def create(
    config: LgmSystemConfig, *, base: str | None = None, stats: AtlasStats | None = None, seed: int = 0
) -> LgmSystem:
    """Return a system to train: from random weights, or from a base: a published file or a model of gatlas.

    The sizes of the network must be the base's; others are a GatlasError.
    """
    if stats is not None:
        raise GatlasError(f"--stats: {NAME} needs no statistics")
    if base is None:
        return LgmSystem(config, fresh_network(config, torch.Generator().manual_seed(seed)))
    trained = load(base, settings={"legacy_rot": True} if config.legacy_rot else None)
    names = [field.name for field in fields(LgmConfig)]
    network_folder.check_same_network(base, names, config, trained.config)
    return LgmSystem(config, trained.network)


def load(model: str, *, device: Any = "cpu", dtype: Any = None, settings: Mapping[str, Any] | None = None) -> LgmSystem:
    """Return the trained system of a model folder, a run, a checkpoint or a published file."""
    settings, notes = settings or {}, list[str]()
    if io.exists(model) and not io.is_folder(model):
        config = checkpoint.published_config(model, settings)
        weights = checkpoint.load_published(model, weight_shapes(config))
        notes = checkpoint.published_notes(model, settings)
    else:
        description = read_description(model)
        if description["system"] != NAME:
            raise GatlasError(f"{model}: a model of the system {description['system']!r}, not of {NAME!r}")
        config = LgmSystemConfig.from_json(description["config"], f"{model}: its config in gatlas.json")
        if settings.get("legacy_rot", config.legacy_rot) != config.legacy_rot:
            made = "with" if config.legacy_rot else "without"
            raise GatlasError(f"{model}: was made {made} legacy_rot: leave out --set legacy_rot")
        config = replace(config, **settings)
        weights = network_folder.load_network(model, weight_shapes(config))
    with torch.device("meta"):
        network = LGM(config)
    network.load_state_dict(weights, assign=True)
    system = LgmSystem(config, network.to(device).eval())
    system.model, system.weights, system.notes = model, digest_of_weights(network), notes
    system.to(device, dtype)
    return system
