"""Sizes of the NoPoSplat network, and the Gaussians that a fresh one predicts.

The parts that have no counterpart in the published network serve training from scratch: photometric training does not
converge from Gaussians in one point, or from invisible ones. A fresh network therefore predicts visible Gaussians:
`start_depth` in front of the first camera, `start_scale` wide and of opacity `start_opacity`. With `residual` the
network predicts the difference from the pixel itself: the point at `start_depth` on the pixel's own ray (as if all
cameras were the first one) and the pixel's own color. It adds no weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatlas.config import Options, option


@dataclass(frozen=True)
class NoPoSplatConfig(Options):
    """The defaults are the published network's (Ye et al. 2024)."""

    patch: int = option(16, min=4, help="Pixels per side of a patch.")
    encoder_dim: int = option(1024, min=1, help="Width of the encoder.")
    encoder_depth: int = option(24, min=1, help="Layers of the encoder.")
    encoder_heads: int = option(16, min=1, help="Attention heads of the encoder.")
    decoder_dim: int = option(768, min=1, help="Width of the decoder.")
    decoder_depth: int = option(12, min=1, help="Layers of the decoder.")
    decoder_heads: int = option(12, min=1, help="Attention heads of the decoder.")
    mlp_ratio: int = option(4, min=1, help="Width of the hidden layer of an MLP, in widths of its input.")
    hooks: tuple[int, ...] = option((0, 6, 9, 12), min=0, help="Layers that the DPT heads read; 0 is the encoder.")
    head_dim: int = option(256, min=1, help="Channels of the DPT heads.")
    level_dims: tuple[int, ...] = option((96, 192, 384, 768), min=1, help="Channels of their levels, finest first.")
    # The output has degree 3 at most, as no rasterizer evaluates more.
    sh_degree: int = option(4, min=0, max=4, help="Spherical-harmonics degree of the predicted colors.")
    dropout: float = option(0.1, min=0, below=1, help="Dropout before the last layer of the Gaussian heads.")

    # scale = min(scale_unit * softplus(x), scale_max), world units
    scale_unit: float = option(0.001, above=0, help="Unit of a Gaussian's scale.")
    scale_max: float = option(0.3, above=0, help="Maximum scale of a Gaussian.")

    residual: bool = option(False, help="Predict the difference from the pixel's own ray and color.")
    start_depth: float = option(2.0, above=0, help="Depth of a fresh network's Gaussians.")
    # World units: a pixel at start_depth in an image of 256 pixels with a field of view of 55 degrees.
    start_scale: float = option(0.008, above=0, help="Scale of a fresh network's Gaussians.")
    start_opacity: float = option(0.3, above=0, below=1, help="Opacity of a fresh network's Gaussians.")

    def validate(self) -> None:
        """Refuse sizes that do not fit each other."""
        self.require(self.head_dim % 2 == 0, "head_dim", "must be even")
        for part in ("encoder", "decoder"):
            heads, width = getattr(self, f"{part}_heads"), getattr(self, f"{part}_dim")
            rule = f"must divide {part}_dim = {width} into heads of a multiple of 4"
            self.require(width % (4 * heads) == 0, f"{part}_heads", rule)
        rising = list(self.hooks) == sorted(set(self.hooks))
        self.require(
            rising and len(self.hooks) == 4 and self.hooks[-1] <= self.decoder_depth,
            "hooks",
            f"must be four rising layers from 0 to {self.decoder_depth}",
        )
        self.require(len(self.level_dims) == 4, "level_dims", "must be four numbers of at least 1")
        self.require(self.start_scale < self.scale_max, "start_scale", f"must be below {self.scale_max}")

    @property
    def coefficients(self) -> int:
        """The number of spherical-harmonics coefficients that are predicted per color."""
        return (self.sh_degree + 1) ** 2


BASE = NoPoSplatConfig()

TINY = NoPoSplatConfig(  # for 64 x 64 pixels on a CPU
    patch=8,
    encoder_dim=128,
    encoder_depth=4,
    encoder_heads=4,
    decoder_dim=128,
    decoder_depth=4,
    decoder_heads=4,
    hooks=(0, 2, 3, 4),
    head_dim=64,
    level_dims=(24, 48, 96, 192),
    sh_degree=1,
    dropout=0.0,
    scale_unit=0.02,
    residual=True,
    start_scale=0.03,
)
