"""The systems: a network with its loss and its sampler, one method a file.

A model folder names its system in gatlas.json; a system can be deleted by deleting its file and its line here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from gatlas.systems.contract import System

SYSTEMS = {"gaussian-atlas": "gatlas.systems.gaussian_atlas.system", "noposplat": "gatlas.systems.noposplat.system"}


def system_module(name: str) -> Any:
    """The module of a system, with its PRESETS, `create` and `load`. An unknown name is a GatlasError."""
    if name not in SYSTEMS:
        raise GatlasError(f"there is no system {name!r}; this version knows {', '.join(SYSTEMS)}")
    return importlib.import_module(SYSTEMS[name])


def load_system(folder: str, *, device: Any = "cpu", dtype: Any = None) -> System:
    """The trained system of a model folder, of a run's checkpoint or of a published file, ready to sample."""
    return system_module(system_of(folder)).load(folder, device=device, dtype=dtype)


def system_of(model: str) -> str:
    """The name of a model's system: what its gatlas.json says. Of published files only NoPoSplat's are read."""
    from gatlas import io
    from gatlas.io.models.pipeline import read_description

    if model and io.exists(model) and not io.is_folder(model):
        return "noposplat"
    return str(read_description(model).get("system"))
