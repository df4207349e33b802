"""RGBA pictures over one color in one pass (numpy, a CPU kernel): what every step of an optimization begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.jit import njit
from gatlas.raster.threads import get_num_threads, launch, split_range

if TYPE_CHECKING:
    from jaxtyping import Float32


def over_color(
    rgba: Float32[np.ndarray, "c h w 4"], color: Float32[np.ndarray, " 3"]
) -> Float32[np.ndarray, "c h w 3"]:
    """Return straight RGBA pictures over a color: `gatlas.images.composite.composite` to the bit, in less time."""
    pixels = np.require(rgba.reshape(-1, 4), requirements=["C", "A", "W"])
    over = np.empty((len(pixels), 3), dtype=np.float32)
    launch(_over_color, split_range(len(pixels), get_num_threads()), pixels, color, over)
    return over.reshape(*rgba.shape[:3], 3)


@njit(cache=True, nogil=True)
def _over_color(
    start: int,
    stop: int,
    rgba: Float32[np.ndarray, "n 4"],
    color: Float32[np.ndarray, " 3"],
    over: Float32[np.ndarray, "n 3"],
) -> None:
    red, green, blue = color[0], color[1], color[2]
    for i in range(np.uint64(start), np.uint64(stop)):
        alpha = rgba[i, 3]
        light = np.float32(1.0) - alpha
        over[i, 0] = rgba[i, 0] * alpha + red * light
        over[i, 1] = rgba[i, 1] * alpha + green * light
        over[i, 2] = rgba[i, 2] * alpha + blue * light
