"""Depth maps of a splat: the median depth and the normal of the surface that each pixel of each view shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from gatlas.geometry.rotations import quats_to_matrices
from gatlas.meshes import fusion_kernels
from gatlas.raster import median_gaussians, rasterize
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Float32, Float64, Int8

    from gatlas.types import Cameras, Gaussians

AT_ONCE = 2**20  # pixels rendered in one call, or one view, to bound memory
FLATTEST = 1e-3  # of a Gaussian's largest standard deviation: thinner ones count as this thick


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


def empty_maps(cameras: Cameras) -> DepthMaps:
    """Return maps to be filled; so far they hold no normals, and any depths."""
    shape = (len(cameras), cameras.height, cameras.width)
    return DepthMaps(pinholes(cameras), np.empty(shape, dtype=np.float32), np.zeros((*shape, 4), dtype=np.int8))


def fill_maps(
    maps: DepthMaps,
    part: slice,
    gaussians: Gaussians,
    inverses: Float64[np.ndarray, "n 6"],
    cameras: Cameras,
    eps2d: Float64[np.ndarray, " c"] | None,
    backend: Literal["auto", "cuda"] = "auto",
) -> None:
    """Fill the maps of some of the cameras with what each pixel sees of the Gaussian that takes half of its light.

    It is seen where the ray comes closest to its mean, in its standard deviations: on the plane of a flat one.
    `inverses` are the `precisions` of the Gaussians (numpy).
    """
    blur = None if eps2d is None else eps2d[part]
    indices = median_gaussians(gaussians, cameras[part], eps2d=blur, backend=backend)
    with announced_compilation(fusion_kernels.meet_gaussians):
        launch(
            fusion_kernels.meet_gaussians,
            split_range(len(indices), get_num_threads()),
            maps.pinholes.views[part],
            maps.pinholes.focals[part],
            gaussians.means.astype(np.float64),
            inverses,
            indices,
            maps.depths[part],
            maps.normals[part],
        )


def render_depth_maps(gaussians: Gaussians, cameras: Cameras, eps2d: Float64[np.ndarray, " c"] | None) -> DepthMaps:
    """Return the maps of all cameras, as `fill_maps` fills them."""
    maps, inverses = empty_maps(cameras), precisions(gaussians)
    for part in parts_of(cameras):
        fill_maps(maps, part, gaussians, inverses, cameras, eps2d)
    return maps


def render_pixel_depth_maps(
    gaussians: Gaussians,
    cameras: Cameras,
    eps2d: Float64[np.ndarray, " c"] | None,
    depth: Literal["expected", "median"],
) -> DepthMaps:
    """Return the depths that `rasterize` gives and the normals of neighboring pixels: worse, and for comparison."""
    depths = np.empty((len(cameras), cameras.height, cameras.width), dtype=np.float32)
    for part in parts_of(cameras):
        blur = None if eps2d is None else eps2d[part]
        pictures = rasterize(gaussians, cameras[part], eps2d=blur, depth=depth)
        depths[part] = np.where(pictures.alphas > 0.5, pictures.depths, 0.0)[..., 0]
    return with_normals(cameras, depths)


def parts_of(cameras: Cameras) -> Iterator[slice]:
    """Yield the cameras in parts of so many as are rendered at a time."""
    step = max(1, AT_ONCE // (cameras.height * cameras.width))
    for first in range(0, len(cameras), step):
        yield slice(first, min(first + step, len(cameras)))


def precisions(gaussians: Gaussians) -> Float64[np.ndarray, "n 6"]:
    """Return the inverse covariances: xx, xy, xz, yy, yz, zz."""
    quats, scales = gaussians.quats.astype(np.float64), gaussians.scales.astype(np.float64)
    axes = quats_to_matrices(quats / np.linalg.norm(quats, axis=1, keepdims=True))
    scales = np.maximum(scales, FLATTEST * scales.max(axis=1, keepdims=True)) + 1e-12
    whole = np.einsum("nik,nk,njk->nij", axes, scales**-2.0, axes)
    return np.ascontiguousarray(whole[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]])


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
