"""Sizes of the networks of 3DiM: of the paper's, of those for smaller pictures, and of one for a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option


@dataclass(frozen=True)
class XUNetConfig(Options):
    """The defaults are those of the authors' listing for pictures of 128 x 128 (Watson et al. 2023, 3DiM)."""

    network: Literal["xunet", "concat"] = option(
        "xunet",
        help="xunet: both frames through the same weights, with attention between them; concat: a U-Net of the two "
        "frames as channels of one picture (Concat-UNet).",
    )
    side: int = option(128, min=1, help="Width and height of the network's pictures in pixels.")
    channels: int = option(256, min=1, help="Channels of the finest level.")
    multiples: tuple[int, ...] = option((1, 2, 2, 4), min=1, help="Channels of each level, in those of the finest.")
    embedding: int = option(1024, min=4, help="Channels of the embedding of noise and rays.")
    blocks: int = option(3, min=1, help="Residual blocks of a level on the way down; on the way up one more.")
    attention_levels: int = option(2, min=0, help="Coarsest levels with attention, beside the middle.")
    epipolar_points: int = option(
        0,
        min=0,
        help="Points along the ray of each pixel, between `near` and `far`, at which attention looks into the known "
        "view, on all levels but the finest, and whose colors the prediction mixes; 0: attention to all pixels of the "
        "other frame, on the attended levels, as published.",
    )
    near: float = option(
        1.6, above=0, help="Distance of the first of these points from the camera, in the units of the cameras."
    )
    far: float = option(3.6, above=0, help="Distance of the last of these points from the camera.")
    heads: int = option(4, min=1, help="Attention heads.")
    groups: int = option(32, min=1, help="Groups of the normalizations.")
    dropout: float = option(0.1, min=0, below=1, help="Share of features that training drops.")
    position_embedding: bool = option(True, help="A learned embedding of each pixel, side x side x 144 weights.")
    frame_embedding: bool = option(True, help="A learned embedding of each of the two frames.")
    open_start: bool = option(
        False,
        help="Fresh weights for a short training: blocks begin with random last layers instead of 0, and pixels with "
        "large embeddings by which attention finds, at first, the same place in the other frame.",
    )
    octave_falloff: float = option(
        1.0,
        above=0,
        help="Factor from octave to octave of the weights that a fresh network gives the waves of the rays; below 1 "
        "the short waves, which look like noise, count little at first.",
    )

    def validate(self) -> None:
        """Refuse sizes that do not fit each other."""
        levels = len(self.multiples)
        self.require(levels >= 1, "multiples", "must be one number or more")
        self.require(self.attention_levels <= levels, "attention_levels", f"must be at most {levels}")
        self.require(self.side % self.multiple == 0, "side", f"must be a multiple of {self.multiple}")
        self.require(self.channels % self.groups == 0, "groups", f"must divide the {self.channels} channels")
        attended = {*self.widths[1 if self.epipolar else levels - self.attention_levels :], self.widths[-1]}
        self.require(not any(width % self.heads for width in attended), "heads", "must divide the attended channels")
        self.require(self.far > self.near, "far", "must be greater than near")
        self.require(self.embedding % 2 == 0, "embedding", "must be even")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.channels * multiple for multiple in self.multiples)

    @property
    def multiple(self) -> int:
        """The number of pixels that a side of the pictures must be a multiple of."""
        return 1 << (len(self.multiples) - 1)

    @property
    def epipolar(self) -> bool:
        """True where attention between the frames is along epipolar lines."""
        return self.network == "xunet" and self.epipolar_points > 0

    @property
    def frames(self) -> int:
        """Pictures that pass through the network side by side."""
        return 2 if self.network == "xunet" else 1


BASE = XUNetConfig()
MIDDLE = XUNetConfig(side=64, channels=128)
CPU = XUNetConfig(
    side=32,
    channels=16,
    multiples=(1, 2, 3, 4),
    embedding=32,
    blocks=1,
    attention_levels=2,
    epipolar_points=12,
    heads=2,
    groups=8,
    dropout=0.0,
    open_start=True,
    octave_falloff=0.5,
)
