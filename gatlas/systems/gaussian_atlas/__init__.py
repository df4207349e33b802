"""Text to 3D: a diffusion model of Gaussian atlases (Xiang et al. 2025)."""

from gatlas.lazy import lazy_names
from gatlas.systems.gaussian_atlas.declaration import PRESETS, TAKES, TRAINING, recognizes

__all__ = ["PRESETS", "SYSTEM", "TAKES", "TRAINING", "create", "load", "recognizes"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "SYSTEM": "gatlas.systems.gaussian_atlas.system",
        "create": "gatlas.systems.gaussian_atlas.loading",
        "load": "gatlas.systems.gaussian_atlas.loading",
    },
)
