"""Peak signal-to-noise ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float


def psnr(images: Float[np.ndarray, "c h w d"], references: Float[np.ndarray, "c h w d"]) -> Float[np.ndarray, " c"]:
    """PSNR in dB of each picture, peak 1; infinite where the two are equal."""
    if images.shape != references.shape:
        raise ValueError(f"pictures must have the references' shape {references.shape}, got {images.shape}")
    error = np.asarray(images, dtype=np.float64) - references
    mse = (error**2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mse)
