"""Rotary position embedding on a grid: one half of a head's channels rotates with y, the other with x (RoPE2D).

Su et al. 2021 in one dimension; CroCo v2 (Weinzaepfel et al. 2023) on the grid of patches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

BASE = 100.0


class RotaryEmbedding(NamedTuple):
    """The rotation of each token: `[n 2 f]` for y and x and the f frequencies of each."""

    cos: Float[Tensor, "n 2 f"]
    sin: Float[Tensor, "n 2 f"]


def rotation_of(positions: Int[Tensor, "n 2"], head_dim: int, *, base: float = BASE) -> RotaryEmbedding:
    """Return the rotation of tokens at integer positions (y, x), float32. `head_dim` must be a multiple of 4."""
    if head_dim < 4 or head_dim % 4:
        raise ValueError(f"head_dim must be a multiple of 4, got {head_dim}")
    exponents = torch.arange(0, head_dim // 2, 2, device=positions.device, dtype=torch.float32) / (head_dim // 2)
    angles = positions[..., None].float() * base**-exponents
    return RotaryEmbedding(angles.cos(), angles.sin())


def rotate(x: Float[Tensor, "... n d"], rotation: RotaryEmbedding) -> Float[Tensor, "... n d"]:
    """Return queries or keys rotated by their token's position, in x's dtype.

    The two channels of a pair are a quarter of a head apart: [y first, y second, x first, x second].
    """
    cos, sin = rotation.cos.to(x.dtype), rotation.sin.to(x.dtype)
    first, second = x.unflatten(-1, (2, 2, -1)).unbind(-2)  # [... n 2 f]
    return torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-2).flatten(-3)
