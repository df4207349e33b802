"""Another number of the same Gaussians: the least visible go, the most visible are split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.raster import visibility
from gatlas.rotations import quats_to_matrices
from gatlas.types import LOG_SCALE_RANGE, Gaussians

if TYPE_CHECKING:
    from gatlas.types import Cameras

SPLIT_SHRINK = 1.6  # of the scales when one becomes two (Kerbl et al. 2023, sec. 5.2)


def recount(gaussians: Gaussians, cameras: Cameras, count: int, rng: np.random.Generator) -> Gaussians:
    """Exactly `count` Gaussians that look as alike as may be in these cameras (numpy).

    Of too many, those stay that are the most of any one pixel. Of too few, some are split, the larger and more visible
    likelier: its parts are scattered as the Gaussian itself is, smaller by SPLIT_SHRINK for each doubling of their
    number, with the opacity that together gives the old one.
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
    crowd = parts[source]
    split = crowd > 1
    shift = np.einsum(
        "nij,nj->ni",
        quats_to_matrices(gaussians.quats[source]),
        gaussians.scales[source] * rng.normal(size=(count, 3)),
    )
    scales = gaussians.scales[source] / SPLIT_SHRINK ** np.log2(crowd)[:, None]
    opacities = np.clip(gaussians.opacities[source], 0.0, 1 - 1e-6)
    together = 1 - (1 - opacities) ** (1 / crowd)  # crowd of them in a row let as much light through as the one did
    return Gaussians(
        means=(gaussians.means[source] + np.where(split[:, None], shift, 0.0)).astype(np.float32),
        quats=gaussians.quats[source],
        scales=np.clip(scales, *np.exp(LOG_SCALE_RANGE)).astype(np.float32),
        opacities=np.where(split, together, gaussians.opacities[source]).astype(np.float32),
        sh=gaussians.sh[source],
        origin=gaussians.origin,
    )
