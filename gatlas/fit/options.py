"""What a fit may be told, and the named choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FitOptions:
    """Budget of a fit. Its learning rates decay over exactly `iterations` steps."""

    count: int = 16_384  # Gaussians, exactly
    iterations: int = 1000  # one view each
    views: int = 64  # training pictures
    resolution: int = 512  # pixels a side of the training pictures; a fit falls apart above what it was trained at
    held_out: int = 20  # pictures that are only measured on
    seed: int = 0
    supersample: int = 4  # rays a side of a pixel of a mesh's pictures
    shading: Literal["auto", "unlit", "headlight"] = "auto"  # of a mesh

    def __post_init__(self) -> None:
        least_values = {"count": 1, "iterations": 0, "views": 1, "resolution": 16, "held_out": 1, "supersample": 1}
        for name, least in least_values.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")

    @property
    def coarse_iterations(self) -> int:
        """The first steps, which take pictures of half the size where those are still large enough to tell apart."""
        return self.iterations // 2 if self.resolution >= 384 and self.resolution % 2 == 0 else 0


PROFILES = {
    "quick": FitOptions(iterations=200, views=48, resolution=256),
    "default": FitOptions(),
    "quality": FitOptions(iterations=4000, views=96),
}
