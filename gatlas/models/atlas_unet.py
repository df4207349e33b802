"""The denoiser of atlases: a UNet of Stable Diffusion whose first and last layers are repeated, or a small one.

An atlas of 14 channels goes through it as 16: [offset, opacity][color, opacity][scale, opacity][rotation], so that
each group has the four channels that the pretrained network knows (Xiang et al. 2025, sec. 3.3).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from gatlas.models.atlas_basis import AtlasBasis, Estimate
    from gatlas.models.pictures import PictureEncoder

CHANNELS = 16  # of a packed atlas

# The sources of the packed channels in the order offset 0:3, color 3:6, opacity 6, scale 7:10, rotation 10:14. Slices,
# since a list of indices is copied to a GPU, for which the host waits.
_PACKED = ((0, 3), (6, 7), (3, 6), (6, 7), (7, 10), (6, 7), (10, 14))
_OPACITIES = (3, 7, 11)  # in the packed order


def pack(planes: Float[Tensor, "... h w 14"]) -> Float[Tensor, "... 16 h w"]:
    """Return planes in the order offset, color, opacity, scale, rotation as the network's channels."""
    return torch.cat([planes[..., first:end] for first, end in _PACKED], dim=-1).movedim(-1, -3)


def unpack(x: Float[Tensor, "... 16 h w"]) -> Float[Tensor, "... h w 14"]:
    """Return the inverse of `pack`; the three opacities are averaged."""
    x = x.movedim(-3, -1)
    opacity = torch.cat([x[..., i : i + 1] for i in _OPACITIES], dim=-1).mean(-1, keepdim=True)
    return torch.cat([x[..., 0:3], x[..., 4:7], opacity, x[..., 8:11], x[..., 12:16]], dim=-1)


def coarse(x: Float[Tensor, "b c h w"], side: int) -> Float[Tensor, "b c g g"]:
    """Return packed atlases in side x side cells, each the mean of those that it covers."""
    return nn.functional.adaptive_avg_pool2d(x, side)


def position_channels(octaves: int) -> int:
    """Return the number of planes that `position_planes` gives."""
    return 3 + 6 * octaves


def position_planes(points: Float[Tensor, "h w 3"], octaves: int) -> Float[Tensor, "p h w"]:
    """Return planes of each cell's place on the unit sphere: its point, and sines and cosines of it.

    The k-th octave, from 0, has 2^k half turns per unit, which distinguishes neighboring cells with similar points.
    """
    planes = points.movedim(-1, 0)
    waves = [wave(math.pi * 2**k * planes) for k in range(octaves) for wave in (torch.sin, torch.cos)]
    return torch.cat([planes, *waves])


def widen(unet: UNet2DConditionModel, *, repeats: int = 4, input_scale: float = 0.5) -> UNet2DConditionModel:
    """Return a copy of a UNet for `repeats` groups of its channels: first layer repeated and scaled, last repeated.

    With `input_scale` 1 / sqrt(repeats) independent groups give the first activation the standard deviation that it
    had; with 1 / repeats equal groups give exactly what the base gives.
    """
    first, last = unet.conv_in, unet.conv_out
    if first.groups != 1 or last is None or last.groups != 1:
        raise ValueError("the UNet's first and last layers must be plain convolutions")
    wide = copy.deepcopy(unet)
    wide.conv_in = _repeated(first, first.weight.repeat(1, repeats, 1, 1) * input_scale, first.bias)
    bias = None if last.bias is None else last.bias.repeat(repeats)
    wide.conv_out = _repeated(last, last.weight.repeat(repeats, 1, 1, 1), bias)
    wide.register_to_config(in_channels=wide.conv_in.in_channels, out_channels=wide.conv_out.out_channels)
    return wide


def _repeated(layer: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """Return a convolution like `layer` with other weights, and with their numbers of channels."""
    wide = copy.deepcopy(layer)
    wide.out_channels, wide.in_channels = weight.shape[:2]
    wide.weight = nn.Parameter(weight.detach().clone(), requires_grad=layer.weight.requires_grad)
    if bias is not None:
        wide.bias = nn.Parameter(bias.detach().clone(), requires_grad=layer.weight.requires_grad)
    return wide


def small_unet(
    size: int,
    *,
    text_dim: int,
    widths: Sequence[int] = (32, 64, 128, 128),
    layers_per_block: int = 1,
    attention_levels: int = 1,
    head_dim: int = 32,
    pooled: bool = True,
    positions: int = 3,
    seed: int = 0,
) -> UNet2DConditionModel:
    """Return a UNet of random weights for packed atlases of side `size`, with text attention in its deepest levels.

    `pooled` adds the pooled text to the time embedding, which scales and shifts the channels of every block;
    `positions` are the further input channels. The widths must be multiples of 8 and, where there is attention, of
    `head_dim`; `size` of 2^(levels - 1).
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    levels = len(widths)
    plain = levels - attention_levels
    if not 1 <= attention_levels <= levels:
        raise ValueError(f"attention_levels must be in 1 .. {levels}, got {attention_levels}")
    if any(width % 8 for width in widths) or any(width % head_dim for width in widths[plain:]):
        raise ValueError(f"widths must be multiples of 8, the last {attention_levels} of {head_dim}, got {[*widths]}")
    if size % 2 ** (levels - 1):
        raise ValueError(f"size must be a multiple of {2 ** (levels - 1)} for {levels} levels, got {size}")
    with torch.random.fork_rng(devices=[]):  # diffusers draws the weights from torch's own generator
        torch.manual_seed(seed)
        return UNet2DConditionModel(
            sample_size=size,
            in_channels=CHANNELS + positions,
            out_channels=CHANNELS,
            block_out_channels=tuple(widths),
            layers_per_block=layers_per_block,
            down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * attention_levels,
            up_block_types=("CrossAttnUpBlock2D",) * attention_levels + ("UpBlock2D",) * plain,
            norm_num_groups=8,
            # Text that only shifts is learned more slowly: 200 steps of the demo leave .56 of the variance, not .45.
            resnet_time_scale_shift="scale_shift",
            # diffusers reads this as the number of heads, one entry per level.
            attention_head_dim=tuple(max(1, width // head_dim) for width in widths),
            cross_attention_dim=text_dim,
            class_embed_type="projection" if pooled else None,
            projection_class_embeddings_input_dim=text_dim if pooled else None,
        )


class Predicted(NamedTuple):
    """A prediction for noisy atlases, with the estimates of the parts beside the UNet."""

    prediction: Float[Tensor, "b c h w"]
    estimate: Estimate | None = None  # of x_0 by the basis, from text and pictures alone
    guess: Float[Tensor, "b k g g"] | None = None  # of the coarse atlas by the encoder of pictures (float32)


class AtlasUNet(nn.Module):
    """A UNet of packed atlases, with its position planes. Its weights are under `unet.`, `pictures.` and `basis.`.

    `positions [p h w]` are given where, and only where, the UNet takes p channels more than it predicts. With an
    encoder of pictures, the tokens of a picture follow those of the text; without a picture a sample is what it is
    without the encoder. With a basis the UNet denoises what is left of an atlas after the basis's estimate; `levels
    [2 t]` are then alpha and sigma of each timestep, and it predicts v.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        positions: Float[Tensor, "p h w"] | None = None,
        pictures: PictureEncoder | None = None,
        *,
        basis: AtlasBasis | None = None,
        levels: Float[Tensor, "2 t"] | None = None,
    ) -> None:
        super().__init__()
        if basis is not None and levels is None:
            raise ValueError("a basis needs the levels of the noise")
        self.basis = basis
        self.levels: Tensor | None
        self.register_buffer("levels", None if basis is None else levels, persistent=False)
        extra = unet.config["in_channels"] - unet.config["out_channels"]
        wanted = 0 if positions is None else int(positions.shape[0])
        if extra != wanted:
            raise ValueError(f"the UNet takes {extra} channels beside the atlas, got {wanted} of positions")
        self.unet = unet
        self.pictures = pictures
        self.uses_pooled = unet.config["class_embed_type"] == "projection"
        self.positions: Tensor | None
        self.register_buffer("positions", positions, persistent=False)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        timesteps: Int[Tensor, " b"],
        text: Float[Tensor, "b l d"],
        pooled: Float[Tensor, "b d"] | None = None,
        pictures: Float[Tensor, "b s s 3"] | None = None,
        shown: Bool[Tensor, " b"] | None = None,
        *,
        with_parts: bool = False,
    ) -> Float[Tensor, "b c h w"] | Predicted:
        """Return the prediction, in x's dtype, and `with_parts` what the basis and the encoder of pictures say.

        `pooled` is needed for a basis, and where the UNet projects it. `pictures` are those of all samples, of which
        `shown` marks those that count.
        """
        if pooled is None and (self.uses_pooled or self.basis is not None):
            raise ValueError(f"{'this UNet' if self.basis is None else 'the basis'} needs the pooled text")
        guess = mask = None
        if pictures is not None and shown is not None:
            if self.pictures is None:
                raise ValueError("this network has no encoder of pictures")
            dtype = self.unet.dtype
            encoded = self.pictures(pictures.to(dtype))
            seen = shown.to(dtype)[:, None]
            mask = torch.cat(
                [torch.ones_like(text[..., 0], dtype=dtype), seen.expand(-1, encoded.tokens.shape[1])], dim=1
            )
            text = torch.cat([text.to(dtype), encoded.tokens], dim=1)
            pooled = None if pooled is None else pooled.to(dtype) + seen * encoded.summary
            guess = encoded.guess.float()
        estimate = None
        if self.basis is not None and self.levels is not None and pooled is not None:
            estimate = self.basis(pooled.to(self.basis.atlases.dtype))
            alpha, sigma = self.levels.to(x.device, x.dtype)[:, timesteps.expand(len(x)), None, None, None]
            residual = estimate.residual(x, alpha, sigma)
            v = self._denoise(residual, timesteps, text, pooled, mask)
            prediction = estimate.v_of(v, residual, alpha, sigma).to(x.dtype)
        else:
            prediction = self._denoise(x, timesteps, text, pooled, mask).to(x.dtype)
        return Predicted(prediction, estimate, guess) if with_parts else prediction

    def _denoise(
        self, x: Tensor, timesteps: Tensor, text: Tensor, pooled: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Return the UNet's prediction, in its dtype; `mask` marks the tokens of the text that count."""
        dtype = self.unet.dtype
        sample = x.to(dtype)
        if self.positions is not None:
            place = self.positions.to(x.device, dtype).expand(len(x), -1, -1, -1)
            sample = torch.cat([sample, place], dim=1)
        options: dict[str, Any] = {} if mask is None else {"encoder_attention_mask": mask}
        if self.uses_pooled and pooled is not None:
            options["class_labels"] = pooled.to(dtype)
        prediction: Tensor = self.unet(sample, timesteps, text.to(dtype), return_dict=False, **options)[0]
        return prediction

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""
        self.unet.enable_gradient_checkpointing()
