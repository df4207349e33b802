"""The pretrained parts of the Gaussian Atlas system: a base that is widened, or small ones of random weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas.diffusion.schedules import STABLE_DIFFUSION_NOISE
from gatlas.errors import GatlasError
from gatlas.io.models.pipeline import Pipeline, load_picture_encoder, load_pipeline
from gatlas.io.models.tensors import check_weights
from gatlas.models.atlas_unet import CHANNELS, position_channels, small_unet, widen
from gatlas.models.pictures import PictureEncoder
from gatlas.models.text import byte_tokenizer, small_text_encoder
from gatlas.models.words import word_encoder, word_tokenizer

if TYPE_CHECKING:
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
    tokenizer = word_tokenizer(captions)
    return replace(pipeline, tokenizer=tokenizer, text_encoder=word_encoder(tokenizer, dim=TEXT_DIM, seed=seed))


def from_base(config: GaussianAtlasConfig, base: str) -> Pipeline:
    """Return a diffusers pipeline with its UNet widened to packed atlases."""
    pipeline = load_pipeline(base)
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


def picture_encoder(
    config: GaussianAtlasConfig, pipeline: Pipeline, *, seed: int = 0, base: str | None = None, trained: bool = False
) -> PictureEncoder | None:
    """Return the encoder of pictures that a config asks for: that of a base, or one of random weights.

    One that was made otherwise than the config says is a GatlasError, and a `trained` model without one.
    """
    weights = None if base is None else load_picture_encoder(base)
    if not config.pictures:
        if weights is not None:
            raise GatlasError(f"{base}: its network was made with pictures: add --set pictures=64, or the side it has")
        return None
    if weights is None and trained:
        raise GatlasError(f"{base}: has no unet/pictures, the encoder of pictures of its gatlas.json: copy it again")
    text: Any = pipeline.text_encoder.config
    encoder = PictureEncoder(config.pictures, int(text.hidden_size), channels=CHANNELS, seed=seed)
    if weights is not None:
        shapes = {name: tuple(weight.shape) for name, weight in encoder.state_dict().items()}
        check_weights(Path(str(base)), weights, shapes, f"its encoder is not one of pictures={config.pictures}")
        encoder.load_state_dict(weights)
    return encoder


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
