"""The systems: a network with its loss and its sampler, a package for each."""

from gatlas.systems.registry import SYSTEMS, config_class, default_preset, load_system, system_module, system_of

__all__ = ["SYSTEMS", "config_class", "default_preset", "load_system", "system_module", "system_of"]
