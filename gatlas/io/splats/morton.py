"""The order of points along Morton's curve through space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt64


def morton_order(means: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, " n"]:
    """Return the order along Morton's curve through the bounding box, 10 bits an axis."""
    low, high = means.min(axis=0), means.max(axis=0)
    span = np.where(high > low, high.astype(np.float64) - low, 1.0)
    cells = ((means.astype(np.float64) - low) / span * 1023).astype(np.uint64)
    return np.argsort(sum(_spread(cells[:, axis]) << np.uint64(axis) for axis in range(3)), kind="stable")


def _spread(values: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """The ten bits of each number, three places apart."""
    for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
        values = (values | values << np.uint64(shift)) & np.uint64(mask)
    return values
