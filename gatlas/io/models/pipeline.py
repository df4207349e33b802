"""Model folders: a diffusers pipeline folder, with gatlas.json and stats.npz where gatlas trained it.

    model_index.json  unet/  scheduler/  text_encoder/  tokenizer/        what diffusers knows
    gatlas.json  stats.npz                                                what a system needs beside

A run's folder has the same parts, its `unet` being that of the newest checkpoint; RUN/checkpoint-000100 has its own
`unet` and shares the other parts. Everything here is data: safetensors and JSON, never code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io.models.pipeline_parts import (
    check_module,
    read_module,
    read_text_encoder,
    read_tokenizer,
    read_unet,
    save_adapters,
    save_module,
    save_text_encoder,
    save_tokenizer,
    save_unet,
)
from gatlas.io.models.tensors import read_json, write_json
from gatlas.io.nouns import load_stats, save_stats
from gatlas.io.streams import os_errors

if TYPE_CHECKING:
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from torch import Tensor
    from transformers import CLIPTextModel, CLIPTokenizer

    from gatlas.types import AtlasStats

__all__ = [
    "Pipeline",
    "check_belongs",
    "load_model",
    "load_module",
    "load_pipeline",
    "read_description",
    "save_adapters",
    "save_module",
    "save_parts",
    "save_unet",
]

FORMAT = 1  # of gatlas.json
DESCRIPTION, INDEX, STATS = "gatlas.json", "model_index.json", "stats.npz"
PARTS = ("unet", "scheduler", "text_encoder", "tokenizer")
CHECKPOINT = "checkpoint-"  # how the names of a run's checkpoints begin
LATENT_CHANNELS = 4  # of Stable Diffusion
MOST_TIMESTEPS = 100_000  # a hundred times what is usual

_CLASSES = {
    "unet": ("UNet2DConditionModel",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
}
_BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
_PREDICTIONS = ("epsilon", "v_prediction")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_WANTED = ["model_index.json", *(f"{part}/*.{kind}" for part in PARTS for kind in ("json", "txt", "safetensors"))]
_UNWANTED = ["*.fp16.safetensors", "*non_ema*"]


@dataclass(frozen=True, eq=False)
class Pipeline:
    """The parts of a text-to-image pipeline that gatlas uses."""

    unet: UNet2DConditionModel
    scheduler: Mapping[str, Any]  # config of a diffusers scheduler: the betas and what the UNet predicts
    text_encoder: CLIPTextModel  # frozen
    tokenizer: CLIPTokenizer
    name: str = ""  # the folder or the hub name that it came from


def load_pipeline(name: str | Path, *, dtype: torch.dtype | None = None, weights: bool = True) -> Pipeline:
    """The base of a fine-tuning: a pipeline folder, or the name of one on the Hugging Face hub ("owner/name").

    Weights are float32 unless `dtype` is given, on the CPU. What is missing, damaged or of an unknown class is a
    GatlasError. Without `weights` only the configs and the tokenizer are read, and the networks are on the device
    "meta", without values.
    """
    folder = _folder(str(name), weights=weights)
    _check_index(folder)
    pipeline = _load_parts(folder, folder / "unet", dtype, str(name), weights=weights)
    channels = (pipeline.unet.config["in_channels"], pipeline.unet.config["out_channels"])
    if channels != (LATENT_CHANNELS, LATENT_CHANNELS) and not (folder / DESCRIPTION).is_file():
        raise GatlasError(
            f"{folder}: its UNet takes {channels[0]} channels and predicts {channels[1]}; a base has {LATENT_CHANNELS} "
            "and no others: use a text-to-image model, not one for inpainting or another task"
        )
    return pipeline


def load_model(
    folder: str | Path, *, dtype: torch.dtype | None = None
) -> tuple[Pipeline, dict[str, Any], AtlasStats | None]:
    """Return the pipeline, gatlas.json and statistics of a model, run or checkpoint that gatlas trained."""
    path = _named(str(folder))
    root = _root(path)
    description = read_description(path)
    _check_index(root)
    if root == path and not os.path.isdir(path / "unet"):
        raise GatlasError(f"{path}: has no unet yet: training has saved no checkpoint in this run")
    pipeline = _load_parts(root, path / "unet", dtype, str(folder))
    stats = root / STATS
    return pipeline, description, load_stats(stats) if os.path.exists(stats) else None


def load_module(name: str | Path, part: str) -> dict[str, Tensor] | None:
    """Return the weights (float32) of a part that diffusers does not know; None where a model has none."""
    return read_module(_named(str(name)) / "unet", part)


def check_belongs(name: str | Path, part: str) -> None:
    """Raise a GatlasError where such a part is known not to belong to the UNet of its model."""
    check_module(_named(str(name)) / "unet", part)


def read_description(folder: str | Path) -> dict[str, Any]:
    """gatlas.json of a model, a run or a checkpoint: format, system, config, versions."""
    path = _root(_named(str(folder))) / DESCRIPTION
    description = read_json(path)
    version = description.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise GatlasError(f"{path}: damaged: it has no format version")
    if version > FORMAT:
        raise GatlasError(f"{path}: a model of format {version}; this gatlas reads format {FORMAT}: upgrade gatlas")
    for key, kind in (("system", str), ("config", dict)):
        if not isinstance(description.get(key), kind):
            raise GatlasError(f"{path}: damaged: '{key}' is missing or of the wrong kind")
    return description


def save_parts(
    folder: str | Path, pipeline: Pipeline, description: Mapping[str, Any], stats: AtlasStats | None
) -> None:
    """Write all but the UNet into an existing folder, gatlas.json last; see `save_unet` for the rest.

    `description` has "system" and "config"; the format is added. The folder must be a scratch one that its maker
    renames or removes.
    """
    import diffusers

    path = Path(folder)
    scheduler = str(pipeline.scheduler["_class_name"])
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", scheduler],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        # An atlas is no picture: there is no VAE, and DiffusionPipeline.from_pretrained must be given vae=None.
        **{part: [None, None] for part in ("vae", "safety_checker", "feature_extractor", "image_encoder")},
        "requires_safety_checker": False,
    }
    write_json(path / INDEX, index)
    with os_errors(path):
        for part in ("scheduler", "text_encoder", "tokenizer"):
            (path / part).mkdir()
    write_json(path / "scheduler" / "scheduler_config.json", pipeline.scheduler)
    save_text_encoder(path / "text_encoder", pipeline.text_encoder)
    save_tokenizer(path / "tokenizer", pipeline.tokenizer)
    if stats is not None:
        save_stats(path / STATS, stats, force=True)
    write_json(path / DESCRIPTION, {"format": FORMAT, **description})


def _load_parts(root: Path, unet: Path, dtype: torch.dtype | None, name: str, *, weights: bool = True) -> Pipeline:
    import torch

    dtype = dtype or torch.float32
    places = {part: root / part for part in PARTS} | {"unet": unet}
    for part, place in places.items():
        if not os.path.isdir(place):
            raise GatlasError(f"{place.parent}: lacks the folder '{part}' of a pipeline: copy or download it again")
    with os_errors(root, named=True):
        scheduler = _read_scheduler(places["scheduler"])
        tokenizer = read_tokenizer(places["tokenizer"])
        text_encoder = read_text_encoder(places["text_encoder"], dtype, weights=weights)
        network = read_unet(places["unet"], dtype, weights=weights)
    _check_fit(root, network.config, text_encoder.config, tokenizer)
    return Pipeline(network, scheduler, text_encoder, tokenizer, name)


def _check_fit(root: Path, unet: Mapping[str, Any], text: Any, tokenizer: CLIPTokenizer) -> None:
    """The parts belong together."""
    width = int(text.hidden_size)
    wanted = unet["cross_attention_dim"]
    wanted = set(wanted) if isinstance(wanted, (list, tuple)) else {wanted}
    if unet["class_embed_type"] == "projection":
        wanted.add(unet["projection_class_embeddings_input_dim"])
    if wanted != {width}:
        raise GatlasError(
            f"{root}: its UNet takes text of width {', '.join(map(str, sorted(wanted)))} and its text encoder gives "
            f"{width}: the parts are not of one pipeline"
        )
    if len(tokenizer) > text.vocab_size:
        raise GatlasError(
            f"{root}: its tokenizer has {len(tokenizer)} tokens and its text encoder knows {text.vocab_size}: "
            "the parts are not of one pipeline"
        )


def _read_scheduler(folder: Path) -> dict[str, Any]:
    path = folder / "scheduler_config.json"
    config = read_json(path)
    kind = config.get("_class_name")
    from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers

    if kind not in [scheduler.name for scheduler in KarrasDiffusionSchedulers]:
        raise GatlasError(f"{path}: {kind!r:.80} is no scheduler of noise by betas that gatlas knows: use another base")
    if config.get("trained_betas") is None and config.get("beta_schedule", "linear") not in _BETA_SCHEDULES:
        raise GatlasError(f"{path}: beta_schedule must be one of {', '.join(_BETA_SCHEDULES)}")
    if config.get("prediction_type", "epsilon") not in _PREDICTIONS:
        raise GatlasError(f"{path}: prediction_type must be one of {', '.join(_PREDICTIONS)}")
    betas = config.get("trained_betas")
    if betas is None:
        betas = [config.get("beta_start", 1e-4), config.get("beta_end", 0.02)]
    if not isinstance(betas, list) or not all(type(beta) in (int, float) and 0 < beta < 1 for beta in betas):
        raise GatlasError(f"{path}: damaged: its betas must be numbers between 0 and 1")
    count = config.get("num_train_timesteps", 1000)
    if type(count) is not int or not 2 <= count <= MOST_TIMESTEPS or not 2 <= len(betas) <= MOST_TIMESTEPS:
        raise GatlasError(f"{path}: damaged: it must have 2 to {MOST_TIMESTEPS} timesteps")
    return {"prediction_type": "epsilon", **config}  # diffusers' default


def _check_index(folder: Path) -> None:
    path = folder / INDEX
    if not os.path.exists(path):
        raise GatlasError(f"{folder}: not a diffusers pipeline folder: it has no {INDEX}")
    index = read_json(path)
    for part, classes in _CLASSES.items():
        entry = index.get(part)
        if entry is None or entry == [None, None]:
            raise GatlasError(
                f"{path}: names no '{part}': gatlas needs a text-to-image pipeline with {', '.join(PARTS)}"
            )
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] not in classes:
            raise GatlasError(
                f"{path}: '{part}' is {entry!r:.80}; gatlas builds only {' or '.join(classes)}: use another base"
            )


def _named(name: str) -> Path:
    if not name or "\0" in name:
        raise GatlasError(f"{name!r:.200}: no such folder: the name is empty or holds a zero byte")
    return Path(name)


def _check_access(folder: Path) -> None:
    if not os.access(folder, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise GatlasError(f"{folder}: the folder may not be read: check its permissions")


def _root(folder: Path) -> Path:
    """The folder that holds gatlas.json: the folder itself, or the run that a checkpoint belongs to."""
    if not os.path.isdir(folder):
        raise GatlasError(f"{folder}: no such folder: name a model folder, a run or one of its checkpoints")
    _check_access(folder)
    if os.path.exists(folder / DESCRIPTION):
        return folder
    path = Path(os.path.abspath(folder))
    if path.name.startswith(CHECKPOINT) and os.path.exists(path.parent / DESCRIPTION):
        return path.parent
    raise GatlasError(f"{folder}: not a model of gatlas: it has no {DESCRIPTION}")


def _folder(name: str, *, weights: bool = True) -> Path:
    """The folder itself, or the local copy of a pipeline on the hub, downloaded where it is not there yet."""
    path = _named(name)
    if os.path.isdir(path):  # Path.is_dir raises where a folder above may not be read
        _check_access(path)
        return path
    if os.path.lexists(path) or not _HUB_NAME.fullmatch(name):
        raise GatlasError(f"{name}: no such folder: name a diffusers pipeline folder or a hub name like 'owner/name'")
    from huggingface_hub import snapshot_download

    wanted = [pattern for pattern in _WANTED if weights or not pattern.endswith(".safetensors")]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=_UNWANTED))
    except Exception as error:  # the hub's client raises its own errors, its HTTP library's and the system's
        reason = " ".join(str(error).split())[:160]
        raise GatlasError(
            f"{name}: no such folder, and the hub gave none ({type(error).__name__}: {reason}): "
            "check the name and the connection, or download the pipeline and name its folder"
        ) from None
