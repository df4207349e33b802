"""The parts of a diffusers pipeline folder that gatlas uses: the UNet, the text encoder and the tokenizer.

Only classes that are named here are ever built, from a config and from safetensors; what else a folder holds is left
alone. The libraries' own loaders are not used for weights: they fill in what is missing with random numbers, and tell
so in a log.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io.json_reader import parse_json, read_json_object
from gatlas.io.models.tensors import fill, noted, read_json, read_tensors, weight_files, write_json, write_tensors
from gatlas.io.sets.digests import sha256_of
from gatlas.io.streams import os_errors, read

if TYPE_CHECKING:
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from torch import Tensor
    from transformers import CLIPTextModel, CLIPTokenizer

MOST_LAYERS, MOST_WIDTH = 1000, 1_000_000  # of a config: more would not be built in a lifetime
UNET_STEM, TEXT_STEM, MODULE_STEM = "diffusion_pytorch_model", "model", "model"
ADAPTERS, ADAPTER_FILE = "lora", "pytorch_lora_weights.safetensors"
_TOKEN_FIELDS = {"__type", "content", "id", "lstrip", "normalized", "rstrip", "single_word", "special"}
_SHA256 = "gatlas_sha256_"  # notes of a UNet's weights: checksums of the modules beside it, by name
_TEXT_PREFIX = "text_model."  # before the names of a text encoder's weights, in files of transformers 4


def read_unet(folder: Path, dtype: torch.dtype, *, weights: bool = True) -> UNet2DConditionModel:
    """The UNet of a part's folder, in evaluation mode, on the CPU; without `weights` by its config, on "meta"."""
    import torch
    from diffusers import UNet2DConditionModel

    path = folder / "config.json"
    config = read_json(path)
    kind = config.get("_class_name")
    if kind != "UNet2DConditionModel":
        raise GatlasError(f"{path}: describes a {kind!r:.80}; gatlas knows UNet2DConditionModel only: use another base")
    files = weight_files(folder, UNET_STEM) if weights else []
    _check_depth(path, config)
    with described(path, "a UNet2DConditionModel"), quiet(), torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    _check_conditioning(path, unet.config)
    if weights:
        fill(unet, read_tensors(files, dtype), folder)
    return unet.eval()


def _check_conditioning(path: Path, config: Mapping[str, Any]) -> None:
    """The UNet is driven by text and perhaps by pooled text, and by nothing else."""
    if config["addition_embed_type"] is not None:
        raise GatlasError(
            f"{path}: this UNet needs conditions beside the text ({config['addition_embed_type']!r:.80}, as in SDXL): "
            "use a base such as Stable Diffusion 1 or 2"
        )
    if config["class_embed_type"] not in (None, "projection") or config["num_class_embeds"] is not None:
        raise GatlasError(f"{path}: this UNet is conditioned on classes: use a base that is conditioned on text alone")
    if config["encoder_hid_dim_type"] is not None:
        raise GatlasError(f"{path}: this UNet needs '{config['encoder_hid_dim_type']}': use another base")


def save_unet(folder: str | Path, unet: UNet2DConditionModel, state_dict: Mapping[str, Tensor] | None = None) -> None:
    """Write config.json and the weights into an existing folder that `UNet2DConditionModel.from_pretrained` reads.

    `state_dict` are other weights for the same network, such as an average: names and shapes must be the UNet's own.
    The parts that `save_module` wrote into the folder before belong to these weights: see `check_module`.
    """
    own = unet.state_dict()
    state = own if state_dict is None else state_dict
    if {name: tensor.shape for name, tensor in state.items()} != {name: tensor.shape for name, tensor in own.items()}:
        raise ValueError("state_dict must have the names and the shapes of the UNet's own")
    config = parse_json(unet.to_json_string())
    config.pop("_name_or_path", None)  # a path of the machine that trained
    write_json(Path(folder) / "config.json", config)
    modules = sorted(Path(folder).glob(f"*/{MODULE_STEM}.safetensors"))
    notes = {_SHA256 + path.parent.name: sha256_of(path) for path in modules}
    write_tensors(Path(folder) / f"{UNET_STEM}.safetensors", state, notes=notes)


def save_adapters(folder: str | Path, weights: Mapping[str, Tensor]) -> None:
    """Write the adapters of a UNet into lora/ of its folder, for `load_lora_weights` of a diffusers pipeline."""
    path = Path(folder) / ADAPTERS
    with os_errors(path):
        path.mkdir()
    write_tensors(path / ADAPTER_FILE, {f"unet.{name}": weight for name, weight in weights.items()})


def save_module(folder: str | Path, name: str, weights: Mapping[str, Tensor]) -> None:
    """Write the weights of a part that diffusers does not know into a folder of that name, in that of its UNet."""
    path = Path(folder) / name
    with os_errors(path):
        path.mkdir()
    write_tensors(path / f"{MODULE_STEM}.safetensors", weights)


def read_module(folder: Path, name: str) -> dict[str, Tensor] | None:
    """The weights (float32) that `save_module` wrote; None where there are none."""
    import torch

    path = folder / name
    return read_tensors(weight_files(path, MODULE_STEM), torch.float32) if path.is_dir() else None


def check_module(folder: Path, name: str) -> None:
    """Raise a GatlasError where a module is not the one that was written with the weights of the UNet in its folder.

    Nothing is known of that where earlier versions or other programs wrote those weights.
    """
    wanted = noted(weight_files(folder, UNET_STEM)[0]).get(_SHA256 + name)
    if wanted is not None and [sha256_of(file) for file in weight_files(folder / name, MODULE_STEM)] != [wanted]:
        raise GatlasError(
            f"{folder / name}: was not written with the weights in {folder}: copy that whole folder again"
        )


def read_text_encoder(folder: Path, dtype: torch.dtype, *, weights: bool = True) -> CLIPTextModel:
    """The text encoder of a part's folder, frozen, in evaluation mode, on the CPU; `weights` as of `read_unet`."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    path = folder / "config.json"
    config = read_json(path)
    kinds = config.get("architectures") or [config.get("model_type")]
    if kinds not in (["CLIPTextModel"], ["clip_text_model"]):
        raise GatlasError(f"{path}: describes {kinds!r:.80}; gatlas knows CLIPTextModel only: use another base")
    files = weight_files(folder, TEXT_STEM) if weights else []
    _check_depth(path, config)
    with described(path, "a CLIPTextModel"), quiet(), torch.device("meta"):
        encoder = CLIPTextModel(CLIPTextConfig.from_dict(config))
    if weights:
        fill(encoder, read_tensors(files, dtype), folder, prefix=_TEXT_PREFIX)
    for module in encoder.modules():  # counted, not stored, so it is still on the meta device
        if "position_ids" in module._buffers:
            count = encoder.config.max_position_embeddings
            module._buffers["position_ids"] = torch.arange(count).expand((1, -1))
    return encoder.eval().requires_grad_(False)


def save_text_encoder(folder: Path, encoder: CLIPTextModel) -> None:
    """Write config.json and the weights into an existing folder, under the names that every version reads."""
    config = encoder.config.to_dict()
    config = {name: value for name, value in config.items() if not name.startswith("_")}
    dtype = str(encoder.dtype).removeprefix("torch.")
    config.update(architectures=["CLIPTextModel"], dtype=dtype, torch_dtype=dtype)
    write_json(folder / "config.json", config)
    state = encoder.state_dict()
    names = {name: _TEXT_PREFIX + name.removeprefix(_TEXT_PREFIX) for name in state}
    write_tensors(folder / f"{TEXT_STEM}.safetensors", {names[name]: state[name] for name in state})


def read_tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer from vocab.json and merges.txt, or from tokenizer.json."""
    from transformers import CLIPTokenizer, CLIPTokenizerFast  # type: ignore[attr-defined]

    slow = [folder / "vocab.json", folder / "merges.txt"]
    if all(path.is_file() for path in slow):
        kind = CLIPTokenizer
    elif (folder / "tokenizer.json").is_file():
        kind = CLIPTokenizerFast
    else:
        missing = next(path.name for path in slow if not path.is_file())
        raise GatlasError(f"{folder}: has no {missing} (nor a tokenizer.json): copy or download it again")
    for path in sorted(folder.glob("*.json")):
        _check_tokens(path, read_json_object(read(path)))
    with described(folder, "a CLIPTokenizer"), quiet():
        tokenizer = kind.from_pretrained(str(folder), local_files_only=True)
        tokenizer(["a", ""], padding="max_length", truncation=True, max_length=8)
        size, end, length = len(tokenizer), tokenizer.eos_token_id, tokenizer.model_max_length
    if size < 3 or type(end) is not int or not 0 <= end < size:
        raise GatlasError(f"{folder}: damaged: the tokenizer has no vocabulary")
    if type(length) not in (int, float) or not length >= 3:
        raise GatlasError(f"{folder}: damaged: its tokenizer_config.json has the model_max_length {length!r:.60}")
    return tokenizer


def _check_tokens(path: Path, value: Any) -> None:
    """Special tokens have the fields of one: their library prints others on standard error and goes on."""
    if path.name not in ("special_tokens_map.json", "tokenizer_config.json"):
        return
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(part, dict) and part.keys() & _TOKEN_FIELDS and (unknown := part.keys() - _TOKEN_FIELDS):
            raise GatlasError(f"{path}: damaged: a token has the field {min(unknown)!r:.80}")
        _check_tokens(path, part)


def save_tokenizer(folder: Path, tokenizer: CLIPTokenizer) -> None:
    """Write the tokenizer into an existing folder, with the vocab.json and merges.txt that every version reads."""
    with os_errors(folder), quiet():
        tokenizer.save_pretrained(str(folder))
        if not (folder / "vocab.json").is_file():  # transformers 5 writes tokenizer.json only
            tokenizer.backend_tokenizer.model.save(str(folder))


def _check_depth(path: Path, config: Mapping[str, Any]) -> None:
    """No number of layers is so large that building them would never end."""

    def numbers(value: Any) -> Iterator[float]:
        if isinstance(value, list):
            yield len(value)
            for each in value:
                yield from numbers(each)
        elif isinstance(value, (int, float)):
            yield value

    for name, value in config.items():
        if isinstance(value, list) or "layers" in name:
            limit = MOST_LAYERS if "layers" in name else MOST_WIDTH
            if max(numbers(value), default=0) > limit:
                raise GatlasError(f"{path}: damaged: '{name}' has numbers above {limit:,}")


@contextlib.contextmanager
def described(path: Path, what: str) -> Iterator[None]:
    """A foreign config can break the libraries' constructors in any way: each is one line about the file."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of a library in Rust
            raise
        reason = " ".join(str(error).split())[:200]
        raise GatlasError(f"{path}: does not describe {what}: {reason or type(error).__name__}") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' warnings off standard error: what matters of them is checked here."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
