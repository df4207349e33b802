"""Distances between sets of features: Frechet (FID, Heusel et al. 2017) and kernel (KID, Binkowski et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

SUBSET, SUBSETS = 1000, 100  # of KID: features of a subset at most, and subsets


def frechet_distance(features: Float[np.ndarray, "n d"], references: Float[np.ndarray, "m d"]) -> float:
    """Return the squared Frechet distance of normal distributions with the means and covariances of both sets.

    The trace of the root of the covariances' product is the sum of the singular values of X Y^T, where X^T X and Y^T Y
    are the covariances: exact, and cheap for few features. Fewer than two features are a ValueError.
    """
    one, other = _checked(features, references)
    means = one.mean(axis=0) - other.mean(axis=0)
    roots = [_root(each) for each in (one, other)]
    crossed = float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())
    traces = sum(float((root**2).sum()) for root in roots)
    return max(0.0, float(means @ means) + traces - 2 * crossed)


def _root(features: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "r d"]:
    """Return X with X^T X the covariance, of at most as many rows as columns."""
    centered = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return centered if len(centered) <= centered.shape[1] else np.asarray(np.linalg.qr(centered, "r"))


def kernel_distance(
    features: Float[np.ndarray, "n d"],
    references: Float[np.ndarray, "m d"],
    rng: np.random.Generator,
    *,
    subset: int = SUBSET,
    subsets: int = SUBSETS,
) -> float:
    """Return the unbiased squared MMD with the kernel (x y / d + 1)^3, the mean over random subsets of both sets.

    Sets of `subset` features or fewer are taken whole, at the size of the smaller one.
    """
    one, other = _checked(features, references)
    size = min(subset, len(one), len(other))
    if size == len(one) == len(other):
        return _mmd(one, other)
    drawn = ((rng.permutation(len(one))[:size], rng.permutation(len(other))[:size]) for _ in range(subsets))
    return float(np.mean([_mmd(one[i], other[j]) for i, j in drawn]))


def _mmd(one: Float64[np.ndarray, "n d"], other: Float64[np.ndarray, "n d"]) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)

    count = len(one)
    inside = [kernel(each, each) for each in (one, other)]
    within = sum((each.sum() - np.trace(each)) / (count * (count - 1)) for each in inside)
    return float(within - 2 * kernel(one, other).mean())


def _checked(
    features: Float[np.ndarray, "n d"], references: Float[np.ndarray, "m d"]
) -> tuple[Float64[np.ndarray, "n d"], Float64[np.ndarray, "m d"]]:
    one, other = np.asarray(features, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if min(len(one), len(other)) < 2 or one.shape[1] != other.shape[1]:
        raise ValueError(f"two features or more of one size are needed, got {one.shape} and {other.shape}")
    return one, other
