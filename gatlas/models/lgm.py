"""The LGM network: an asymmetric U-Net with attention across views (Tang et al. 2024, LGM).

Names and shapes of the weights are those of the published files. The decoder has fewer levels than the encoder, so that
a pixel of the output, a Gaussian, stands for several of the input; the finest skips are then not used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional

from gatlas.geometry.rotations import multiply_quats
from gatlas.models.view_unet_config import LgmConfig

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

OUT_CHANNELS = 14  # position 3, opacity 1, scale 3, quaternion 4 (wxyz), color 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colors
SCALE_UNIT = 0.1
HALF = math.sqrt(0.5)  # keeps the variance of a sum of two
EPS = 1e-12  # of a length
START_SPREAD = 0.1  # of a fresh residual network: factor of the last layer's weights
START_SCALE = 0.02  # and the scale of its Gaussians
SOLID_LOGIT = 2.0  # of the opacity of solid pixels that one with the hull begins with; empty ones have its negative
MAX_TANH = 0.98  # of a color that a residual network begins with, [-1, 1]


class ViewGaussians(NamedTuple):
    """The Gaussians of b objects in the network's frame, view by view and row by row."""

    means: Float[Tensor, "b n 3"]  # [-1, 1]
    quats: Float[Tensor, "b n 4"]  # unit, wxyz
    scales: Float[Tensor, "b n 3"]  # > 0
    opacities: Float[Tensor, "b n"]
    colors: Float[Tensor, "b n 3"]  # sRGB-encoded, [0, 1]


class LGM(nn.Module):
    """The network of a config: pictures and rays of v >= 1 views to the values of a Gaussian per output pixel."""

    def __init__(self, config: LgmConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = _UNet(config)
        self.conv = nn.Conv2d(OUT_CHANNELS, OUT_CHANNELS, 1)

    def forward(self, inputs: Float[Tensor, "b v c h w"]) -> Float[Tensor, "b v 14 h2 w2"]:
        """Return what `activate` turns into Gaussians, float32; for `inputs` see `network_inputs`.

        Height and width must be multiples of the config's `multiple`.
        """
        batch, views = inputs.shape[:2]
        if min(inputs.shape[-2:]) < 1 or any(side % self.config.multiple for side in inputs.shape[-2:]):
            height, width = inputs.shape[-2:]
            raise ValueError(f"height and width must be multiples of {self.config.multiple}, got {height} x {width}")
        raw = self.conv(self.unet(inputs.flatten(0, 1), views)).float()
        if self.config.residual:
            with torch.autocast(raw.device.type, enabled=False):  # it would round positions
                raw = _from_pixels(raw, inputs.flatten(0, 1).float())
        return raw.unflatten(0, (batch, views))

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of each block in the backward pass instead of keeping them."""
        self.unet.checkpointing = True


def network_inputs(
    pictures: Float[Tensor, "b v 3 h w"], rays: Float[Tensor, "b v 6 h w"], *hull: Float[Tensor, "b v 1 h w"]
) -> Float[Tensor, "b v c h w"]:
    """Return the input of the network: sRGB pictures in [0, 1] over white, and Plücker coordinates of the pixels' rays.

    The cameras are in the network's frame; see `gatlas.geometry.rays.plucker`. A network with `hull_input` has two more
    channels: alpha, and where the ray enters the visual hull, from its point nearest to the center.
    """
    mean, std = (torch.tensor(values, device=pictures.device)[:, None, None] for values in (MEAN, STD))
    return torch.cat([(pictures - mean) / std, rays, *hull], dim=2)


def activate(raw: Float[Tensor, "b v 14 h w"], *, legacy_rot: bool = False) -> ViewGaussians:
    """Return the Gaussians of the network's output.

    `legacy_rot` is for the first published weights; see `legacy_quats`.
    """
    rows = raw.float().movedim(2, -1).flatten(1, 3)
    position, opacity, scale, quat, color = rows.split([3, 1, 3, 4, 3], dim=-1)
    return ViewGaussians(
        means=position.clamp(-1.0, 1.0),
        quats=legacy_quats(quat) if legacy_rot else functional.normalize(quat, dim=-1, eps=EPS),
        scales=SCALE_UNIT * functional.softplus(scale),
        opacities=opacity[..., 0].sigmoid(),
        colors=0.5 * color.tanh() + 0.5,
    )


def legacy_quats(raw: Float[Tensor, "b n 4"]) -> Float[Tensor, "b n 4"]:
    """Return the rotations with which the first published weights were trained, as unit quaternions (wxyz).

    Their training divided each of the four components by its length over all n Gaussians, and its rasterizer took the
    result q for a unit quaternion. The matrix that follows, 1 + 2 w [v]x + 2 [v]x^2, keeps v and turns and stretches
    the plane at right angles to it: it is a rotation by atan2(2 w |v|, 1 - 2 |v|^2), which is nearly none, and a
    stretch that is nearly 1, which is left out.
    """
    q = functional.normalize(raw, dim=1, eps=EPS)
    w, v = q[..., :1], q[..., 1:]
    length = v.norm(dim=-1, keepdim=True).clamp(min=EPS)
    half = 0.5 * torch.atan2(2 * w * length, 1 - 2 * length.square())
    return torch.cat([half.cos(), half.sin() * v / length], dim=-1)


def weight_shapes(config: LgmConfig) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of all weights of a network, without making them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in LGM(config).state_dict().items()}


def fresh_network(config: LgmConfig, generator: torch.Generator) -> LGM:
    """Return a network of random weights on the CPU, as torch draws them: uniform, of variance 1 / (3 fan-in).

    A residual one begins near its pixels' own points and colors, with upright Gaussians of START_SCALE.
    """
    with torch.device("meta"):
        network = LGM(config)
    network.to_empty(device="cpu")
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.GroupNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()
            elif isinstance(module, (nn.Linear, nn.Conv2d)):
                bound = module.weight[0].numel() ** -0.5
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-bound, bound, generator=generator)
        if config.residual:
            units = START_SCALE / SCALE_UNIT
            weight, bias = network.conv.parameters()
            weight.mul_(START_SPREAD)
            bias.zero_()
            bias[4:7] = units + math.log(-math.expm1(-units))  # inverse of softplus
            bias[7] = 1.0
    return network


def _from_pixels(raw: Float[Tensor, "n 14 h2 w2"], inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 14 h2 w2"]:
    """Return what the output of a residual network stands for, in the frame of all views and before the activation.

    Positions are relative to the point of the pixel's ray that is nearest to the center: to the right and down in the
    view, and along the ray. Rotations are relative to the view's camera, and colors to the pixel's. With the hull among
    the inputs, positions are relative to the point where the ray enters it, and logits of opacity to those of the
    silhouette.
    """
    position, middle, quat, color = raw.split([3, 4, 4, 3], dim=1)
    pooled = functional.adaptive_avg_pool2d(inputs, (raw.shape[-2], raw.shape[-1]))
    pixels, moments, rays = pooled[:, :9].split(3, dim=1)
    nearest = torch.linalg.cross(rays, moments, dim=1) / rays.square().sum(1, keepdim=True).clamp(min=EPS)
    axes = _camera_axes(inputs[:, 6:9])
    depth = position[:, 2:]
    if inputs.shape[1] > 9:
        alpha, entry = pooled[:, 9:].split(1, dim=1)
        depth = depth + entry
        middle = torch.cat([middle[:, :1] + SOLID_LOGIT * (2 * alpha - 1), middle[:, 1:]], dim=1)
    along = functional.normalize(rays, dim=1, eps=EPS) * depth
    moved = nearest + torch.einsum("nij,njhw->nihw", axes[:, :, :2], position[:, :2]) + along
    turned = multiply_quats(_quats_of(axes)[:, None, None], quat.movedim(1, -1)).movedim(-1, 1)
    mean, std = (torch.tensor(values, device=inputs.device)[:, None, None] for values in (MEAN, STD))
    spread = ((pixels * std + mean) * 2 - 1).clamp(-MAX_TANH, MAX_TANH).atanh()
    return torch.cat([moved, middle, turned, color + spread], dim=1)


def _camera_axes(rays: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 3"]:
    """Return rotations whose columns point right, down and forward in each view, from the directions of its rays."""
    forward = functional.normalize(rays.mean(dim=(2, 3)), dim=1, eps=EPS)
    right = (rays[..., -1] - rays[..., 0]).mean(dim=2)
    right = functional.normalize(right - (right * forward).sum(1, keepdim=True) * forward, dim=1, eps=EPS)
    return torch.stack([right, torch.linalg.cross(forward, right, dim=1), forward], dim=2)


def _quats_of(rotations: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 4"]:
    """Return unit quaternions (wxyz), of either sign. Each column is one, of length 4 times a component of it."""
    (a, b, c), (d, e, f), (g, h, i) = rotations.permute(1, 2, 0)
    columns = [
        [1 + a + e + i, h - f, c - g, d - b],
        [h - f, 1 + a - e - i, b + d, c + g],
        [c - g, b + d, 1 - a + e - i, f + h],
        [d - b, c + g, f + h, 1 - a - e + i],
    ]
    table = torch.stack([torch.stack(column, dim=1) for column in columns], dim=1)  # [n 4 4]
    longest = table.diagonal(dim1=1, dim2=2).argmax(dim=1)
    return functional.normalize(table[torch.arange(len(table), device=table.device), longest], dim=1, eps=EPS)


class _UNet(nn.Module):
    """Encoder, middle and decoder. The weights know nothing of the number of views."""

    def __init__(self, config: LgmConfig) -> None:
        super().__init__()
        down, up, attended = config.down_channels, config.up_channels, config.attention_levels
        self.checkpointing = False
        self.conv_in = _conv(config.in_channels, down[0])
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        skips, width = [down[0]], down[0]
        for level, channels in enumerate(down):
            last = level == len(down) - 1
            attends = level >= len(down) - attended
            self.down_blocks.append(_DownBlock(width, channels, config, attends, downsample=not last))
            skips += [channels] * (2 if last else 3)
            width = channels
        self.mid_block = _MidBlock(width, config)
        for level, channels in enumerate(up):
            taken = [skips.pop() for _ in range(3)]
            last = level == len(up) - 1
            self.up_blocks.append(_UpBlock(width, taken, channels, config, level < attended, upsample=not last))
            width = channels
        self.norm_out = _norm(width, config)
        self.conv_out = _conv(width, OUT_CHANNELS)

    def forward(self, x: Float[Tensor, "n c h w"], views: int) -> Float[Tensor, "n 14 h2 w2"]:
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            x, *outputs = self._call(block, x, views)
            skips += outputs
        (x,) = self._call(self.mid_block, x, views)
        for block in self.up_blocks:
            (x,) = self._call(block, x, views, *(skips.pop() for _ in range(3)))
        return cast("Tensor", self.conv_out(functional.silu(self.norm_out(x))))

    def _call(self, block: nn.Module, *inputs: Tensor | int) -> tuple[Tensor, ...]:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            from torch.utils.checkpoint import checkpoint

            return cast("tuple[Tensor, ...]", checkpoint(block, *inputs, use_reentrant=False))
        return cast("tuple[Tensor, ...]", block(*inputs))


class _DownBlock(nn.Module):
    def __init__(self, width: int, channels: int, config: LgmConfig, attends: bool, *, downsample: bool) -> None:
        super().__init__()
        self.nets = nn.ModuleList([_ResBlock(width, channels, config), _ResBlock(channels, channels, config)])
        self.attns = _attentions(2 if attends else 0, channels, config)
        self.downsample = _conv(channels, channels, stride=2) if downsample else None

    def forward(self, x: Tensor, views: int) -> tuple[Tensor, ...]:
        """Return the output, and then the skips."""
        skips = []
        for layer, net in enumerate(self.nets):
            x = net(x)
            if self.attns:
                x = self.attns[layer](x, views)
            skips.append(x)
        if self.downsample is not None:
            x = self.downsample(x)
            skips.append(x)
        return (x, *skips)


class _MidBlock(nn.Module):
    def __init__(self, channels: int, config: LgmConfig) -> None:
        super().__init__()
        self.nets = nn.ModuleList([_ResBlock(channels, channels, config) for _ in range(2)])
        self.attns = _attentions(1, channels, config)

    def forward(self, x: Tensor, views: int) -> tuple[Tensor, ...]:
        return (self.nets[1](self.attns[0](self.nets[0](x), views)),)


class _UpBlock(nn.Module):
    def __init__(
        self, width: int, skips: list[int], channels: int, config: LgmConfig, attends: bool, *, upsample: bool
    ) -> None:
        super().__init__()
        widths = [width, channels, channels]
        self.nets = nn.ModuleList([_ResBlock(a + b, channels, config) for a, b in zip(widths, skips, strict=True)])
        self.attns = _attentions(3 if attends else 0, channels, config)
        self.upsample = _conv(channels, channels) if upsample else None

    def forward(self, x: Tensor, views: int, *skips: Tensor) -> tuple[Tensor, ...]:
        for layer, (net, skip) in enumerate(zip(self.nets, skips, strict=True)):
            x = net(torch.cat([x, skip], dim=1))
            if self.attns:
                x = self.attns[layer](x, views)
        if self.upsample is not None:
            x = self.upsample(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return (x,)


class _ResBlock(nn.Module):
    def __init__(self, width: int, channels: int, config: LgmConfig) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(width, config), _conv(width, channels)
        self.norm2, self.conv2 = _norm(channels, config), _conv(channels, channels)
        self.shortcut = nn.Identity() if width == channels else nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x)))
        h = self.conv2(functional.silu(self.norm2(h)))
        return cast("Tensor", (h + self.shortcut(x)) * HALF)


class ViewAttention(nn.Module):
    """Attention of every pixel to every pixel of all views of its object."""

    def __init__(self, channels: int, config: LgmConfig) -> None:
        super().__init__()
        self.norm = _norm(channels, config)
        self.attn = _Projections(channels)
        self.heads = config.heads

    def forward(self, x: Float[Tensor, "n c h w"], views: int) -> Float[Tensor, "n c h w"]:
        """Return the features; n is a multiple of `views`, object by object."""
        height, width = x.shape[-2:]
        tokens = self.norm(x).unflatten(0, (-1, views)).movedim(2, -1).flatten(1, 3)  # [b, v h w, c]
        query, key, value = self.attn.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)  # [b, heads, v h w, c / heads]
        mixed = self.attn.proj(mixed.transpose(1, 2).flatten(2))
        mixed = mixed.unflatten(1, (views, height, width)).movedim(-1, 2).flatten(0, 1)
        return (mixed + x) * HALF


class _Projections(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)


def _attentions(count: int, channels: int, config: LgmConfig) -> nn.ModuleList:
    return nn.ModuleList([ViewAttention(channels, config) for _ in range(count)])


def _norm(channels: int, config: LgmConfig) -> nn.GroupNorm:
    return nn.GroupNorm(config.groups, channels, eps=1e-5)


def _conv(width: int, channels: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width, channels, 3, stride=stride, padding=1)
