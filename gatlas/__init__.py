"""gatlas: 3D objects as Gaussians, Gaussians as images, and diffusion models on those images.

The public names are loaded on first use, so that `import gatlas` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "GatlasError": "gatlas.errors",
    "Atlas": "gatlas.types",
    "AtlasStats": "gatlas.types",
    "Cameras": "gatlas.types",
    "Gaussians": "gatlas.types",
    "Mesh": "gatlas.types",
    "MixedCameras": "gatlas.types",
    "MixedViews": "gatlas.types",
    "Views": "gatlas.types",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gatlas' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
