"""The systems by name. A system is deleted by deleting its package and its line here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from gatlas.config import Options
    from gatlas.systems.contract import Preset, System, Takes

SYSTEMS = {
    "gaussian-atlas": "gatlas.systems.gaussian_atlas",
    "noposplat": "gatlas.systems.noposplat",
    "lgm": "gatlas.systems.lgm",
    "threedim": "gatlas.systems.threedim",
}


class SystemModule(Protocol):
    """The module of a system; see `gatlas.systems.contract`."""

    TAKES: Takes
    PRESETS: Mapping[str, Preset]
    TRAINING: str
    SYSTEM: type[System]

    def create(self, config: Any, *, base: str | None = None, stats: Any = None, seed: int = 0) -> System: ...

    def load(
        self, model: str, *, device: Any = "cpu", dtype: Any = None, settings: Mapping[str, Any] | None = None
    ) -> System: ...

    def recognizes(self, path: str) -> bool: ...


def system_module(name: str) -> SystemModule:
    """Return the module of a system; the network's libraries are not imported. An unknown name is a GatlasError."""
    if name not in SYSTEMS:
        raise GatlasError(f"there is no system {name!r}; this version knows {', '.join(SYSTEMS)}")
    return cast("SystemModule", importlib.import_module(SYSTEMS[name]))


def config_class(module: SystemModule) -> type[Options]:
    """Return the class of a system's configs."""
    return type(next(iter(module.PRESETS.values())).config)


def default_preset(name: str, *, with_base: bool) -> str:
    """Return the preset that a training has where none is named: the system's first for pretrained weights, or not."""
    presets = system_module(name).PRESETS
    return next((preset for preset, each in presets.items() if each.with_base == with_base), next(iter(presets)))


def system_of(model: str) -> str:
    """Return the name of a model's system: that in its gatlas.json, or the system that recognizes a published file."""
    from gatlas import io
    from gatlas.io.models.pipeline import read_description

    if model in SYSTEMS and not io.exists(model):
        weights = system_module(model).TAKES.weights
        source = f"download {weights}, and name it" if weights else "train one, and name its folder"
        raise GatlasError(f"{model}: is a system without its weights: {source} with --model")
    if not model or not io.exists(model) or io.is_folder(model):
        return str(read_description(model)["system"])
    found = next((name for name in SYSTEMS if system_module(name).recognizes(model)), None)
    if found is None:
        raise GatlasError(
            f"{model}: no weights that gatlas knows: name a model folder, a run, one of its checkpoints or a published "
            f"file of {' or '.join(SYSTEMS)}"
        )
    return found


def load_system(
    model: str, *, device: Any = "cpu", dtype: Any = None, settings: Mapping[str, Any] | None = None
) -> System:
    """Return the trained system of a model folder, a run, a checkpoint of it or a published file, ready to sample.

    `settings` replace values of the model's config.
    """
    return system_module(system_of(model)).load(model, device=device, dtype=dtype, settings=settings)
