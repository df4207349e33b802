"""Which Gaussians to keep: ranking by how much of them the cameras see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.cameras import around, random_views
from gatlas.raster import visibility

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Gaussians


def rank_visibility(
    gaussians: Gaussians, rng: np.random.Generator, *, views: int = 64, resolution: int = 256
) -> Float[np.ndarray, " n"]:
    """Transmittance x alpha of each Gaussian, summed over the pixels of random cameras around the object (numpy).

    The unit is pixels of one picture. The cameras look at the centre of the Gaussians' bounding ball from all sides.
    """
    cameras = around(gaussians, random_views(views, resolution, resolution, rng))
    total = np.zeros(len(gaussians))
    for camera in cameras:
        total += visibility(gaussians, camera)[0]
    return total / views


def keep_most_visible(gaussians: Gaussians, scores: Float[np.ndarray, " n"], count: int) -> Gaussians:
    """Keep the `count` Gaussians with the highest score, in their original order. Ties go to the earlier Gaussian."""
    if count < 1:
        raise ValueError(f"count must be >= 1, got {count}")
    if count > len(gaussians):
        raise ValueError(f"count must be <= {len(gaussians)} Gaussians, got {count}")
    order = np.argsort(-scores, kind="stable")  # [n]
    return gaussians[np.sort(order[:count])]
