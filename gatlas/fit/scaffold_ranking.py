"""Ranking of the Gaussians of a scaffold by visibility: Xiang et al. 2025, sec. 4.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.raster import visibility

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from gatlas.types import AnyCameras, Gaussians

CAMERAS = 16  # drawn for each ranking


def random_camera_visibility(
    gaussians: Gaussians, cameras: AnyCameras, rng: np.random.Generator, count: int = CAMERAS
) -> Float[np.ndarray, " n"]:
    """Largest blending weight T alpha of each Gaussian in a picture, averaged over random ones of the cameras (numpy).

    In [0, 1]. The largest and not the sum: small Gaussians carry the detail, and a sum over pixels would drop them.
    """
    chosen = rng.choice(len(cameras), size=min(count, len(cameras)), replace=False)
    total = np.zeros(len(gaussians))
    for camera in chosen:
        total += visibility(gaussians, cameras[int(camera)], reduce="max")[0]
    return total / len(chosen)


def average_ranks(visibilities: Float[np.ndarray, " n"], owners: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Mean of a Gaussian's rank among all Gaussians and of its anchor's among all anchors; both in (0, 1], 1 is best.

    `owners` are the Gaussians' anchors, numbered in any way. An anchor's visibility is the sum over its Gaussians.
    Of equals the earlier ranks higher.
    """
    _, owners = np.unique(owners, return_inverse=True)
    anchors = np.bincount(owners, weights=visibilities)
    return 0.5 * (_ranks(visibilities) + _ranks(anchors)[owners])


def highest_ranked(ranks: Float[np.ndarray, " n"], count: int) -> Bool[np.ndarray, " n"]:
    """The `count` highest ranks (all where there are fewer); of equals the earlier."""
    keep = np.zeros(len(ranks), dtype=bool)
    keep[np.argsort(-ranks, kind="stable")[:count]] = True
    return keep


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    ranks = np.empty(len(values))
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values), 0, -1) / len(values)
    return ranks
