"""Cameras of a path: of one size, and moving smoothly between keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.geometry.cameras import camera_centers, moved_to
from gatlas.types import Cameras, MixedCameras

if TYPE_CHECKING:
    from gatlas.types import AnyCameras


def joined_at_size(cameras: AnyCameras) -> Cameras:
    """Return the cameras (numpy) with pictures of the first one's size; the whole of each other picture is in it."""
    if not isinstance(cameras, MixedCameras):
        return cameras
    width, height = cameras.sizes[0]
    Ks = np.array(cameras.Ks, dtype=np.float64)
    for K, (wide, high) in zip(Ks, cameras.sizes, strict=True):
        scale = min(width / wide, height / high)
        K[:2] *= scale
        K[0, 2] += 0.5 * (width - scale * wide)
        K[1, 2] += 0.5 * (height - scale * high)
    return Cameras(cameras.viewmats, Ks, width, height)


def flight(keys: Cameras, count: int) -> Cameras:
    """Return `count` cameras that pass the keys (numpy) in equal times, from the first to the last.

    Positions follow a modified Akima spline, which overshoots little, rotations a cubic spline of rotations.
    """
    from scipy.interpolate import Akima1DInterpolator, interp1d
    from scipy.spatial.transform import Rotation, RotationSpline

    if len(keys) == 1:
        return keys[np.zeros(count, dtype=np.int64)]
    times = np.arange(len(keys), dtype=np.float64)
    at = np.linspace(0.0, times[-1], count)
    viewmats = np.asarray(keys.viewmats, dtype=np.float64)
    smooth: Any = Akima1DInterpolator(times, camera_centers(viewmats), method="makima")
    centers = smooth(at) if len(keys) > 2 else interp1d(times, camera_centers(viewmats), axis=0)(at)
    rotations = RotationSpline(times, Rotation.from_matrix(viewmats[:, :3, :3]))(at)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = rotations.as_matrix()
    Ks = interp1d(times, np.asarray(keys.Ks, dtype=np.float64), axis=0)(at)
    return Cameras(moved_to(poses, centers).astype(np.float32), Ks, keys.width, keys.height)
