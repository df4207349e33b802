"""Settings of the LGM system: the network's sizes and the cameras that it is used with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gatlas.config import option
from gatlas.models import view_unet_config as sizes
from gatlas.models.view_unet_config import LgmConfig


@dataclass(frozen=True)
class LgmSystemConfig(LgmConfig):
    """The defaults are the published ones (Tang et al. 2024)."""

    side: int = option(256, min=1, help="Width and height of the network's pictures in pixels.")
    view_fov: float = option(49.1, above=0, below=180, help="Their field of view in degrees.")
    distance: float = option(1.5, above=0, help="Distance of the first camera from the object, network's units.")
    views: int = option(4, min=1, help="Views that the network sees in training.")
    targets: int = option(4, min=1, help="Further views that renders are compared with in training.")
    render_scale: int = option(2, min=1, help="Pixels of these renders per pixel of the network's pictures, per side.")
    spacing: float = option(90.0, above=0, below=360, help="Degrees of azimuth between two views that it sees.")
    max_elevation: float = option(
        30.0, min=0, max=90, help="Degrees that they are above or below the horizon, at most."
    )
    flip: float = option(0.0, min=0, max=1, help="Share of samples that are mirrored.")
    grid_distortion: float = option(0.5, min=0, max=1, help="Share of samples whose views but the first are distorted.")
    camera_jitter: float = option(0.5, min=0, max=1, help="Share of samples whose cameras but the first are moved.")

    # A term of weight 0 costs nothing.
    mse: float = option(1.0, min=0, help="Weight of the squared difference of colors.")
    alpha: float = option(1.0, min=0, help="Weight of the squared difference of alphas.")
    lpips: float = option(1.0, min=0, help="Weight of LPIPS, which needs --lpips-weights.")
    lpips_from: int = option(0, min=0, help="Step from which it counts: coarse shapes come first.")
    legacy_rot: bool = option(
        False, help="Take the rotations as the first published weights, model_fp16.safetensors, were trained with them."
    )

    def validate(self) -> None:
        """Refuse pictures that the network cannot halve as often as it does, and a loss without terms."""
        super().validate()
        self.require(self.side % self.multiple == 0, "side", f"must be a multiple of {self.multiple}")
        self.require(self.mse > 0 or self.lpips > 0, "mse", "must be greater than 0 where lpips is 0")

    @property
    def render_side(self) -> int:
        """Return the width and height in pixels of the renders in training."""
        return self.side * self.render_scale


def _config(network: LgmConfig, **settings: Any) -> LgmSystemConfig:
    return LgmSystemConfig(**{**asdict(network), **settings})


BIG = _config(sizes.BIG)
SMALL, TINY = (_config(network, render_scale=1, lpips_from=3_000) for network in (sizes.SMALL, sizes.TINY))
# The field of view is that of `gatlas render`, whose pictures are then taken as they are.
CPU = _config(
    sizes.CPU, side=64, render_scale=1, view_fov=47.0, flip=0.5, grid_distortion=0.0, camera_jitter=0.0, lpips=0.0,
    targets=6,
)  # fmt: skip
