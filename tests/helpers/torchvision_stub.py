"""torch-fidelity and lpips without torchvision, which has no build beside a CPU torch."""

import importlib.machinery
import sys
import types
from contextlib import contextmanager
from unittest.mock import MagicMock

NAMES = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.models",
)


@contextmanager
def stub_torchvision():
    """Inside the block, torchvision can be imported where it is not installed; yields its modules by name."""
    made = [name for name in NAMES if name not in sys.modules]
    for name in made:
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__path__ = []
        module.__getattr__ = lambda wanted: MagicMock(name=wanted)
        sys.modules[name] = module
    try:
        for name in made:
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, sys.modules[name])
        yield {name: sys.modules[name] for name in NAMES}
    finally:
        for name in made:
            del sys.modules[name]
