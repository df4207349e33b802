"""The pretrained parts of the Gaussian Atlas system: a base that is widened, or small ones of random weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatlas.atlas.statistics import COUNT
from gatlas.diffusion.schedules import STABLE_DIFFUSION_NOISE
from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import Pipeline, check_belongs, load_module, load_pipeline
from gatlas.io.models.tensors import check_weights
from gatlas.models.atlas_basis import AtlasBasis
from gatlas.models.atlas_unet import CHANNELS, position_channels, small_unet, widen
from gatlas.models.pictures import PictureEncoder
from gatlas.models.text import byte_tokenizer, small_text_encoder
from gatlas.models.words import with_new_words, word_encoder, word_tokenizer
from gatlas.transport import PROJECTIONS, SPHERE_NAME
from gatlas.types import AtlasStats

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gatlas.systems.gaussian_atlas.config import GaussianAtlasConfig

TEXT_DIM = 128  # of the small text encoders
PREDICTIONS = {"v": "v_prediction", "epsilon": "epsilon"}  # diffusers' names


def from_scratch(config: GaussianAtlasConfig, seed: int) -> Pipeline:
    """Return a small UNet, a frozen text encoder of random weights and the noise of Stable Diffusion.

    The encoder reads letters; `with_words` replaces it.
    """
    tokenizer = byte_tokenizer()
    text_encoder = small_text_encoder(tokenizer, dim=TEXT_DIM)
    try:
        unet = small_unet(
            config.size,
            text_dim=int(text_encoder.config.hidden_size),
            widths=config.widths,
            pooled=config.pooled,
            positions=position_channels(config.octaves) if config.positions else 0,
            seed=seed,
        )
    except ValueError as error:
        raise GatlasError(f"no network of this config: {error}") from None
    scheduler = {**STABLE_DIFFUSION_NOISE, "prediction_type": PREDICTIONS[config.prediction]}
    return Pipeline(unet, scheduler, text_encoder, tokenizer)


def with_words(pipeline: Pipeline, captions: Iterable[str], seed: int) -> Pipeline:
    """Return a pipeline of random weights with a text encoder that knows the words of the captions."""
    texts = list(captions)
    tokenizer = word_tokenizer(texts)
    encoder = word_encoder(tokenizer, texts, dim=TEXT_DIM, seed=seed)
    return replace(pipeline, tokenizer=tokenizer, text_encoder=encoder)


def add_words(pipeline: Pipeline, captions: Iterable[str]) -> Pipeline:
    """Return a trained pipeline whose text encoder, if it knows words, knows those of further captions too."""
    tokenizer, text_encoder = with_new_words(pipeline.tokenizer, pipeline.text_encoder, captions)
    return replace(pipeline, tokenizer=tokenizer, text_encoder=text_encoder)


def from_base(config: GaussianAtlasConfig, base: str, *, weights: bool = True) -> Pipeline:
    """Return a diffusers pipeline with its UNet widened to packed atlases; without `weights`, on the device "meta"."""
    pipeline = load_pipeline(base, weights=weights)
    trained = str(pipeline.scheduler["prediction_type"])
    if trained != PREDICTIONS[config.prediction]:
        epsilon = trained == "epsilon"
        settings = "prediction=epsilon --set zero_terminal_snr=false" if epsilon else "prediction=v"
        raise GatlasError(
            f"{base}: was trained to predict {'epsilon' if epsilon else 'v'}, and the config says {config.prediction}: "
            f"add --set {settings}, or name another base"
        )
    unet: Any = pipeline.unet
    if unet.config.in_channels == unet.config.out_channels == CHANNELS // 4:
        pipeline = replace(pipeline, unet=widen(unet, repeats=4, input_scale=config.input_scale))
    check_network(config, pipeline, base)
    return pipeline


def atlas_basis(
    config: GaussianAtlasConfig, pipeline: Pipeline, *, seed: int = 0, base: str | None = None, trained: bool = False
) -> AtlasBasis | None:
    """Return the basis that a config asks for: that of a base, or one of random weights.

    One that was made otherwise than the config says is a GatlasError, and a `trained` model without one.
    """
    weights = None if base is None else load_module(base, "basis")
    if trained and config.basis and weights is None:
        raise GatlasError(f"{base}: lacks unet/basis, which its gatlas.json names: copy it again")
    atlases = None if weights is None else weights.get("atlases")
    stored, side = (0, config.size) if weights is None else (-1, -1)
    if atlases is not None and atlases.ndim == 4:
        stored, side = atlases.shape[0], atlases.shape[-1]
    if stored < 0:
        raise GatlasError(f"{base}: its unet/basis holds no atlases: it is damaged: copy it again")
    if base is not None and config.basis != stored:
        if trained:
            raise GatlasError(
                f"{base}: its gatlas.json says basis={config.basis} and its unet/basis has {stored} atlases: one of "
                "them was changed after training: copy both again"
            )
        raise GatlasError(f"{base}: its network was made with basis={stored}: add --set basis={stored}")
    if side != config.size:
        raise GatlasError(
            f"{base}: its basis is of {side} x {side} atlases and the statistics are of {config.size} x {config.size}: "
            "use atlases and statistics of that size, or another base"
        )
    if not config.basis:
        return None
    text: Any = pipeline.text_encoder.config
    basis = AtlasBasis(config.basis, CHANNELS, config.size, int(text.hidden_size), seed=seed)
    if weights is not None:
        _fill(basis, weights, Path(str(base)) / "unet" / "basis", "it is damaged: copy it again")
        check_belongs(str(base), "basis")
    return basis


def picture_encoder(
    config: GaussianAtlasConfig, pipeline: Pipeline, *, seed: int = 0, base: str | None = None, trained: bool = False
) -> PictureEncoder | None:
    """Return the encoder of pictures that a config asks for: that of a base, or one of random weights.

    One that was made otherwise than the config says is a GatlasError, and a `trained` model without one.
    """
    weights = None if base is None else load_module(base, "pictures")
    if not config.pictures:
        if weights is not None:
            raise GatlasError(f"{base}: its network was made with pictures: add --set pictures=64, or the side it has")
        return None
    if weights is None and trained:
        raise GatlasError(f"{base}: has no unet/pictures, the encoder of pictures of its gatlas.json: copy it again")
    text: Any = pipeline.text_encoder.config
    encoder = PictureEncoder(config.pictures, int(text.hidden_size), channels=CHANNELS, seed=seed)
    if weights is not None:
        _fill(encoder, weights, Path(str(base)), f"its encoder is not one of pictures={config.pictures}")
        check_belongs(str(base), "pictures")
    return encoder


def _fill(part: nn.Module, weights: Mapping[str, Tensor], source: Path, advice: str) -> None:
    """Give a part of the network its stored weights. Others than its own are a GatlasError that ends in the advice."""
    shapes = {name: tuple(weight.shape) for name, weight in part.state_dict().items()}
    check_weights(source, weights, shapes, advice)
    part.load_state_dict(weights)


def usual_base(config: GaussianAtlasConfig) -> Pipeline:
    """Return a pipeline of the shapes of Stable Diffusion 2.1, widened to packed atlases, on the device "meta"."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280, 1280),
            attention_head_dim=(5, 10, 20, 20),
            cross_attention_dim=1024,
            use_linear_projection=True,
        )
        text = CLIPTextConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act="gelu"
        )
        text_encoder = CLIPTextModel(text).eval().requires_grad_(False)
    scheduler = {**STABLE_DIFFUSION_NOISE, "prediction_type": PREDICTIONS[config.prediction]}
    return Pipeline(widen(unet, repeats=4), scheduler, text_encoder, byte_tokenizer(77))


def blank_stats(size: int) -> AtlasStats:
    """Return statistics of atlases of a size, for its shapes."""
    meta = {"sphere": SPHERE_NAME, "projection": next(iter(PROJECTIONS)), "size": size}
    return AtlasStats(np.zeros((size, size, COUNT)), np.ones((size, size, COUNT)), 1, meta)


def check_network(config: GaussianAtlasConfig, pipeline: Pipeline, where: str) -> None:
    """Raise a GatlasError where the UNet was made for other inputs than those of the config."""
    unet: Any = pipeline.unet.config
    extra = unet.in_channels - CHANNELS
    octaves, rest = divmod(extra - position_channels(0), position_channels(1) - position_channels(0))
    if unet.out_channels != CHANNELS or (extra != 0 and (octaves < 0 or rest)):
        raise GatlasError(f"{where}: its UNet takes {unet.in_channels} channels: it is a model of another system")
    for name, has in (("positions", extra != 0), ("pooled", unet.class_embed_type == "projection")):
        if has != getattr(config, name):
            raise GatlasError(
                f"{where}: its UNet was made with{'' if has else 'out'} {name}: add --set {name}={str(has).lower()}"
            )
    if extra and octaves != config.octaves:
        raise GatlasError(f"{where}: its UNet was made with octaves={octaves}: add --set octaves={octaves}")


def sized(config: GaussianAtlasConfig, stats: AtlasStats) -> GaussianAtlasConfig:
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
