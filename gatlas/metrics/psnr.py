"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

    Array = Any  # a numpy array or a torch tensor


def decibels(mse: float, *, limit: float = math.inf) -> float:
    """Return the PSNR in dB, peak 1, of a mean squared error; at most `limit`."""
    return limit if mse == 0 else min(-10 * math.log10(mse), limit)


def psnr(
    images: Float[Array, "*n h w d"], references: Float[Array, "*n h w d"], *, limit: float = math.inf
) -> Float[Array, "*n"]:
    """Return the PSNR of each image in dB, peak 1, at most `limit`: it is infinite for equal images.

    numpy arrays are compared in float64, torch tensors in their own dtype.
    """
    if images.shape != references.shape:
        raise ValueError(f"images must have the shape of the references {references.shape}, got {images.shape}")
    if isinstance(images, np.ndarray):
        mse = ((np.asarray(images, dtype=np.float64) - references) ** 2).mean(axis=(-3, -2, -1))
        with np.errstate(divide="ignore"):
            return np.minimum(-10 * np.log10(mse), limit)
    return (-10 * (images - references).square().mean(dim=(-3, -2, -1)).log10()).clamp(max=limit)
