"""Agreement of silhouettes: of what covers pixels, whatever its color."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

COVERED = 0.5  # alpha above which a pixel belongs to a silhouette


def silhouette_iou(
    alphas: Float[np.ndarray, "*n h w"], references: Float[np.ndarray, "*n h w"]
) -> Float64[np.ndarray, "*n"]:
    """Return the intersection over union of the silhouettes of each picture; 1 where both are empty."""
    if alphas.shape != references.shape:
        raise ValueError(f"alphas must have the shape of the references {references.shape}, got {alphas.shape}")
    one, other = np.asarray(alphas) > COVERED, np.asarray(references) > COVERED
    common, union = ((one & other).sum(axis=(-2, -1)), (one | other).sum(axis=(-2, -1)))
    found: Float64[np.ndarray, "*n"] = np.where(union > 0, common / np.maximum(union, 1), 1.0)
    return found
