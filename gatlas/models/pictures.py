"""An encoder of pictures of an object, trained jointly with the network that its tokens condition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

GRID = 8  # tokens per side
WIDTHS = (16, 32, 64)  # channels at full, half and a quarter of the side; from an eighth on MOST
MOST = 128
NARROW = 16  # channels of the summary's places
GROUPS = 8  # of the normalizations


class PictureEncoding(NamedTuple):
    """Pictures as an encoder gives them to a denoiser."""

    tokens: Float[Tensor, "b l d"]  # GRID x GRID of the picture, row by row, and one of the whole
    summary: Float[Tensor, "b d"]  # the last token
    guess: Float[Tensor, "b c g g"]  # of the object, in coarse cells of its atlas


class PictureEncoder(nn.Module):
    """Convolutions that turn a picture of `side` pixels per side into GRID x GRID tokens and a summary.

    `side` is GRID times a power of 2. From the summary it guesses the object's atlas, in `channels` of GRID x GRID
    cells: that trains it in a fraction of the steps that it takes by what the denoiser needs.
    """

    def __init__(self, side: int, token_dim: int, *, channels: int = 16, seed: int = 0) -> None:
        super().__init__()
        levels = picture_levels(side)
        self.channels = channels
        widths = [*WIDTHS, *[MOST] * levels][: levels + 1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
            self.levels = nn.Sequential(
                *(_Level(before, after) for before, after in pairwise(widths)), *_activated(widths[-1])
            )
            self.local = nn.Conv2d(widths[-1], token_dim, 1)
            self.places = nn.Parameter(0.1 * torch.randn(GRID * GRID, token_dim))
            self.norm = nn.LayerNorm(token_dim)
            # Not a mean: where something is in the picture of a centered object says what shape it has.
            self.narrow = nn.Conv2d(widths[-1], NARROW, 1)
            self.whole = nn.Sequential(nn.Linear(NARROW * GRID * GRID, token_dim), nn.LayerNorm(token_dim))
            self.head = nn.Linear(token_dim, channels * GRID * GRID)

    def forward(self, pictures: Float[Tensor, "b s s 3"]) -> PictureEncoding:
        """Return the encoding of pictures in [0, 1], whose background is white."""
        x = self.levels(self.stem(2 * (1 - pictures.movedim(-1, 1))))
        tokens = self.norm(self.local(x).flatten(2).transpose(1, 2) + self.places)
        summary = self.whole(self.narrow(x).flatten(1))
        guess = self.head(summary).view(-1, self.channels, GRID, GRID)
        return PictureEncoding(torch.cat([tokens, summary[:, None]], dim=1), summary, guess)


def picture_levels(side: int) -> int:
    """Return how often a picture's side is halved to GRID; a ValueError where it is not GRID times a power of 2."""
    levels = max(side // GRID, 1).bit_length() - 1
    if side != GRID * 2**levels or levels < 1:
        raise ValueError(f"the side of pictures must be {2 * GRID}, {4 * GRID}, {8 * GRID} and so on, got {side}")
    return levels


class _Level(nn.Module):
    """Half the side, then a residual block."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.block = nn.Sequential(*_convolution(after), *_convolution(after))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        x = self.down(x)
        result: Tensor = x + self.block(x)
        return result


def _activated(width: int) -> Sequence[nn.Module]:
    return nn.GroupNorm(GROUPS, width), nn.SiLU()


def _convolution(width: int) -> Sequence[nn.Module]:
    return *_activated(width), nn.Conv2d(width, width, 3, padding=1)
