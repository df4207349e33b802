"""One view of an object to views of other cameras, by diffusion (Watson et al. 2023, 3DiM)."""

from gatlas.lazy import lazy_names
from gatlas.systems.threedim.declaration import PRESETS, TAKES, TRAINING, recognizes

__all__ = ["PRESETS", "SYSTEM", "TAKES", "TRAINING", "create", "load", "recognizes"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "SYSTEM": "gatlas.systems.threedim.system",
        "create": "gatlas.systems.threedim.loading",
        "load": "gatlas.systems.threedim.loading",
    },
)
