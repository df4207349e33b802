"""What can be set of the Gaussian Atlas system."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from gatlas.errors import GatlasError


@dataclass(frozen=True)
class AtlasConfig:
    """Noise, whitening, network and loss. The defaults are the paper's where it says them."""

    size: int = 0  # cells a side; 0: that of the statistics
    prediction: Literal["v", "epsilon"] = "v"  # what the network predicts
    zero_terminal_snr: bool = True  # the last timestep is pure noise, as the sampler starts
    text_dropout: float = 0.2  # share of samples that are learnt without text
    guidance: float = 3.5  # of sampling, where none is asked for

    deviation: Literal["pixel", "channel"] = "pixel"  # see `gatlas.atlas.statistics.whitening`
    clip: float = 5.0  # deviations that whitened atlases are clipped to

    positions: bool = False  # the cell's sphere point as three more input channels; a network from scratch only
    octaves: int = 0  # of sines and cosines of that point, six channels each
    pooled: bool = False  # the pooled text in the time embedding; a network from scratch only
    widths: tuple[int, ...] = (32, 64, 128, 128)  # of a network from scratch, level by level
    input_scale: float = 0.5  # of the base's first layer when it is repeated

    diffusion: float = 1.0  # weights of the terms of the loss; a term of weight 0 costs nothing
    rgb: float = 10.0
    mask: float = 10.0
    lpips: float = 10.0
    render_start: float = 0.05  # share of the steps after which the rendered terms begin
    render_ramp: float = 0.05  # share of the steps over which they then grow to their weight
    snr_cap: float = 5.0  # rendered terms count min(SNR, cap) / cap; 0: all timesteps alike
    render_size: int = 128  # pixels a side
    render_views: int = 1  # pictures of each object and step

    def __post_init__(self) -> None:
        for name in ("size", "diffusion", "rgb", "mask", "lpips", "render_ramp", "snr_cap", "guidance"):
            _require(0 <= getattr(self, name) < math.inf, name, "must be at least 0 and finite", getattr(self, name))
        for name in ("clip", "input_scale"):
            _require(0 < getattr(self, name) < math.inf, name, "must be greater than 0", getattr(self, name))
        for name in ("text_dropout", "render_start"):
            _require(0 <= getattr(self, name) <= 1, name, "must be in [0, 1]", getattr(self, name))
        _require(0 <= self.octaves <= 10, "octaves", "must be in 0 .. 10", self.octaves)
        _require(self.positions or not self.octaves, "octaves", "must be 0 without positions", self.octaves)
        for name in ("render_size", "render_views"):
            _require(getattr(self, name) >= 1, name, "must be at least 1", getattr(self, name))
        _require(self.prediction in ("v", "epsilon"), "prediction", "must be v or epsilon", self.prediction)
        _require(self.deviation in ("pixel", "channel"), "deviation", "must be pixel or channel", self.deviation)
        _require(
            self.diffusion + self.rgb + self.mask + self.lpips > 0, "diffusion", "or another weight must be > 0", 0
        )
        if self.prediction == "epsilon" and self.zero_terminal_snr:
            raise GatlasError(
                "prediction=epsilon needs zero_terminal_snr=false: it has no value where nothing is left of the signal"
            )

    @property
    def renders(self) -> bool:
        """Whether a rendered term has a weight."""
        return self.rgb + self.mask + self.lpips > 0

    def render_share(self, step: int, steps: int) -> float:
        """The share of their weight that the rendered terms have at a step, in [0, 1]."""
        past = step / max(steps, 1) - self.render_start
        if past < 0 or not self.renders:
            return 0.0
        return min(1.0, past / self.render_ramp) if self.render_ramp > 0 else 1.0

    def as_dict(self) -> dict[str, Any]:
        """For gatlas.json."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def config_from(stored: Mapping[str, Any], where: str) -> AtlasConfig:
    """The config that a model folder keeps. Unknown names and values that cannot be are a GatlasError."""
    known = {field.name for field in fields(AtlasConfig)}
    if odd := sorted(set(stored) - known):
        raise GatlasError(f"{where}: its config has {', '.join(odd)}, which this gatlas does not know: upgrade gatlas")
    try:
        return AtlasConfig(**{**stored, "widths": tuple(stored.get("widths", AtlasConfig.widths))})
    except (TypeError, GatlasError) as error:
        raise GatlasError(f"{where}: its config in gatlas.json is damaged: {error}") from None


def _require(kept: bool, name: str, rule: str, value: Any) -> None:
    if not kept:
        raise GatlasError(f"{name} {rule}, got {value}")
