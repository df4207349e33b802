"""View-dependent color to one color: its mean over the directions from which each Gaussian is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.cameras import around, camera_centers, fibonacci_views
from gatlas.geometry.sh import eval_sh, rgb_to_dc
from gatlas.raster import visibility

if TYPE_CHECKING:
    from jaxtyping import Bool

    from gatlas.types import AnyCameras, Gaussians

VIEWS, SIDE = 32, 128  # more of either moves the PSNR of the pictures by 0.01 dB


def view_dependent(gaussians: Gaussians) -> Bool[np.ndarray, " n"]:
    """Return which Gaussians have a color that depends on the direction (numpy)."""
    return (gaussians.sh[:, 1:] != 0).any(axis=(1, 2))


def with_flat_color(gaussians: Gaussians, cameras: AnyCameras | None = None) -> Gaussians:
    """Return the Gaussians with spherical harmonics of degree 0 only (numpy); the color of those without others stays.

    The coefficient of degree 0 is the mean over all directions, and a surface is seen from outside alone. Each color
    becomes the mean of what is shown of it from some of the cameras, by default from all around, weighted by how much
    of the picture the Gaussian makes up there: the color with the least squared error over them. A Gaussian that none
    of them sees keeps the mean over all directions.
    """
    changing = view_dependent(gaussians)
    if not changing.any():
        return replace(gaussians, sh=gaussians.sh[:, :1])
    cameras = around(gaussians, fibonacci_views(VIEWS, SIDE, SIDE)) if cameras is None else cameras
    if len(cameras) > VIEWS:
        cameras = cameras[np.linspace(0, len(cameras) - 1, VIEWS).astype(int)]
    means, sh = gaussians.means.astype(np.float64), gaussians.sh.astype(np.float64)
    weights, shown = np.zeros(len(means)), np.zeros((len(means), 3))
    for camera, center in zip(cameras, camera_centers(cameras.viewmats), strict=True):
        weight = visibility(gaussians, camera)[0].astype(np.float64)
        seen = changing & (weight > 0)
        direction = means[seen] - center
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        weights[seen] += weight[seen]
        shown[seen] += weight[seen, None] * np.maximum(eval_sh(sh[seen], direction), 0.0)
    flat = gaussians.sh[:, :1].copy()
    seen = weights > 0
    flat[seen, 0] = rgb_to_dc(shown[seen] / weights[seen, None])
    return replace(gaussians, sh=flat)
