"""Photos without poses to a scene (Ye et al. 2024)."""

from gatlas.lazy import lazy_names
from gatlas.systems.noposplat.declaration import PRESETS, TAKES, TRAINING, recognizes

__all__ = ["PRESETS", "SYSTEM", "TAKES", "TRAINING", "create", "load", "recognizes"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "SYSTEM": "gatlas.systems.noposplat.system",
        "create": "gatlas.systems.noposplat.loading",
        "load": "gatlas.systems.noposplat.loading",
    },
)
