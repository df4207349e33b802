"""The backbone of NoPoSplat: a ViT encoder of each view and two decoders with attention to the other views.

The first view, whose camera is the world, has one decoder; all other views share the second. Each layer reads the
tokens of the layer before, of all views (Wang et al. 2024, DUSt3R; Ye et al. 2024, sec. 3.2). The names of the weights
are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gatlas.models.rope import RotaryEmbedding, rotate, rotation_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from gatlas.systems.noposplat.network_config import NoPoSplatConfig

EPS = 1e-6  # of the layer norms


def _split(x: Float[Tensor, "*b n c"], heads: int) -> Float[Tensor, "*b heads n d"]:
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def _join(x: Float[Tensor, "*b heads n d"]) -> Float[Tensor, "*b n c"]:
    return x.transpose(-3, -2).flatten(-2)


class SelfAttention(nn.Module):
    """Self-attention of the tokens of one view."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b n c"], rotation: RotaryEmbedding) -> Float[Tensor, "b n c"]:
        q, k, v = (_split(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.proj(_join(nn.functional.scaled_dot_product_attention(rotate(q, rotation), rotate(k, rotation), v)))


class CrossAttention(nn.Module):
    """Attention from the tokens of some views to those of other views, with a list of them for each."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(dim, dim)
        self.projk = nn.Linear(dim, dim)
        self.projv = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self,
        x: Float[Tensor, "b s n c"],
        memory: Float[Tensor, "b m n c"],
        others: Sequence[Sequence[int]],
        rotation: RotaryEmbedding,
    ) -> Float[Tensor, "b s n c"]:
        """Return the tokens of `x`; view i attends to the views of `memory` with the indices `others[i]`."""
        q = rotate(_split(self.projq(x), self.heads), rotation)  # [b s heads n d]
        k = rotate(_split(self.projk(memory), self.heads), rotation)
        v = _split(self.projv(memory), self.heads)
        attended = []
        for i, indices in enumerate(others):  # view by view: the keys of all pairs of views would not fit in memory
            keys, values = (torch.cat([part[:, j] for j in indices], dim=-2) for part in (k, v))
            attended.append(_join(nn.functional.scaled_dot_product_attention(q[:, i], keys, values)))
        return self.proj(torch.stack(attended, dim=1))


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class EncoderBlock(nn.Module):
    """One layer of the encoder."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, mlp_ratio)

    def forward(self, x: Float[Tensor, "b n c"], rotation: RotaryEmbedding) -> Float[Tensor, "b n c"]:
        x = x + self.attn(self.norm1(x), rotation)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """One layer of a decoder: self-attention, then attention to the other views."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.norm_y = nn.LayerNorm(dim, eps=EPS)
        self.cross_attn = CrossAttention(dim, heads)
        self.norm3 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, mlp_ratio)

    def forward(
        self, tokens: Float[Tensor, "b v n c"], views: Sequence[int], rotation: RotaryEmbedding
    ) -> Float[Tensor, "b s n c"]:
        """Return the new tokens of `views`, each of which attends to all other views in ascending order."""
        count = tokens.shape[1]
        others = [[j for j in range(count) if j != i] for i in views]
        needed = sorted({j for indices in others for j in indices})
        memory = self.norm_y(tokens[:, needed])
        x = tokens[:, list(views)]
        x = x + self.attn(self.norm1(x).flatten(0, 1), rotation).unflatten(0, x.shape[:2])
        indices = [[needed.index(j) for j in row] for row in others]
        x = x + self.cross_attn(self.norm2(x), memory, indices, rotation)
        return x + self.mlp(self.norm3(x))


class PatchEmbed(nn.Module):
    """Non-overlapping patches as tokens, row by row."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n c"]:
        return self.proj(images.to(self.proj.weight.dtype)).flatten(2).transpose(1, 2)


class Backbone(nn.Module):
    """Images and intrinsics of V >= 2 views -> the four feature maps that the heads read."""

    def __init__(self, config: NoPoSplatConfig) -> None:
        super().__init__()
        wide, narrow = config.encoder_dim, config.decoder_dim
        self.hooks = config.hooks
        self.head_dims = (wide // config.encoder_heads, narrow // config.decoder_heads)
        self.checkpointing = False
        # Of the pre-training: in the published files, but never used.
        self.mask_token = nn.Parameter(torch.zeros(1, 1, narrow), requires_grad=False)
        self.patch_embed = PatchEmbed(config.patch, wide)
        self.intrinsic_encoder = nn.Linear(9, wide)
        encoder = [EncoderBlock(wide, config.encoder_heads, config.mlp_ratio) for _ in range(config.encoder_depth)]
        self.enc_blocks = nn.ModuleList(encoder)
        self.enc_norm = nn.LayerNorm(wide, eps=EPS)
        self.decoder_embed = nn.Linear(wide, narrow)
        first, second = (
            [DecoderBlock(narrow, config.decoder_heads, config.mlp_ratio) for _ in range(config.decoder_depth)]
            for _ in range(2)
        )
        self.dec_blocks = nn.ModuleList(first)
        self.dec_blocks2 = nn.ModuleList(second)
        self.dec_norm = nn.LayerNorm(narrow, eps=EPS)

    def forward(
        self, images: Float[Tensor, "b v 3 h w"], intrinsics: Float[Tensor, "b v 3 3"]
    ) -> list[Float[Tensor, "b v n c"]]:
        """Return the tokens of the patches at the four hooks.

        `images` are in [-1, 1]; `intrinsics` have rows divided by the width and the height.
        """
        batch, count = images.shape[:2]
        patch = self.patch_embed.proj.kernel_size
        positions = _positions(images.shape[-2] // patch[0], images.shape[-1] // patch[1], images.device)
        camera = self.intrinsic_encoder(intrinsics.flatten(2).to(self.intrinsic_encoder.weight.dtype))  # [b v c]
        x = torch.cat([self.patch_embed(images.flatten(0, 1)), camera.flatten(0, 1)[:, None]], dim=1)
        rotation = rotation_of(positions, self.head_dims[0])
        for block in self.enc_blocks:
            x = self._run(block, x, rotation)
        x = self.enc_norm(x).unflatten(0, (batch, count))
        outputs = {0: x}
        x = self.decoder_embed(x)
        rotation = rotation_of(positions, self.head_dims[1])
        rest = list(range(1, count))
        layers = list(zip(self.dec_blocks, self.dec_blocks2, strict=True))
        for number, (first, second) in enumerate(layers, start=1):
            # Both read the tokens of the layer before.
            new = [self._run(first, x, [0], rotation), self._run(second, x, rest, rotation)]
            x = torch.cat(new, dim=1)
            if number in self.hooks:
                outputs[number] = self.dec_norm(x) if number == len(layers) else x
        return [outputs[hook][:, :, :-1] for hook in self.hooks]  # without the token of the intrinsics

    def _run(self, block: Callable[..., Tensor], *arguments: Any) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return cast("Tensor", checkpoint(block, *arguments, use_reentrant=False))
        return block(*arguments)


def _positions(rows: int, columns: int, device: torch.device) -> Int[Tensor, "n 2"]:
    """Return (y, x) of the patches and, last, of the intrinsics token, which is below the first column."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    patches = torch.stack([y, x], dim=-1).flatten(0, 1)
    return torch.cat([patches, torch.tensor([[rows, 0]])]).to(device)
