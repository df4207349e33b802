"""torch-fidelity without torchvision, which has no build beside a CPU torch: only what it imports and does not call."""

import importlib.machinery
import sys
import types
from contextlib import contextmanager
from unittest.mock import MagicMock

NAMES = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")


@contextmanager
def stub_torchvision():
    """Inside the block, torchvision can be imported where it is not installed."""
    made = [name for name in (*NAMES, "torchvision.models") if name not in sys.modules]
    for name in made:
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__path__ = []
        module.__getattr__ = lambda wanted: MagicMock(name=wanted)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]
