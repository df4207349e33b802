"""The heads of NoPoSplat: dense prediction from four layers of tokens (DPT, Ranftl et al. 2021).

The names of the weights are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.systems.noposplat.network_config import NoPoSplatConfig

MERGE_KERNEL = 7  # pixels per side, of the layer that reads the image itself


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.conv2(nn.functional.relu(self.conv1(nn.functional.relu(x))))


class Fusion(nn.Module):
    """A level and the sum of the coarser ones -> twice the resolution."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(dim, dim, 1)
        self.resConfUnit1 = ResidualUnit(dim)
        self.resConfUnit2 = ResidualUnit(dim)

    def forward(
        self, x: Float[Tensor, "b c h w"], level: Float[Tensor, "b c h w"] | None = None
    ) -> Float[Tensor, "b c 2*h 2*w"]:
        if level is not None:
            x = x + self.resConfUnit1(level)
        x = self.resConfUnit2(x)
        return self.out_conv(_resize(x, (2 * x.shape[-2], 2 * x.shape[-1])))


class Scratch(nn.Module):
    """Layers that bring four levels to one width and fuse them. Published files name the first four twice."""

    def __init__(self, level_dims: Sequence[int], dim: int) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = layers = [
            nn.Conv2d(level, dim, 3, padding=1, bias=False) for level in level_dims
        ]
        self.layer_rn = nn.ModuleList(layers)
        self.refinenet1, self.refinenet2, self.refinenet3, self.refinenet4 = (Fusion(dim) for _ in range(4))
        self.refinenet4.resConfUnit1.requires_grad_(
            False
        )  # has no coarser level: never used, but in the published files

    def forward(self, levels: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b c h w"]:
        one, two, three, four = (layer(level) for layer, level in zip(self.layer_rn, levels, strict=True))
        x = self.refinenet4(four)[..., : three.shape[-2], : three.shape[-1]]  # an odd size was rounded up
        return self.refinenet1(self.refinenet2(self.refinenet3(x, three), two), one)


class DPT(nn.Module):
    """Tokens of four layers -> a feature map, of half the image's size with patches of 16 pixels."""

    def __init__(self, config: NoPoSplatConfig) -> None:
        super().__init__()
        tokens = [config.decoder_dim if hook else config.encoder_dim for hook in config.hooks]
        levels = config.level_dims
        first, second, third, fourth = (
            nn.Conv2d(tokens_dim, level, 1) for tokens_dim, level in zip(tokens, levels, strict=True)
        )
        self.act_postprocess = nn.ModuleList(
            [
                nn.Sequential(first, nn.ConvTranspose2d(levels[0], levels[0], 4, stride=4)),
                nn.Sequential(second, nn.ConvTranspose2d(levels[1], levels[1], 2, stride=2)),
                nn.Sequential(third),
                nn.Sequential(fourth, nn.Conv2d(levels[3], levels[3], 3, stride=2, padding=1)),
            ]
        )
        self.scratch = Scratch(levels, config.head_dim)

    def trunk(self, features: Sequence[Float[Tensor, "b n _"]], grid: tuple[int, int]) -> Float[Tensor, "b c h w"]:
        """Return the feature map. `grid` is the number of patches (rows, columns)."""
        maps = [feature.float().transpose(1, 2).unflatten(2, grid) for feature in features]
        return self.scratch([layer(x) for layer, x in zip(self.act_postprocess, maps, strict=True)])


class PointDPT(DPT):
    """Three numbers per pixel: the mean of its Gaussian before the exponential map."""

    def __init__(self, config: NoPoSplatConfig) -> None:
        super().__init__(config)
        dim = config.head_dim
        self.head = nn.Sequential(
            nn.Conv2d(dim, dim // 2, 3, padding=1),
            nn.Identity(),  # the map is resized to the image here
            nn.Conv2d(dim // 2, dim // 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(dim // 2, 3, 1),
        )

    def forward(
        self, features: Sequence[Float[Tensor, "b n _"]], images: Float[Tensor, "b 3 h w"], grid: tuple[int, int]
    ) -> Float[Tensor, "b 3 h w"]:
        x = self.head[0](self.trunk(features, grid))
        return self.head[2:](_resize(x, images.shape[-2:]))


class GaussianDPT(DPT):
    """The other attributes of each pixel's Gaussian; it reads the image too."""

    def __init__(self, config: NoPoSplatConfig, channels: int) -> None:
        super().__init__(config)
        dim = config.head_dim
        self.dropout = config.dropout
        merger = nn.Conv2d(3, dim, MERGE_KERNEL, padding=MERGE_KERNEL // 2)
        self.input_merger = nn.Sequential(merger, nn.ReLU())
        self.head = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, bias=False),
            nn.Identity(),
            nn.ReLU(),
            nn.Identity(),  # dropout, by a generator
            nn.Conv2d(dim, channels, 1),
        )

    def forward(
        self,
        features: Sequence[Float[Tensor, "b n _"]],
        images: Float[Tensor, "b 3 h w"],
        grid: tuple[int, int],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b channels h w"]:
        """Return raw attributes. In training `generator` decides which features are dropped."""
        x = _resize(self.trunk(features, grid), images.shape[-2:]) + self.input_merger(images)
        x = self.head[:3](x)
        if self.training and self.dropout > 0:
            if generator is None:
                raise ValueError("training with dropout needs a generator")
            chance = torch.rand(x.shape, generator=generator, device=generator.device).to(x.device)
            x = torch.where(chance < self.dropout, 0.0, x / (1 - self.dropout))
        return self.head[4](x)


class PointHead(nn.Module):
    """A head whose weights are named as in checkpoints, under `dpt.`."""

    def __init__(self, config: NoPoSplatConfig) -> None:
        super().__init__()
        self.dpt = PointDPT(config)


class GaussianHead(nn.Module):
    """A head whose weights are named as in checkpoints, under `dpt.`."""

    def __init__(self, config: NoPoSplatConfig, channels: int) -> None:
        super().__init__()
        self.dpt = GaussianDPT(config, channels)


def _resize(x: Float[Tensor, "b c _ _"], size: Sequence[int]) -> Float[Tensor, "b c h w"]:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return nn.functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)
