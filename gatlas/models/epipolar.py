"""Attention of the pixels of the noisy view to the known one along their epipolar lines.

A pixel sees what stands at some distances along its ray, where the other camera sees it (epipolar transformers: He et
al. 2020), instead of all pixels of the other frame: which place means the same point need not be learned.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

OCTAVES = 4  # of the waves by which a network knows the distance of a point
WAVES = 1 + 2 * OCTAVES
OUTSIDE = 2.0  # a coordinate that no picture has, for points behind a camera


class EpipolarPoints(NamedTuple):
    """Points along the rays of frame 1 as frame 0 sees them."""

    grid: Float[Tensor, "b d h w 2"]  # places as of `grid_sample`: -1 and 1 are the borders of the picture
    waves: Float[Tensor, "b waves d h w"]  # of the distances from the camera of frame 0: see `depth_waves`


def depth_waves(depth: Float[Tensor, "b d h w"]) -> Float[Tensor, "b waves d h w"]:
    """Return 1 and the sines and cosines of distances that run from -1 to 1, OCTAVES of them."""
    angles = torch.stack([depth * (0.5 * math.pi * 2**octave) for octave in range(OCTAVES)], dim=1)
    return torch.cat([torch.ones_like(angles[:, :1]), angles.sin(), angles.cos()], dim=1)


def epipolar_points(
    centers: Float[Tensor, "b 2 3"],
    directions: Float[Tensor, "b 2 3 h w"],
    conditional: Bool[Tensor, " b"],
    distances: Float[Tensor, " d"],
) -> EpipolarPoints:
    """Return points at each of the distances along the ray through each pixel of frame 1, as frame 0 sees them.

    Rows that are not `conditional` get each pixel's own place, and the distance along its ray.
    """
    height, width = directions.shape[-2:]
    own = torch.stack(torch.meshgrid(*(_centers(each, centers) for each in (width, height)), indexing="xy"), dim=-1)
    known = conditional[:, None, None, None, None]
    some = torch.cat([own, torch.ones_like(own[..., :1])], dim=-1).movedim(-1, 0)  # of a camera that can be inverted
    first, second = torch.where(known, directions, some).unbind(1)
    offset = (centers[:, 1] - centers[:, 0])[..., None, None, None]
    points = offset + second[:, :, None] * distances[:, None, None]  # [b 3 d h w]
    x, y, z = torch.einsum("bij,bjdhw->ibdhw", torch.linalg.inv(corner_matrix(first)), points)
    size = torch.tensor([width, height], dtype=x.dtype, device=x.device)
    ahead = z > 1e-3
    share = torch.stack([x, y], dim=-1) / torch.where(ahead, z, 1.0)[..., None]  # of the way from first to last pixel
    grid = torch.where(ahead[..., None], (2 * share * (size - 1) + 1) / size - 1, OUTSIDE)
    along = torch.linalg.vector_norm(points, dim=1)
    middle, half = distances[[0, -1]].mean(), 0.5 * (distances[-1] - distances[0])
    depth = (torch.where(known[..., 0], along, distances[:, None, None]) - middle) / half
    return EpipolarPoints(torch.where(known, grid, own), depth_waves(depth))


def corner_matrix(directions: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 3"]:
    """Return the matrix that takes (x, y, 1) to a multiple of the ray's direction, x and y from 0 to 1.

    They run from the center of the first pixel to that of the last one. Directions through the pixels of a pinhole are
    affine in x and y but for their lengths, which follow from those of the four corners.
    """
    first, right = directions[..., 0, 0], directions[..., 0, -1]
    below, last = directions[..., -1, 0], directions[..., -1, -1]
    lengths = torch.linalg.solve(torch.stack([right, below, -first], dim=-1), last)
    right, below, first = (lengths[..., i : i + 1] * each for i, each in enumerate((right, below, first)))
    return torch.stack([right - first, below - first, first], dim=-1)


def _centers(count: int, like: Tensor) -> Float[Tensor, " count"]:
    return (2 * torch.arange(count, dtype=like.dtype, device=like.device) + 1) / count - 1


class EpipolarAttention(nn.Module):
    """Attention of the pixels of frame 1 to the points of their rays, as the features of frame 0 show them.

    A point counts by what the pixel asks for, and by how well its distance agrees with what frame 0's features say of
    the distance of what they show.
    """

    def __init__(self, channels: int, heads: int, groups: int, points: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.query, self.key, self.value, self.proj = (nn.Conv2d(channels, channels, 1) for _ in range(4))
        self.depth = nn.Conv2d(channels, heads * WAVES, 1)
        self.key_codes, self.value_codes = (nn.Parameter(torch.empty(channels, points)) for _ in range(2))

    def forward(self, x: Float[Tensor, "n c h w"], points: EpipolarPoints) -> Float[Tensor, "n c h w"]:
        """Return the features, frame 0 as it was; the frames alternate: n = 2 b."""
        frames, normed = x.unflatten(0, (-1, 2)), self.norm(x).unflatten(0, (-1, 2))
        known, channels = normed[:, 0], x.shape[1]
        seen = _at_points(torch.cat([self.key(known), self.value(known), self.depth(known)], dim=1), points)
        key, value, depth = seen.split([channels, channels, seen.shape[1] - 2 * channels], dim=1)
        key, value = (
            self._split(part + codes[:, :, None, None])
            for part, codes in ((key, self.key_codes), (value, self.value_codes))
        )
        query = self._split(self.query(normed[:, 1])[:, :, None])
        logits = (query * key).sum(2, keepdim=True) / math.sqrt(query.shape[2])  # [b heads 1 d h w]
        logits = logits + (self._split(depth) * points.waves[:, None]).sum(2, keepdim=True)
        mixed = (logits.softmax(3) * value).sum(3).flatten(1, 2)
        attended = (self.proj(mixed) + frames[:, 1]) * math.sqrt(0.5)
        return torch.stack([frames[:, 0], attended], dim=1).flatten(0, 1)

    def _split(self, features: Float[Tensor, "n c d h w"]) -> Float[Tensor, "n heads c2 d h w"]:
        return features.unflatten(1, (self.heads, -1))


class EpipolarColors(nn.Module):
    """Colors of frame 0 at the points of each pixel's ray, mixed by attention: a learned warp of that picture."""

    def __init__(self, channels: int, points: int) -> None:
        super().__init__()
        self.query, self.key = (nn.Conv2d(channels, channels, 1) for _ in range(2))
        self.depth = nn.Conv2d(channels, WAVES, 1)
        self.prior = nn.Conv2d(channels, points + 1, 3, padding=1)

    def forward(
        self, features: Float[Tensor, "n c h w"], image: Float[Tensor, "b 3 h w"], points: EpipolarPoints
    ) -> Float[Tensor, "b 3 h w"]:
        """Return the mixed colors of frame 0's image.

        One choice beside the points has the color 0, so that a pixel may have none of theirs. Points outside of the
        picture have the colors of its border.
        """
        known, noisy = features.unflatten(0, (-1, 2)).unbind(1)
        seen = _at_points(
            torch.cat([self.key(known), self.depth(known), image.to(known.dtype)], dim=1), points, "border"
        )
        key, depth, colors = seen.split([known.shape[1], WAVES, 3], dim=1)  # [b c d h w]
        logits = (self.query(noisy)[:, :, None] * key).sum(1) / math.sqrt(key.shape[1])
        logits = logits + (depth * points.waves).sum(1)
        none, prior = self.prior(noisy).split([1, logits.shape[1]], dim=1)
        weights = torch.cat([none, logits + prior], dim=1).softmax(1)
        return (weights[:, None, 1:] * colors).sum(2)


def _at_points(
    features: Float[Tensor, "b c h w"], points: EpipolarPoints, padding: str = "zeros"
) -> Float[Tensor, "b c d h w"]:
    """Return the features of frame 0 at the points."""
    grid = points.grid.flatten(1, 2).to(features.dtype)
    seen = functional.grid_sample(features, grid, padding_mode=padding, align_corners=False)
    return seen.unflatten(2, (points.grid.shape[1], -1))
