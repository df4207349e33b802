"""Settings of the NoPoSplat system: the network's sizes, the samples and the loss."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from gatlas.config import option
from gatlas.systems.noposplat.network_config import TINY, NoPoSplatConfig

if TYPE_CHECKING:
    from gatlas.datasets.posed_views import SamplingConfig


@dataclass(frozen=True)
class SceneConfig(NoPoSplatConfig):
    """The defaults are the published ones for RealEstate10K (Ye et al. 2024)."""

    width: int = option(256, min=4, help="Width of the network's pictures in pixels.")
    height: int = option(256, min=4, help="Height of the network's pictures in pixels.")
    views: int = option(2, min=2, help="Photos that the network sees.")
    targets: int = option(4, min=1, help="Photos that the renders are compared with.")
    gap: tuple[int, int] = option(
        (45, 90), min=2, help="Minimum and maximum number of photos from the first to the last that the network sees."
    )
    gap_start: int = option(25, min=2, help="Both at the first step.")
    gap_steps: int = option(9_375, min=0, help="Steps until they have grown to gap.")
    flip: float = option(0.5, min=0, max=1, help="Share of samples that are mirrored.")
    max_fov: float = option(
        100.0, above=0, below=180, help="Maximum field of view in degrees; scenes with wider photos are left out."
    )

    # A term of weight 0 costs nothing.
    mse: float = option(1.0, min=0, help="Weight of the squared difference of colors.")
    lpips: float = option(0.05, min=0, help="Weight of LPIPS, which needs --lpips-weights.")
    ray: float = option(0.0, min=0, help="Weight of each Gaussian's distance from its pixel's ray, at the first step.")
    ray_steps: int = option(0, min=0, help="Steps from ray to ray_end.")
    ray_end: float = option(0.0, min=0, help="That weight in the end.")
    # The heads: those of the Gaussians, and the layer that reads the intrinsics.
    backbone_lr: float = option(0.1, min=0, help="Factor of the learning rate of all but the heads.")

    def validate(self) -> None:
        """Refuse pictures that do not fit the patches, a gap that shrinks and a loss without terms."""
        super().validate()
        for name in ("width", "height"):
            value = getattr(self, name)
            self.require(value >= self.patch and value % self.patch == 0, name, f"must be a multiple of {self.patch}")
        self.require(self.gap[0] <= self.gap[1], "gap", "must be two numbers, the smaller one first")
        self.require(self.mse + self.lpips > 0, "mse", "or lpips must be greater than 0")

    @property
    def sampling(self) -> SamplingConfig:
        """The way samples are drawn."""
        from gatlas.datasets.posed_views import SamplingConfig
        from gatlas.datasets.view_policy import VideoNeighbors

        policy = VideoNeighbors(self.views, self.targets, self.gap, self.gap_start, self.gap_steps)
        return SamplingConfig(self.width, self.height, policy, flip=self.flip, max_fov=self.max_fov)

    def ray_share(self, step: int) -> float:
        """Return the weight of the ray term at a step: a straight line from `ray` to `ray_end`."""
        share = min(1.0, step / self.ray_steps) if self.ray_steps else 1.0
        return self.ray + share * (self.ray_end - self.ray)


RE10K = SceneConfig()
SCRATCH = replace(RE10K, residual=True, ray=1.0, ray_steps=2_000, backbone_lr=1.0)
# The ray term stays: a few thousand samples are too few to learn the second camera from images alone. For the same
# reason samples are not mirrored, so that a camera that moves the same way in all scenes is learned as such.
TINY_SCENES = SceneConfig(
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
