"""Errors of depths."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float


class DepthError(NamedTuple):
    """Error of a depth map, units of the depths."""

    union: float  # mean over the pixels where either surface is; `limit` where only one is
    common: float  # mean over the pixels where both are; NaN where none are


def depth_error(depths: Float[np.ndarray, "h w"], references: Float[np.ndarray, "h w"], *, limit: float) -> DepthError:
    """Return the mean absolute errors of depths, which are 0 or infinite where nothing is.

    Of `union`, no pixel counts more than `limit`, which is also the error of a missing part: to leave one out cannot
    lower it. Two maps without a surface agree.
    """
    if depths.shape != references.shape:
        raise ValueError(f"depths must have the shape of the references {references.shape}, got {depths.shape}")
    one, other = ((each > 0) & np.isfinite(each) for each in (depths, references))
    both, either = one & other, one | other
    errors = np.abs(np.asarray(depths, dtype=np.float64)[both] - references[both])
    missing = int(either.sum()) - len(errors)
    total = np.minimum(errors, limit).sum() + missing * limit
    union = float(total / either.sum()) if either.any() else 0.0
    return DepthError(union, float(errors.mean()) if len(errors) else np.nan)
