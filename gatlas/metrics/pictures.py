"""The figures of one picture against its reference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from gatlas.metrics.psnr import psnr
from gatlas.metrics.ssim import ssim

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float


class PictureQuality(NamedTuple):
    """Agreement of a picture with its reference."""

    psnr: float  # dB, peak 1
    ssim: float  # 1 is equality


def compare_pictures(
    image: Float[np.ndarray, "h w 3"], reference: Float[np.ndarray, "h w 3"], *, limit: float = math.inf
) -> PictureQuality:
    """Return PSNR, at most `limit`, and SSIM of an RGB picture in [0, 1] against its reference (numpy, float32)."""
    one, other = image[None], reference[None]
    return PictureQuality(float(psnr(one, other, limit=limit)[0]), float(ssim(one, other)))
