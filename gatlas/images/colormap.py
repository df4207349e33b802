"""The color map of maps: viridis, which is perceptually uniform, in gray and without red and green too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

# Least squares over matplotlib's table of 256 colors, red, green and blue by the powers of the value: within 0.02.
_VIRIDIS = np.array(
    [
        [0.2745, 0.0058, 0.3327],
        [0.1077, 1.3965, 1.3868],
        [-0.3272, 0.2148, 0.0920],
        [-4.5999, -5.7582, -19.2918],
        [6.2037, 14.1540, 56.6563],
        [4.7518, -13.7494, -65.3210],
        [-5.4321, 4.6416, 26.2721],
    ],
    dtype=np.float32,
)


def viridis(values: Float[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n 3"]:
    """Return the sRGB colors of values from 0 (dark blue) to 1 (yellow); those beyond have the color of the end."""
    x = np.clip(np.asarray(values, dtype=np.float32), 0.0, 1.0)[..., None]
    colors = np.zeros((*x.shape[:-1], 3), dtype=np.float32)
    for coefficients in _VIRIDIS[::-1]:
        colors = colors * x + coefficients
    return colors.clip(0.0, 1.0)
