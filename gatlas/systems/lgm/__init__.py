"""Views of an object to Gaussians in one pass (Tang et al. 2024, LGM)."""

from gatlas.lazy import lazy_names
from gatlas.systems.lgm.declaration import PRESETS, TAKES, TRAINING, recognizes

__all__ = ["PRESETS", "SYSTEM", "TAKES", "TRAINING", "create", "load", "recognizes"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "SYSTEM": "gatlas.systems.lgm.system",
        "create": "gatlas.systems.lgm.loading",
        "load": "gatlas.systems.lgm.loading",
    },
)
