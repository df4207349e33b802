"""New and trained Gaussian Atlas systems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import load_model
from gatlas.systems.contract import digest_of_weights
from gatlas.systems.gaussian_atlas.config import GaussianAtlasConfig
from gatlas.systems.gaussian_atlas.declaration import NAME
from gatlas.systems.gaussian_atlas.pipeline import (
    PREDICTIONS,
    add_words,
    atlas_basis,
    check_network,
    from_base,
    from_scratch,
    picture_encoder,
    sized,
    with_words,
)
from gatlas.systems.gaussian_atlas.system import GaussianAtlasSystem

if TYPE_CHECKING:
    from gatlas.types import AtlasStats


def create(
    config: GaussianAtlasConfig, *, base: str | None = None, stats: AtlasStats | None = None, seed: int = 0
) -> GaussianAtlasSystem:
    """Return a system to train: with the UNet of a diffusers pipeline, widened, or a small one of random weights.

    A base that is a model of gatlas is used as it is. What does not fit together is a GatlasError.
    """
    if stats is None:
        raise GatlasError(
            "no statistics: make them with gatlas normalize-stats INPUT -o stats.npz and name them with --stats"
        )
    config = sized(config, stats)
    if base is not None:
        pipeline = from_base(config, base)
        basis = atlas_basis(config, pipeline, base=base)
        pictures = picture_encoder(config, pipeline, seed=seed, base=base)
        return GaussianAtlasSystem(config, pipeline, stats, add_words, seed=seed, basis=basis, pictures=pictures)
    if config.lora_rank:
        raise GatlasError("lora_rank: adapters change a trained network: name it with --base, or set lora_rank=0")
    words = partial(with_words, seed=seed) if config.text == "words" else None
    pipeline = from_scratch(config, seed)
    basis = atlas_basis(config, pipeline, seed=seed)
    pictures = picture_encoder(config, pipeline, seed=seed)
    return GaussianAtlasSystem(config, pipeline, stats, words, basis=basis, pictures=pictures)


def load(
    folder: str, *, device: Any = "cpu", dtype: Any = None, settings: Mapping[str, Any] | None = None
) -> GaussianAtlasSystem:
    """Return the trained system of a model folder, a run or a checkpoint. `dtype` is the network's, or its name."""
    pipeline, description, stats = load_model(folder)
    if description["system"] != NAME:
        raise GatlasError(f"{folder}: a model of the system {description['system']!r}, not of {NAME!r}")
    config = GaussianAtlasConfig.from_json(description["config"], f"{folder}: its config in gatlas.json")
    config = replace(config, **(settings or {}))
    stored = pipeline.scheduler["prediction_type"]
    if stored != PREDICTIONS[config.prediction]:
        raise GatlasError(
            f"{folder}: its gatlas.json says that it predicts {config.prediction} and its scheduler_config.json says "
            f"{stored}: one of them was changed after training"
        )
    if stats is None:
        raise GatlasError(f"{folder}: has no stats.npz, with which its samples are unwhitened: copy it from the run")
    check_network(config, pipeline, folder)
    captioned = description.get("captions")  # absent from models of earlier versions
    if captioned is not None and not isinstance(captioned, bool):
        raise GatlasError(f"{folder}: its gatlas.json is damaged: captions must be true or false, got {captioned!r}")
    config = sized(config, stats)
    basis = atlas_basis(config, pipeline, base=folder, trained=True)
    pictures = picture_encoder(config, pipeline, base=folder, trained=True)
    system = GaussianAtlasSystem(config, pipeline, stats, basis=basis, pictures=pictures)
    system.captioned = captioned
    # Before `dtype` rounds them.
    system.weights = digest_of_weights(pipeline.unet if basis is None and pictures is None else system.network)
    system.to(device)
    system.network.to(device, getattr(torch, dtype) if isinstance(dtype, str) else dtype).eval()
    return system
