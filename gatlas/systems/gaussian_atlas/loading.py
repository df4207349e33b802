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
    check_network,
    from_base,
    from_scratch,
    picture_encoder,
    with_words,
)
from gatlas.systems.gaussian_atlas.system import GaussianAtlasSystem
from gatlas.transport import PROJECTIONS, SPHERE_NAME

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
    config = _sized(config, stats)
    if base is not None:
        pipeline = from_base(config, base)
        pictures = picture_encoder(config, pipeline, seed=seed, base=base)
        return GaussianAtlasSystem(config, pipeline, stats, seed=seed, pictures=pictures)
    if config.lora_rank:
        raise GatlasError("lora_rank: adapters change a trained network: name it with --base, or set lora_rank=0")
    words = partial(with_words, seed=seed) if config.text == "words" else None
    pipeline = from_scratch(config, seed)
    pictures = picture_encoder(config, pipeline, seed=seed)
    return GaussianAtlasSystem(config, pipeline, stats, words, pictures=pictures)


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
    pictures = picture_encoder(config, pipeline, base=folder, trained=True)
    system = GaussianAtlasSystem(_sized(config, stats), pipeline, stats, pictures=pictures)
    system.captioned = captioned
    # Before `dtype` rounds them.
    system.weights = digest_of_weights(pipeline.unet if pictures is None else system.network)
    system.to(device)
    system.network.to(device, getattr(torch, dtype) if isinstance(dtype, str) else dtype).eval()
    return system


def _sized(config: GaussianAtlasConfig, stats: AtlasStats) -> GaussianAtlasConfig:
    """Return the config with the size of the statistics. An unknown layout or another size is a GatlasError."""
    for field, known in (("sphere", (SPHERE_NAME,)), ("projection", PROJECTIONS)):
        if stats.meta.get(field) not in known:
            raise GatlasError(
                f"the statistics have the {field} {stats.meta.get(field)!r}; this version knows {', '.join(known)}"
            )
    size = int(stats.mean.shape[0])
    if config.size not in (0, size):
        raise GatlasError(
            f"the statistics are of {size} x {size} atlases and the model is of {config.size} x {config.size}: "
            f"use statistics of that size, or --set size={size} for a new model"
        )
    return replace(config, size=size)
