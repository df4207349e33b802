"""Depth maps of a splat: the median depth and the normal of the surface that each pixel of each view shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.meshes import fusion_kernels
from gatlas.raster import median_depths, rasterize
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Float64, Int8

    from gatlas.types import Cameras, Gaussians

AT_ONCE = 8  # views rendered in one call, to bound memory
NORMAL_UNITS = 127  # a normal's component of 1, as it is stored


class Pinholes(NamedTuple):
    """Cameras of one picture size as the kernels take them."""

    views: Float64[np.ndarray, "c 3 4"]  # world -> camera
    focals: Float64[np.ndarray, "c 4"]  # fx, fy, cx, cy: pixels


class DepthMaps(NamedTuple):
    """Surface points that views see, 8 bytes a pixel: 200 MB for 96 views of 512 x 512 pixels."""

    pinholes: Pinholes
    depths: Float32[np.ndarray, "c h w"]  # z in the camera, units of the ball; 0 where alpha is below a half
    normals: Int8[np.ndarray, "c h w 4"]  # in the world, facing the camera, times 127; the last is 1 where there is one


def pinholes(cameras: Cameras) -> Pinholes:
    """Return the cameras (numpy) as arrays of float64."""
    Ks = np.asarray(cameras.Ks, dtype=np.float64)
    views = np.ascontiguousarray(np.asarray(cameras.viewmats, dtype=np.float64)[:, :3])
    return Pinholes(views, np.ascontiguousarray(Ks[:, [0, 1, 0, 1], [0, 1, 2, 2]]))


def render_depth_maps(
    gaussians: Gaussians,
    cameras: Cameras,
    eps2d: Float64[np.ndarray, " c"] | None,
    *,
    expected: bool = False,
    cuda: bool = False,
) -> DepthMaps:
    """Return the median depths of Gaussians (numpy) and their normals; with `expected` the mean depths instead."""
    shape = (len(cameras), cameras.height, cameras.width)
    depths = np.empty(shape, dtype=np.float32)
    backend = "cuda" if cuda else "auto"
    for first in range(0, len(cameras), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        blur = None if eps2d is None else eps2d[part]
        if expected:
            pictures = rasterize(gaussians, cameras[part], eps2d=blur, backend=backend)
            depths[part] = np.where(pictures.alphas > 0.5, pictures.depths, 0.0)[..., 0]
        else:
            depths[part] = median_depths(gaussians, cameras[part], eps2d=blur, backend=backend)[..., 0]
    return with_normals(cameras, depths)


def with_normals(cameras: Cameras, depths: Float32[np.ndarray, "c h w"]) -> DepthMaps:
    """Return the depths with the normals that they have: of the plane through the nearer neighbor on each axis."""
    held = pinholes(cameras)
    normals = np.zeros((*depths.shape, 4), dtype=np.int8)
    with announced_compilation(fusion_kernels.find_normals):
        shares = split_range(len(depths), get_num_threads())
        launch(fusion_kernels.find_normals, shares, held.views, held.focals, depths, normals)
    return DepthMaps(held, depths, normals)


def map_points(maps: DepthMaps, view: int) -> Float[np.ndarray, "n 3"]:
    """Return the points of the surface that one view sees."""
    depths = maps.depths[view].astype(np.float64)
    rows, columns = np.nonzero(depths)
    fx, fy, cx, cy = maps.pinholes.focals[view]
    z = depths[rows, columns]
    local = np.stack([(columns + 0.5 - cx) / fx * z, (rows + 0.5 - cy) / fy * z, z], axis=-1)
    rotation, shift = maps.pinholes.views[view, :, :3], maps.pinholes.views[view, :, 3]
    return (local - shift) @ rotation
