"""Sizes of the LGM network, of the published ones and of a small one for a CPU."""

from __future__ import annotations

from dataclasses import dataclass

from gatlas.config import Options, option


@dataclass(frozen=True)
class LgmConfig(Options):
    """The defaults are the published "big" network's (Tang et al. 2024, LGM)."""

    down_channels: tuple[int, ...] = option(
        (64, 128, 256, 512, 1024, 1024), min=1, help="Channels of the encoder's levels, finest first."
    )
    up_channels: tuple[int, ...] = option(
        (1024, 1024, 512, 256, 128), min=1, help="Channels of the decoder's levels, coarsest first."
    )
    attention_levels: int = option(3, min=0, help="Coarsest levels with attention across views, on both sides.")
    groups: int = option(32, min=1, help="Groups of the normalizations.")
    heads: int = option(16, min=1, help="Attention heads.")
    # It has no weights of its own. The published networks do not have it.
    residual: bool = option(
        False, help="Predict the difference from the point of the pixel's ray nearest to the center, and its color."
    )
    hull_input: bool = option(
        False,
        help="Two more input channels: the opacity, and the depth of the visual hull of all views, from which residual "
        "positions are then measured.",
    )

    def validate(self) -> None:
        """Refuse sizes that do not fit each other."""
        self.require(len(self.down_channels) >= 1, "down_channels", "must be one number or more")
        self.require(self.residual or not self.hull_input, "hull_input", "must be false where residual is")
        levels = len(self.down_channels)
        self.require(
            1 <= len(self.up_channels) <= levels, "up_channels", f"must be 1 to {levels} numbers, as down_channels has"
        )
        self.require(self.attention_levels <= levels, "attention_levels", f"must be at most {levels}")
        widths = {*self.down_channels, *self.up_channels}
        self.require(not any(width % self.groups for width in widths), "groups", "must divide all numbers of channels")
        attended = {*self.down_channels[levels - self.attention_levels :], self.down_channels[-1]}
        attended |= {*self.up_channels[: self.attention_levels]}
        self.require(not any(width % self.heads for width in attended), "heads", "must divide the attended channels")

    @property
    def in_channels(self) -> int:
        """Channels of the input: see `gatlas.models.lgm.network_inputs`."""
        return 11 if self.hull_input else 9

    @property
    def multiple(self) -> int:
        """The number of pixels that a side of the input must be a multiple of."""
        return 1 << (len(self.down_channels) - 1)

    def splat_side(self, side: int) -> int:
        """Return how many Gaussians a side of a view has, for `side` pixels of input."""
        return side // self.multiple << (len(self.up_channels) - 1)


BIG = LgmConfig()  # 256 pixels to 128 x 128 Gaussians a view
SMALL = LgmConfig(up_channels=(1024, 1024, 512, 256))  # to 64 x 64
TINY = LgmConfig(down_channels=(32, 64, 128, 256, 512), up_channels=(512, 256, 128), attention_levels=1)  # to 64 x 64
CPU = LgmConfig(  # 64 pixels to 32 x 32
    down_channels=(16, 32, 48, 64), up_channels=(64, 48, 32), attention_levels=1, groups=8, heads=4, residual=True,
    hull_input=True,
)  # fmt: skip
