"""Exact one-to-one assignment, the sphere that Gaussians move onto, and the plane that the sphere is flattened onto.

The public names are loaded on first use, so that importing the package costs nothing. Nothing here imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatlas.transport.assignment import SOLVERS, Assignment, assign
    from gatlas.transport.plane import PROJECTIONS, compute_plane_permutation, project_equirect, project_octahedral
    from gatlas.transport.sphere import SPHERE_NAME, fibonacci_sphere

_HOME = {
    "Assignment": "gatlas.transport.assignment",
    "SOLVERS": "gatlas.transport.assignment",
    "assign": "gatlas.transport.assignment",
    "PROJECTIONS": "gatlas.transport.plane",
    "compute_plane_permutation": "gatlas.transport.plane",
    "project_equirect": "gatlas.transport.plane",
    "project_octahedral": "gatlas.transport.plane",
    "SPHERE_NAME": "gatlas.transport.sphere",
    "fibonacci_sphere": "gatlas.transport.sphere",
}

__all__ = [
    "PROJECTIONS",
    "SOLVERS",
    "SPHERE_NAME",
    "Assignment",
    "assign",
    "compute_plane_permutation",
    "fibonacci_sphere",
    "project_equirect",
    "project_octahedral",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gatlas.transport' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
