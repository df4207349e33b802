"""Nouns hold numpy arrays or torch tensors; files hold numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np


def host_array(array: Any) -> np.ndarray:
    """A numpy array or a torch tensor, on any device and with or without gradients, as a numpy array."""
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    return np.asarray(array)
