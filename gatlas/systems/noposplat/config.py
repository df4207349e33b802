"""What can be set of the NoPoSplat system: the network's sizes, the samples and the loss."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from gatlas.datasets.posed_views import Drawing
from gatlas.errors import GatlasError
from gatlas.systems.noposplat.network import TINY, NoPoSplatConfig


@dataclass(frozen=True)
class Settings(NoPoSplatConfig):
    """The defaults are the published ones for RealEstate10K (Ye et al. 2024)."""

    width: int = 256  # pixels of the pictures that the network takes
    height: int = 256
    views: int = 2  # context views of a training sample
    targets: int = 4  # views that are rendered and compared
    gap: tuple[int, int] = (45, 90)  # photos from the first context view to the last, least and greatest
    gap_start: int = 25  # both at the first step
    gap_steps: int = 9_375  # until they are as `gap` says
    flip: float = 0.5  # share of the samples that are mirrored
    max_fov: float = 100.0  # degrees; scenes with wider photos are left out

    mse: float = 1.0  # weights of the terms of the loss; a term of weight 0 costs nothing
    lpips: float = 0.05
    ray: float = 0.0  # at the first step: of each Gaussian's distance from the ray of its own pixel
    ray_steps: int = 0  # until it is `ray_end`
    ray_end: float = 0.0
    backbone_lr: float = 0.1  # factor of the learning rate of all but the Gaussian heads and the intrinsics

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "height"):
            value = getattr(self, name)
            _require(
                value >= self.patch and value % self.patch == 0, name, f"must be a multiple of {self.patch}", value
            )
        for name, least in (("views", 2), ("targets", 1), ("gap_start", 2), ("gap_steps", 0), ("ray_steps", 0)):
            _require(getattr(self, name) >= least, name, f"must be at least {least}", getattr(self, name))
        ordered = len(self.gap) == 2 and 2 <= self.gap[0] <= self.gap[1]
        _require(ordered, "gap", "must be two numbers, at least 2 and the smaller one first", self.gap)
        _require(0 <= self.flip <= 1, "flip", "must be in [0, 1]", self.flip)
        _require(0 < self.max_fov < 180, "max_fov", "must be in (0, 180) degrees", self.max_fov)
        for name in ("mse", "lpips", "ray", "ray_end", "backbone_lr"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, name, "must be at least 0 and finite", value)
        _require(self.mse + self.lpips > 0, "mse", "or lpips must be greater than 0", self.mse)

    @property
    def drawing(self) -> Drawing:
        """How samples are drawn."""
        return Drawing(
            width=self.width,
            height=self.height,
            context=self.views,
            targets=self.targets,
            gap=self.gap,
            gap_start=self.gap_start,
            gap_steps=self.gap_steps,
            flip=self.flip,
            max_fov=self.max_fov,
        )

    def ray_share(self, step: int) -> float:
        """The weight of the ray term at a step: a straight line from `ray` to `ray_end`."""
        share = min(1.0, step / self.ray_steps) if self.ray_steps else 1.0
        return self.ray + share * (self.ray_end - self.ray)


def _require(holds: bool, name: str, rule: str, value: Any) -> None:
    if not holds:
        raise GatlasError(f"{name} {rule}, got {value}")


RE10K = Settings()
SCRATCH = replace(RE10K, residual=True, ray=1.0, ray_steps=2_000, backbone_lr=1.0)
# The ray term stays: a few thousand samples are too few to find the second camera from pictures alone, and for the same
# reason samples are not mirrored, so that a camera that moves one way in all scenes is learnt as such.
TINY_SCENES = Settings(
    **{
        **asdict(TINY),
        "head_dim": 32,
        "level_dims": (12, 24, 48, 96),
        "start_depth": 4.0,  # a scene four baselines away
        "start_scale": 0.06,
        "width": 64,
        "height": 64,
        "targets": 2,
        "gap": (4, 8),
        "gap_start": 4,
        "gap_steps": 0,
        "flip": 0.0,
        "lpips": 0.0,
        "ray": 3.0,
        "ray_end": 3.0,
        "backbone_lr": 1.0,
    }
)
