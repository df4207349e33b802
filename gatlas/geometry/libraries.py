"""Numpy or torch, by the arrays that a function is given. Neither is imported before an array of its kind exists."""

from __future__ import annotations

import sys
from typing import Any


def is_tensor(array: Any) -> bool:
    """Return True for a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def library_of(*arrays: Any) -> Any:
    """Return the module torch where any of the arrays is a tensor, else numpy."""
    if any(map(is_tensor, arrays)):
        return sys.modules["torch"]
    import numpy as np

    return np
