"""Settings of the 3DiM system: the network's sizes, its cameras, what training drops and how views are sampled."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from gatlas.config import option
from gatlas.models import xunet_config as sizes
from gatlas.models.xunet_config import XUNetConfig

if TYPE_CHECKING:
    from gatlas.diffusion.schedules import CosineLogSnr


@dataclass(frozen=True)
class ThreeDimConfig(XUNetConfig):
    """The defaults are the published ones (Watson et al. 2023) where they are known."""

    relative: bool = option(
        False,
        help="Cameras in the axes of the known view's own camera, for photos without a frame of their object; false: "
        "in the world of the views, which must be the objects' own frame.",
    )
    prediction: Literal["epsilon", "v"] = option(
        "epsilon",
        help="Target of the network: the noise, or v, alpha times the noise less sigma times the view, whose error "
        "counts where hardly a signal is left, too.",
    )
    noise_power: float = option(
        1.0,
        above=0,
        help="Training draws times as u^(1 / power), u uniform in [0, 1]: 1 is published; above it there is more "
        "noise, where the known view says more than the noisy one.",
    )
    cond_drop: float = option(0.1, min=0, max=1, help="Share of samples that are trained without the known view.")
    guidance: float = option(
        3.0,
        min=0,
        help="Default guidance w of sampling: (1 + w) times the prediction with the known view, less w "
        "times that without; at 0 the latter is not computed.",
    )
    sampler: Literal["ancestral", "ddim"] = option(
        "ancestral",
        help="Default sampler: ancestral, or ddim, which draws no noise after the first and needs fewer steps.",
    )
    sampler_steps: int = option(256, min=1, help="Default steps of sampling.")

    def validate(self) -> None:
        """Refuse a prediction that the network's colors of the known view are not part of."""
        super().validate()
        self.require(
            self.prediction == "v" or not self.epipolar, "prediction", "must be v where epipolar_points are not 0"
        )

    @property
    def schedule(self) -> CosineLogSnr:
        """The noise at each time, and what the network predicts."""
        from gatlas.diffusion.schedules import CosineLogSnr

        return CosineLogSnr("v_prediction" if self.prediction == "v" else "epsilon")


def _config(network: XUNetConfig, **settings: Any) -> ThreeDimConfig:
    return ThreeDimConfig(**{**asdict(network), **settings})


BASE, MIDDLE = _config(sizes.BASE), _config(sizes.MIDDLE)
CPU = _config(sizes.CPU, prediction="v", noise_power=3.0, guidance=0.0, sampler="ddim", sampler_steps=8)
