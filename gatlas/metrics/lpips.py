"""Learned perceptual distance (Zhang et al. 2018, version 0.1) on VGG16 or AlexNet, in plain torch.

`load_lpips` reads the weights: see `gatlas.io.models.lpips_weights`. Layers carry torchvision's names, so its weights
fit as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn.utils import skip_init

from gatlas.errors import GatlasError
from gatlas.io import load_lpips_weights

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from jaxtyping import Float
    from torch import Tensor

SHIFT = (-0.030, -0.088, -0.188)  # of RGB in [-1, 1]: ImageNet's mean and deviation, as the heads were trained with
SCALE = (0.458, 0.448, 0.450)
TINY = 1e-10  # added to the length of a feature before dividing by it


class FeatureNetwork(NamedTuple):
    """A convolutional network up to the last layer that is compared."""

    layers: tuple[nn.Module, ...]  # in torchvision's order, so that their numbers are those of its keys
    taps: tuple[int, ...]  # layers whose output is compared: ReLUs
    channels: tuple[int, ...]  # of each tap
    smallest: int  # pixels a side that leave one feature at the last tap


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int) -> nn.Module:
    """A convolution whose weights are still to come: the usual start would draw from torch's global generator."""
    return skip_init(nn.Conv2d, inputs, outputs, kernel, stride=stride, padding=padding)


def _vgg16() -> FeatureNetwork:
    layers: list[nn.Module] = []
    width = 3
    for size in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        if size == 0:
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [_conv(width, size, 3, padding=1), nn.ReLU()]
            width = size
    return FeatureNetwork(tuple(layers), (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), 16)


def _alexnet() -> FeatureNetwork:
    layers = (
        _conv(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        _conv(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        _conv(192, 384, 3, padding=1), nn.ReLU(),
        _conv(384, 256, 3, padding=1), nn.ReLU(),
        _conv(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    return FeatureNetwork(layers, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), 31)


NETWORKS = {"vgg16": _vgg16, "alexnet": _alexnet}


class Lpips(nn.Module):
    """The distance, frozen: gradients go to the first picture, never to the weights."""

    shift: Tensor
    scale: Tensor

    def __init__(self, network: Literal["vgg16", "alexnet"], state: Mapping[str, Tensor]) -> None:
        """`state` holds torchvision's `features.N.weight` and `.bias`, and the heads `lin0` to `lin4`, [channels] each.

        Other keys, such as the classifier's, are left out. A missing key or a wrong shape is a ValueError.
        """
        super().__init__()
        if network not in NETWORKS:
            raise ValueError(f"network must be one of {', '.join(NETWORKS)}, got {network!r}")
        self.network = network
        backbone = NETWORKS[network]()
        self.taps, self.smallest = backbone.taps, backbone.smallest
        self.features = nn.Sequential(*backbone.layers)
        for i, channels in enumerate(backbone.channels):
            self.register_buffer(f"lin{i}", torch.zeros(channels))
        own = self.state_dict()
        for name, tensor in own.items():
            if name not in state:
                raise ValueError(f"state of {network} must have the key {name!r}")
            if state[name].shape != tensor.shape:
                raise ValueError(f"{name} of {network} must have shape {[*tensor.shape]}, got {[*state[name].shape]}")
        self.load_state_dict({name: state[name] for name in own})
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1))
        for i in range(len(self.taps)):
            if (self.get_buffer(f"lin{i}") < 0).any():
                raise ValueError(f"lin{i} of {network} must not be negative: it would not be a distance")
        self.requires_grad_(False).eval()

    def forward(self, images_a: Float[Tensor, "c h w 3"], images_b: Float[Tensor, "c h w 3"]) -> Float[Tensor, " c"]:
        """Distance of each pair of RGB pictures in [0, 1]; 0 is equality. Differentiable to `images_a` only."""
        shape = tuple(images_a.shape)
        if len(shape) != 4 or shape[3] != 3 or min(shape[1:3]) < self.smallest:
            raise ValueError(
                f"images_a must have shape [c h w 3], h and w >= {self.smallest} for {self.network}, got {list(shape)}"
            )
        if tuple(images_b.shape) != shape:
            raise ValueError(f"images_b must have the shape of images_a, {list(shape)}, got {list(images_b.shape)}")
        with torch.no_grad():
            references = self._tapped(images_b)
        distance = images_a.new_zeros(len(images_a))
        for i, (feature, reference) in enumerate(zip(self._tapped(images_a), references, strict=True)):
            squared = (_unit(feature) - _unit(reference)) ** 2
            distance = distance + torch.einsum("cdhw,d->c", squared, self.get_buffer(f"lin{i}")) / squared[0, 0].numel()
        return distance

    def _tapped(self, images: Float[Tensor, "c h w 3"]) -> list[Tensor]:
        outputs = []
        values = (2 * images.permute(0, 3, 1, 2) - 1 - self.shift) / self.scale
        for number, layer in enumerate(self.features):
            values = layer(values)
            if number in self.taps:
                outputs.append(values)
        return outputs


def blank_lpips(network: Literal["vgg16", "alexnet"] = "vgg16") -> Lpips:
    """Return the distance with all weights 0, for its shapes."""
    backbone = NETWORKS[network]()
    features = nn.Sequential(*backbone.layers).state_dict()
    state = {f"features.{name}": torch.zeros(()).expand(weight.shape) for name, weight in features.items()}
    heads = {f"lin{i}": torch.zeros(channels) for i, channels in enumerate(backbone.channels)}
    return Lpips(network, {**state, **heads})


def load_lpips(
    path: str | Path | None = None, *, side: int | None = None, without: str = "", larger: str = ""
) -> Lpips:
    """Return the network with the weights at `path`, by default those in torch's cache.

    Missing weights are a GatlasError, as are images whose shorter `side` is too small. It tells the user how to do
    `without` LPIPS and how to make `larger` images, where those are given.
    """
    try:
        weights = load_lpips_weights(path)
    except GatlasError as error:
        raise GatlasError(f"{error}; or train without this term: {without}" if without else str(error)) from None
    try:
        network = Lpips(weights.network, weights.state)
    except ValueError as error:
        raise GatlasError(f"{' and '.join(weights.sources)}: {error}: name published weights") from None
    if side is not None and side < network.smallest:
        remedy = ", or ".join(filter(None, (larger, without)))
        raise GatlasError(f"LPIPS needs pictures of {network.smallest} pixels or more: {remedy}")
    return network


def _unit(features: Float[Tensor, "c d h w"]) -> Float[Tensor, "c d h w"]:
    """Each pixel's feature at length 1. The norm's gradient at a zero feature is 0, where a plain root's is NaN."""
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + TINY)
