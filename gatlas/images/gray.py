"""Gray pictures, and Gaussians in gray to compare them with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Gaussians

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, of sRGB values, as cameras and image editors make gray pictures
EVEN = 0.02  # of [0, 1]: channels as near as this have no color but that of JPEG's rounding
SHARE = 0.999  # of the pixels


def is_gray(picture: Float[np.ndarray, "h w d"]) -> bool:
    """Return True for a picture, RGB or RGBA, without colors."""
    return bool((np.ptp(picture[..., :3], axis=-1) < EVEN).mean() >= SHARE)


def to_gray(gaussians: Gaussians) -> Gaussians:
    """Return the Gaussians (numpy) with each color's luma instead of it."""
    luma = np.asarray(gaussians.sh) @ np.array(LUMA, dtype=np.float32)
    return replace(gaussians, sh=np.repeat(luma[..., None], 3, axis=-1))
