"""Settings of the Gaussian Atlas system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option
from gatlas.errors import GatlasError


@dataclass(frozen=True)
class GaussianAtlasConfig(Options):
    """Noise, whitening, network and loss. The defaults are those of the paper where it gives them."""

    size: int = option(0, min=0, help="Cells per side; 0: that of the statistics.")
    prediction: Literal["v", "epsilon"] = option("v", help="Target of the network, v or epsilon: that of the base.")
    zero_terminal_snr: bool = option(True, help="The last timestep is pure noise; false with prediction=epsilon.")
    text_dropout: float = option(
        0.2, min=0, max=1, help="Share of samples that are trained without text, and without a picture."
    )
    guidance: float = option(3.5, min=0, help="Default guidance of sampling: weight of the text and the picture.")
    pictures: int = option(
        0,
        min=0,
        help="Pixels per side of the pictures of objects that a sample can be made from, such as 64; 0: none. They are "
        "those of --views, or rendered.",
    )

    # See `gatlas.atlas.statistics.whitening`.
    deviation: Literal["pixel", "channel"] = option(
        "pixel", help="Whitening by the standard deviation per pixel or per channel."
    )
    whitening_clip: float = option(
        5.0, above=0, former_names=("clip",), help="Standard deviations at which whitened atlases are clipped."
    )

    positions: bool = option(False, help="Positions of the cells on the sphere as input; from random weights only.")
    octaves: int = option(0, min=0, max=10, help="Octaves of sines and cosines of those positions.")
    pooled: bool = option(False, help="Pooled text in the time embedding; from random weights only.")
    text: Literal["letters", "words"] = option(
        "letters",
        help="The text encoder of a network from random weights knows letters, or the words of the captions, which a "
        "model then finds in new combinations.",
    )
    widths: tuple[int, ...] = option(
        (32, 64, 128, 128), min=1, help="Channels of a network from random weights, level by level."
    )
    input_scale: float = option(0.5, above=0, help="Factor of the base's first layer where it is repeated.")
    lora_rank: int = option(
        0,
        min=0,
        help="Rank of the adapters (LoRA) that are trained in place of the base's weights; 0: those. Extra lora.",
    )

    # A term of weight 0 costs nothing.
    diffusion: float = option(1.0, min=0, help="Weight of the diffusion loss.")
    guess: float = option(
        1.0, min=0, help="Weight of the loss of the coarse atlas that the encoder of pictures guesses from a picture."
    )
    rgb: float = option(10.0, min=0, help="Weight of the difference of rendered colors.")
    mask: float = option(10.0, min=0, help="Weight of the difference of rendered alphas.")
    lpips: float = option(10.0, min=0, help="Weight of LPIPS of the renders, which needs --lpips-weights.")
    render_start: float = option(0.05, min=0, max=1, help="Share of the steps after which the rendered terms begin.")
    render_ramp: float = option(0.05, min=0, help="Share of the steps over which they grow to their weight.")
    snr_cap: float = option(5.0, min=0, help="Rendered terms count min(SNR, cap) / cap; 0: all timesteps alike.")
    render_size: int = option(128, min=1, help="Pixels per side of the renders.")
    render_views: int = option(1, min=1, help="Renders per object and step.")

    def validate(self) -> None:
        """Refuse inputs without positions, a loss without terms and an epsilon that has no value."""
        self.require(self.positions or not self.octaves, "octaves", "must be 0 without positions")
        halved = self.pictures // 8
        self.require(
            self.pictures == 8 * halved and halved & (halved - 1) == 0 and self.pictures not in (8,) and halved <= 64,
            "pictures",
            "must be 0, 16, 32, 64, 128, 256 or 512",
        )
        self.require(self.diffusion > 0 or self.renders, "diffusion", "or another weight must be > 0")
        if self.prediction == "epsilon" and self.zero_terminal_snr:
            raise GatlasError(
                "prediction=epsilon needs zero_terminal_snr=false: it has no value where nothing is left of the signal"
            )

    @property
    def renders(self) -> bool:
        """True where a rendered term has a weight."""
        return self.rgb + self.mask + self.lpips > 0

    def render_share(self, step: int, steps: int) -> float:
        """Return the share of their weight that the rendered terms have at a step, in [0, 1]."""
        past = step / max(steps, 1) - self.render_start
        if past < 0 or not self.renders:
            return 0.0
        return min(1.0, past / self.render_ramp) if self.render_ramp > 0 else 1.0
