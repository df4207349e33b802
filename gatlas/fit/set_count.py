"""Another number of the same Gaussians: the least visible go, the most visible are split."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.rotations import quats_to_matrices
from gatlas.raster import visibility
from gatlas.types import LOG_SCALE_RANGE

if TYPE_CHECKING:
    from gatlas.types import AnyCameras, Gaussians


def set_count(gaussians: Gaussians, cameras: AnyCameras, count: int, rng: np.random.Generator) -> Gaussians:
    """Exactly `count` Gaussians that look as alike as may be in these cameras (numpy).

    Of too many, those stay that are the most of any one pixel. Of too few, some are split, the more visible likelier:
    k parts with the old opacity, whose scatter and size together have the old covariance and cover the same area.
    """
    if count < 1:
        raise ValueError(f"count must be >= 1, got {count}")
    if len(gaussians) == count:
        return gaussians
    if len(gaussians) > count:
        peaks = np.zeros(len(gaussians), dtype=np.float32)
        for camera in cameras:
            np.maximum(peaks, visibility(gaussians, camera, reduce="max")[0], out=peaks)
        return gaussians[np.sort(np.argsort(-peaks, kind="stable")[:count])]
    seen = np.full(len(gaussians), 1e-6)
    for camera in cameras:
        seen += visibility(gaussians, camera)[0]
    extra = rng.choice(len(gaussians), size=count - len(gaussians), p=seen / seen.sum())
    parts = 1 + np.bincount(extra, minlength=len(gaussians))  # each Gaussian becomes so many
    source = np.concatenate([np.arange(len(gaussians)), extra])
    crowd = parts[source][:, None]
    # Scattered by s^2 (1 - 1/k) and of variance s^2 / k each, the k parts together have the old variance s^2.
    scatter = gaussians.scales[source] * np.sqrt(1 - 1 / crowd) * rng.normal(size=(count, 3))
    shift = np.einsum("nij,nj->ni", quats_to_matrices(gaussians.quats[source]), scatter)
    parted = gaussians[source]
    return replace(
        parted,
        means=(parted.means + shift).astype(np.float32),
        scales=np.clip(parted.scales / np.sqrt(crowd), *np.exp(LOG_SCALE_RANGE)).astype(np.float32),
    )
