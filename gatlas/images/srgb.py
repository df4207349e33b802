"""sRGB encoding, linear light (IEC 61966-2-1) and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


def srgb_to_linear(encoded: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """sRGB in [0, 1] to linear light; values beyond are clamped."""
    encoded = np.clip(encoded, 0.0, 1.0)
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Linear light in [0, 1] to sRGB; values beyond are clamped."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def to_bytes(picture: Float[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    """Return values in [0, 1] as bytes, rounded; values beyond are clamped."""
    return np.rint(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8)


# Linear light of each byte of a texture.
BYTE_TO_LINEAR = srgb_to_linear(np.arange(256) / 255.0).astype(np.float32)
