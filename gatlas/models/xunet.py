"""X-UNet, the network of 3DiM, and the Concat-UNet that it is compared with (Watson et al. 2023).

Frame 0 is a view without noise, frame 1 the noisy view of another camera, whose noise is predicted. In the X-UNet both
frames pass through the same weights and see each other in cross-attention; in the Concat-UNet they are the channels of
one picture. Rays condition every residual block, pixel by pixel. The layers follow the authors' listing; where it
defines resampling blocks without using them, the blocks resample inside as BigGAN's do (Brock et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional

from gatlas.geometry.rays import posenc_nerf, rays
from gatlas.models.epipolar import EpipolarAttention, EpipolarColors, EpipolarPoints, epipolar_points
from gatlas.models.xunet_config import XUNetConfig
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

POSITION_OCTAVES, DIRECTION_OCTAVES = 15, 8
POSITION_CHANNELS = 3 + 6 * POSITION_OCTAVES  # 93
POSE_CHANNELS = POSITION_CHANNELS + 3 + 6 * DIRECTION_OCTAVES  # 144
MAX_LOG_SNR = 20.0  # and that of a view without noise
OPEN_PIXELS, OPEN_KEYS = 3.0, 1.5  # of an open start: deviation of the codes of pixels, gain of queries and keys
HALF = math.sqrt(0.5)  # keeps the variance of a sum of two


class XUNet(nn.Module):
    """The network of a config, of either kind."""

    def __init__(self, config: XUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        joined = 2 // config.frames  # views in the channels of a picture
        self.embed = _Embedding(config, joined)
        self.conv_in = _conv(3 * joined, config.channels)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        widths, levels = config.widths, len(config.widths)
        skips, width = [config.channels], config.channels
        for level, channels in enumerate(widths):
            attends = level >= levels - config.attention_levels
            for _ in range(config.blocks):
                self.down.append(_Block(width, channels, config, level, attends=attends, kept=True))
                width = channels
                skips.append(width)
            if level < levels - 1:
                self.down.append(_Block(width, width, config, level + 1, resample="down", kept=True))
                skips.append(width)
        self.middle = _Block(width, width, config, levels - 1, attends=True)
        for level, channels in reversed(list(enumerate(widths))):
            attends = level >= levels - config.attention_levels
            for _ in range(config.blocks + 1):
                joined_width = width + skips.pop()
                self.up.append(_Block(joined_width, channels, config, level, attends=attends, joins=True))
                width = channels
            if level:
                self.up.append(_Block(width, width, config, level - 1, resample="up"))
        self.norm_out = _norm(width, config)
        self.conv_out = _conv(width, 3)
        self.colors = EpipolarColors(width, config.epipolar_points) if config.epipolar else None

    def forward(
        self,
        images: Float[Tensor, "b 2 3 h w"],
        log_snr: Float[Tensor, " b"],
        poses: Float[Tensor, "b 2 144 h w"],
        conditional: Bool[Tensor, " b"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Return the noise of frame 1 (float32), or v, the pictures in [-1, 1] apart from the noise.

        `log_snr` is that of frame 1; for `poses` see `encode_rays`. A row that is not `conditional` knows nothing of
        the rays; its frame 0 should be noise. `generator` draws the dropout of training. With epipolar attention the
        result is v, of which colors of frame 0 are the part that is the view.
        """
        side = self.config.side
        if tuple(images.shape[-2:]) != (side, side):
            raise ValueError(f"the pictures must have {side} x {side} pixels, got {tuple(images.shape[-2:])}")
        embeddings = self.embed(log_snr, poses, conditional)
        points = self.points(poses, conditional)
        x = self.conv_in(images.flatten(0, 1) if self.config.frames == 2 else images.flatten(1, 2))
        skips, inputs = [x], zip(self._blocks, self._seeds(generator), strict=True)
        for block, seed in inputs:
            if block.joins:
                x = torch.cat([x, skips.pop()], dim=1)
            x = self._call(block, x, embeddings[block.level], seed, points[block.level])
            if block.kept:
                skips.append(x)
        features = functional.silu(self.norm_out(x))
        x = self.conv_out(features).float()
        x = x[1::2] if self.config.frames == 2 else x
        if self.colors is not None:
            sigma = torch.sigmoid(-log_snr.float()).sqrt()[:, None, None, None]
            x = x - sigma * self.colors(features, images[:, 0], points[0]).float()
        return x

    def points(
        self, poses: Float[Tensor, "b 2 144 h w"], conditional: Bool[Tensor, " b"]
    ) -> Sequence[EpipolarPoints | None]:
        """Return the points of each level's rays, or None where attention is to all pixels."""
        config = self.config
        levels = range(len(config.multiples))
        if not config.epipolar:
            return [None for _ in levels]
        distances = torch.linspace(config.near, config.far, config.epipolar_points, device=poses.device)
        centers, directions = poses[:, :, :3, 0, 0].float(), poses[:, :, POSITION_CHANNELS : POSITION_CHANNELS + 3]
        points = []
        for level in levels:
            pooled = functional.avg_pool2d(directions.float().flatten(0, 1), 1 << level).unflatten(0, (-1, 2))
            pooled = functional.normalize(pooled, dim=2)
            points.append(epipolar_points(centers, pooled, conditional, distances))
        return points

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of each block in the backward pass instead of keeping them."""
        self.checkpointing = True

    @property
    def _blocks(self) -> list[_Block]:
        return cast("list[_Block]", [*self.down, self.middle, *self.up])

    def _seeds(self, generator: torch.Generator | None) -> list[int | None]:
        """Return a seed of the dropout of each block, so that a block that is computed again drops the same."""
        if generator is None or not self.training or self.config.dropout == 0:
            return [None] * len(self._blocks)
        drawn = torch.randint(2**62, (len(self._blocks),), generator=generator, device=generator.device)
        return cast("list[int | None]", drawn.tolist())

    def _call(self, block: _Block, *inputs: Tensor | int | EpipolarPoints | None) -> Tensor:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            from torch.utils.checkpoint import checkpoint

            return cast("Tensor", checkpoint(block, *inputs, use_reentrant=False))
        return cast("Tensor", block(*inputs))


def encode_rays(cameras: Cameras) -> Float[Tensor, "c 144 h w"]:
    """Return the encoding of each pixel's ray (float32): that of the camera's position, and that of the direction.

    The cameras have tensors, of float64: the waves of the positions are as short as 2^-14 of a radian's length.
    """
    centers, directions = rays(cameras)
    position = posenc_nerf(centers, POSITION_OCTAVES).float()  # [c 93]
    direction = posenc_nerf(directions.float(), DIRECTION_OCTAVES).movedim(-1, 1)  # [c 51 h w]
    position = position[..., None, None].expand(-1, -1, *direction.shape[-2:])
    return torch.cat([position, direction], dim=1)


def weight_shapes(config: XUNetConfig) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of all weights of a network, without making them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in XUNet(config).state_dict().items()}


def fresh_network(config: XUNetConfig, generator: torch.Generator) -> XUNet:
    """Return a network of random weights on the CPU, whose prediction is 0.

    Weights are normal of variance 1 / fan-in, the learned embeddings of 1 / 144; the last layer of each block is 0.
    With `open_start` that is so of the last layer of the network alone, see `_open`.
    Weights of the waves of the rays fall by `octave_falloff` from octave to octave, at the same variance in all.
    """
    with torch.device("meta"):
        network = XUNet(config)
    network.to_empty(device="cpu")
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.GroupNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()
            elif isinstance(module, (nn.Linear, nn.Conv2d)):
                module.weight.normal_(std=module.weight[0].numel() ** -0.5, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
        for learned in (network.embed.pixels, network.embed.frames):
            if learned is not None:
                learned.normal_(std=POSE_CHANNELS**-0.5, generator=generator)
        for module in network.modules():
            if isinstance(module, EpipolarAttention):
                module.key_codes.normal_(generator=generator)
                module.value_codes.normal_(generator=generator)
        if config.open_start:
            _open(network)
        else:
            for layer in _last_layers(network):
                layer.weight.zero_()
        network.conv_out.weight.zero_()
        if config.octave_falloff != 1.0:
            factors = octave_factors(config.octave_falloff)
            for level in network.embed.levels:
                weight = cast("nn.Conv2d", level).weight
                weight *= factors.repeat(weight.shape[1] // POSE_CHANNELS)[:, None, None]
    return network


def octave_factors(falloff: float) -> Float[Tensor, " 144"]:
    """Return a factor for each channel of encoded rays, falling from octave to octave, with a mean square of 1."""
    parts = []
    for octaves in (POSITION_OCTAVES, DIRECTION_OCTAVES):
        waves = falloff ** torch.arange(octaves, dtype=torch.float64).repeat_interleave(3)
        parts += [torch.ones(3, dtype=torch.float64), waves, waves]  # the values, their sines, their cosines
    factors = torch.cat(parts)
    return (factors / factors.square().mean().sqrt()).float()


def _last_layers(network: XUNet) -> list[nn.Linear | nn.Conv2d]:
    """Return the layers that begin as 0 as published: of residual blocks and of attention."""
    residual = [module.conv2 for module in network.modules() if isinstance(module, _ResBlock)]
    attention = [module.proj for module in network.modules() if isinstance(module, (FrameAttention, EpipolarAttention))]
    return [*residual, *attention]


def _open(network: XUNet) -> None:
    """Let attention find the same place of the other frame: codes of pixels are large, and keys are made as queries.

    With last layers of 0 a network of few steps ignores the other frame: its features then know nothing of places, so
    that attention sees the mean of all pixels.
    """
    if network.embed.pixels is not None:
        network.embed.pixels.mul_(OPEN_PIXELS * POSE_CHANNELS**0.5)
    for module in network.modules():
        if isinstance(module, FrameAttention):
            module.key.weight.copy_(module.query.weight.mul_(OPEN_KEYS))


class _Embedding(nn.Module):
    """The embedding of noise and rays for the pixels of each level."""

    def __init__(self, config: XUNetConfig, joined: int) -> None:
        super().__init__()
        self.width = config.embedding
        self.joined = joined
        self.noise = nn.Sequential(nn.Linear(self.width, self.width), nn.SiLU(), nn.Linear(self.width, self.width))
        side = config.side
        self.pixels = nn.Parameter(torch.empty(POSE_CHANNELS, side, side)) if config.position_embedding else None
        self.frames = nn.Parameter(torch.empty(2, POSE_CHANNELS)) if config.frame_embedding else None
        self.levels = nn.ModuleList(
            _conv(POSE_CHANNELS * joined, self.width, stride=1 << level) for level in range(len(config.multiples))
        )

    def forward(
        self, log_snr: Float[Tensor, " b"], poses: Float[Tensor, "b 2 144 h w"], conditional: Bool[Tensor, " b"]
    ) -> list[Tensor]:
        """Return the embeddings [n e h w] of the levels, finest first, n pictures of which each has `joined` views.

        They are activated here, once for all blocks of a level.
        """
        poses = torch.where(conditional[:, None, None, None, None], poses, poses.new_zeros(()))
        noisy = log_snr.float().clamp(-MAX_LOG_SNR, MAX_LOG_SNR)
        if self.joined == 1:
            noisy = torch.stack([torch.full_like(noisy, MAX_LOG_SNR), noisy], dim=1).flatten()
        embedded = self.noise(log_snr_waves(noisy, self.width))[:, :, None, None]
        return [functional.silu(embedded + self.convolved(poses, level)) for level in self.levels]

    def convolved(self, poses: Float[Tensor, "b 2 144 h w"], level: nn.Module) -> Float[Tensor, "n e h2 w2"]:
        """Return the convolution of rays plus learned embeddings.

        It is linear: that of the embeddings is done once for all rows, and the rays need no gradient. A camera has one
        position, whose channels are the same in all pixels.
        """
        convolution = cast("nn.Conv2d", level)
        weight = convolution.weight.unflatten(1, (self.joined, POSE_CHANNELS))
        found = _convolved_constant(
            poses[..., :POSITION_CHANNELS, 0, 0], weight[:, :, :POSITION_CHANNELS], convolution, poses.shape[-2:]
        )
        found = found + functional.conv2d(
            poses[:, :, POSITION_CHANNELS:].reshape(len(found), -1, *poses.shape[-2:]),
            weight[:, :, POSITION_CHANNELS:].flatten(1, 2),
            convolution.bias,
            stride=convolution.stride,
            padding=convolution.padding,
        )
        if self.pixels is None and self.frames is None:
            return found
        learned = torch.zeros_like(poses[0])
        if self.pixels is not None:
            learned = learned + self.pixels
        if self.frames is not None:
            learned = learned + self.frames[:, :, None, None]
        learned = learned.reshape(-1, POSE_CHANNELS * self.joined, *poses.shape[-2:])
        added = functional.conv2d(
            learned, convolution.weight, stride=convolution.stride, padding=convolution.padding
        )  # [frames e h2 w2]
        return (found.unflatten(0, (-1, len(added))) + added).flatten(0, 1)


def _convolved_constant(
    values: Float[Tensor, "b 2 c"], weight: Float[Tensor, "e j c 3 3"], convolution: nn.Conv2d, size: torch.Size
) -> Float[Tensor, "n e h2 w2"]:
    """Return the convolution, without its bias, of pictures of a size that have the same values in all pixels.

    A pixel is the sum of the taps that are inside of the picture, which is padded with zeros.
    """
    matrix = weight.permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)  # [j c, e 9]
    taps = values.reshape(-1, len(matrix)) @ matrix
    inside = functional.unfold(values.new_ones(1, 1, *size), 3, padding=1, stride=convolution.stride)[0]  # [9, h2 w2]
    side = size[0] // convolution.stride[0]
    return (taps.unflatten(1, (weight.shape[0], -1)) @ inside).unflatten(2, (side, -1))


def log_snr_waves(log_snr: Float[Tensor, " n"], channels: int) -> Float[Tensor, "n channels"]:
    """Return sines and cosines of the noise's share 2 atan(exp(-lambda / 2)) / pi, in thousandths."""
    share = 2 * torch.atan(torch.exp(-0.5 * log_snr)) / math.pi
    half = channels // 2
    rates = torch.exp(-math.log(1e4) * torch.arange(half, device=log_snr.device) / (half - 1))
    angles = 1000.0 * share[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def dropped(x: Float[Tensor, "*n"], share: float, seed: int) -> Float[Tensor, "*n"]:
    """Return features of which a share is 0 and the others are larger, so that the mean stays."""
    generator = torch.Generator(x.device).manual_seed(seed)
    kept = torch.rand(x.shape, generator=generator, device=x.device) >= share
    return x * kept / (1 - share)


class _Block(nn.Module):
    """A residual block, with attention inside each frame and then between the frames where it `attends`."""

    def __init__(
        self,
        width: int,
        channels: int,
        config: XUNetConfig,
        level: int,
        *,
        attends: bool = False,
        joins: bool = False,
        kept: bool = False,
        resample: str | None = None,
    ) -> None:
        """`level` is that of the output. The block `joins` a skip to its input; its output is `kept` as one."""
        super().__init__()
        self.level, self.joins, self.kept = level, joins, kept
        self.net = _ResBlock(width, channels, config, resample)
        self.attention = nn.ModuleList([FrameAttention(channels, config, across=False)] if attends else [])
        if config.epipolar and resample is None and level > 0:
            self.attention.append(EpipolarAttention(channels, config.heads, config.groups, config.epipolar_points))
        elif not config.epipolar and config.frames == 2 and attends:
            self.attention.append(FrameAttention(channels, config, across=True))

    def forward(
        self, x: Float[Tensor, "n c h w"], embedding: Tensor, seed: int | None, points: EpipolarPoints | None
    ) -> Float[Tensor, "n d h2 w2"]:
        x = self.net(x, embedding, seed)
        for attention in self.attention:
            x = attention(x, points) if isinstance(attention, EpipolarAttention) else attention(x)
        return x


class _ResBlock(nn.Module):
    def __init__(self, width: int, channels: int, config: XUNetConfig, resample: str | None) -> None:
        super().__init__()
        self.resample, self.dropout = resample, config.dropout
        self.norm1, self.conv1 = _norm(width, config), _conv(width, channels)
        self.norm2, self.conv2 = _norm(channels, config), _conv(channels, channels)
        self.film = nn.Conv2d(config.embedding, 2 * channels, 1)
        self.shortcut = nn.Identity() if width == channels else nn.Conv2d(width, channels, 1)

    def forward(self, x: Float[Tensor, "n c h w"], embedding: Tensor, seed: int | None) -> Float[Tensor, "n d h2 w2"]:
        h = self.conv1(self._resampled(functional.silu(self.norm1(x))))
        scale, shift = self.film(embedding).chunk(2, dim=1)
        h = functional.silu(self.norm2(h) * (1 + scale) + shift)
        h = self.conv2(h if seed is None else dropped(h, self.dropout, seed))
        return cast("Tensor", (h + self.shortcut(self._resampled(x))) * HALF)

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            return functional.avg_pool2d(x, 2)
        return functional.interpolate(x, scale_factor=2.0, mode="nearest") if self.resample == "up" else x


class FrameAttention(nn.Module):
    """Attention of the pixels of each frame to those of the same frame, or `across`: to those of the other one."""

    def __init__(self, channels: int, config: XUNetConfig, across: bool) -> None:
        super().__init__()
        self.across, self.heads = across, config.heads
        self.norm = _norm(channels, config)
        self.query, self.key, self.value, self.proj = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the features; across, the frames alternate: n is twice the number of pairs."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # [n, h w, c]
        query, key, value = (self.split_heads(layer(tokens)) for layer in (self.query, self.key, self.value))
        if self.across:
            key, value = (each.unflatten(0, (-1, 2)).flip(1).flatten(0, 1) for each in (key, value))
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return (self.proj(mixed).transpose(1, 2).unflatten(2, x.shape[-2:]) + x) * HALF

    def split_heads(self, tokens: Float[Tensor, "n p c"]) -> Float[Tensor, "n heads p d"]:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _norm(channels: int, config: XUNetConfig) -> nn.GroupNorm:
    return nn.GroupNorm(config.groups, channels, eps=1e-6)


def _conv(width: int, channels: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width, channels, 3, stride=stride, padding=1)
