"""The weights of LPIPS, found in files: a backbone in torchvision's format and the five linear heads.

Nothing is downloaded. The backbone is the file or folder that the user names, else torch's hub cache; the heads are in
the same file or folder, else in the files of the installed `lpips` or `torchmetrics` package, which is not imported.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.models.tensors import read_tensors
from gatlas.io.models.torch_file import load_state

if TYPE_CHECKING:
    from typing import Literal

    from torch import Tensor

    Network = Literal["vgg16", "alexnet"]

HEADS = 5


class _Files(NamedTuple):
    backbone: str  # name of torchvision's file, which is also its name in torch's hub cache
    heads: str  # name of the heads' file in both packages
    size: str  # of the backbone's file


_FILES: dict[Network, _Files] = {
    "vgg16": _Files("vgg16-397923af.pth", "vgg.pth", "528 MB"),
    "alexnet": _Files("alexnet-owt-7be5be79.pth", "alex.pth", "233 MB"),
}
_HEAD_PACKAGES = {"lpips": "weights/v0.1", "torchmetrics": "functional/image/lpips_models"}
_FIRST_SHAPES: dict[tuple[int, ...], Network] = {(64, 3, 3, 3): "vgg16", (64, 3, 11, 11): "alexnet"}  # features.0
_SUFFIXES = (".pth", ".pt", ".safetensors")


class LpipsWeights(NamedTuple):
    """Weights of `gatlas.metrics.lpips.Lpips`."""

    network: Network
    state: dict[str, Tensor]  # features.N.weight, features.N.bias, lin0 to lin4 [channels]
    sources: tuple[str, ...]  # the files: the backbone, and the heads where they are apart


def hub_folder() -> Path:
    """Return torch's folder of downloaded weights: $TORCH_HOME, else $XDG_CACHE_HOME/torch, else ~/.cache/torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")).expanduser() / "hub" / "checkpoints"


def missing_lpips_weights(network: Network = "vgg16") -> str | None:
    """One line naming what LPIPS lacks without a path and how to get it, or None if nothing is missing."""
    names = _FILES[network]
    backbone = hub_folder() / names.backbone
    if not backbone.is_file():
        return (
            f"no weights of {network}: put https://download.pytorch.org/models/{names.backbone} ({names.size}) at "
            f"{backbone}, or name a file with --lpips-weights"
        )
    if _packaged_heads(names.heads) is None:
        return (
            f"no LPIPS heads for {network}: run 'pip install --no-deps lpips', "
            "or name a folder with --lpips-weights that holds both files"
        )
    return None


def load_lpips_weights(path: str | Path | None = None, network: Network = "vgg16") -> LpipsWeights:
    """Backbone and heads (float32, on the CPU). What is missing or unusable is a GatlasError.

    `path` is a file in torchvision's format, with or without keys `lin0` to `lin4`, or a folder that holds
    torchvision's file and the heads' file under their own names. The network of a file is recognized by its shapes, and
    `network` then only chooses between the files of a folder or of the cache.
    """
    if path is None:
        if lack := missing_lpips_weights(network):
            raise GatlasError(f"LPIPS is not available: {lack}")
        backbone = hub_folder() / _FILES[network].backbone
    else:
        backbone = Path(path)
    if backbone.is_dir():
        folder, backbone = backbone, backbone / _FILES[network].backbone
        heads = folder / _FILES[network].heads
        if not backbone.is_file():
            raise GatlasError(f"{folder}: has no file {backbone.name}, the weights of {network}")
    else:
        heads = None
    stored = _read_state(backbone)
    found = _network_of(stored)
    if found is None or (path is None and found != network):
        raise GatlasError(
            f"{backbone}: these are not the weights of {'VGG16 or AlexNet' if path is not None else network} in "
            "torchvision's format (keys 'features.0.weight', ...)"
        )
    state = {name: tensor.float() for name, tensor in stored.items() if name.startswith("features.")}
    own_heads = _heads_of(stored)
    if own_heads is not None:
        return LpipsWeights(found, {**state, **own_heads}, (str(backbone),))
    if heads is None or not heads.is_file():
        heads = _packaged_heads(_FILES[found].heads)
    if heads is None:
        raise GatlasError(
            f"{backbone}: has no LPIPS heads (keys 'lin0' to 'lin4'), and neither package that ships them is "
            "installed: run 'pip install --no-deps lpips'"
        )
    packaged = _heads_of(_read_state(heads))
    if packaged is None:
        raise GatlasError(f"{heads}: these are not LPIPS heads (keys 'lin0' to 'lin4')")
    return LpipsWeights(found, {**state, **packaged}, (str(backbone), str(heads)))


def _packaged_heads(name: str) -> Path | None:
    """The heads' file of an installed package. The package is not imported: it would import torchvision."""
    for package, folder in _HEAD_PACKAGES.items():
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            path = Path(place) / folder / name
            if path.is_file():
                return path
    return None


def _network_of(state: Mapping[str, Tensor]) -> Network | None:
    first = state.get("features.0.weight")
    return None if first is None else _FIRST_SHAPES.get(tuple(first.shape))


def _heads_of(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """lin0 to lin4 as vectors; the packages call them lin0.model.1.weight and give them the shape of a 1x1 kernel."""
    heads = {}
    for i in range(HEADS):
        names = [name for name in (f"lin{i}", f"lin{i}.weight", f"lin{i}.model.1.weight") if name in state]
        if not names or not state[names[0]].is_floating_point():
            return None
        heads[f"lin{i}"] = state[names[0]].float().reshape(-1)
    return heads


def _read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch or safetensors file. Nothing in it is executed."""
    if not path.exists():
        raise GatlasError(f"{path}: no such file")
    if path.suffix not in _SUFFIXES:
        raise GatlasError(
            f"{path}: weights are read from {', '.join(_SUFFIXES)} files, not from {path.suffix or 'this'}"
        )
    if path.suffix != ".safetensors":
        return load_state(path)
    return read_tensors([path])
