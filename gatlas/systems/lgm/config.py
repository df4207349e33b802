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
    legacy_rot: bool = option(
        False, help="Take the rotations as the first published weights, model_fp16.safetensors, were trained with them."
    )

    def validate(self) -> None:
        """Refuse pictures that the network cannot halve as often as it does."""
        super().validate()
        self.require(self.side % self.multiple == 0, "side", f"must be a multiple of {self.multiple}")


def _config(network: LgmConfig, **settings: Any) -> LgmSystemConfig:
    return LgmSystemConfig(**{**asdict(network), **settings})


BIG, SMALL, TINY = (_config(network) for network in (sizes.BIG, sizes.SMALL, sizes.TINY))
CPU = _config(sizes.CPU, side=64)
