"""The CPU rasterizer on numpy arrays: one picture forward, its gradients back, and what each Gaussian shows.

`gatlas.raster.autograd` wraps these for torch; nothing here imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.raster import count_kernels, median_kernels, pair_kernels, projection_kernels, tile_kernels, weight_kernels
from gatlas.raster.colors import seen_colors
from gatlas.raster.lanes import aligned
from gatlas.raster.rendering import ProjectionOptions, Rendering
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Float64, Int32, Int64, UInt64

    from gatlas.types import Cameras, Gaussians


class Parameters(NamedTuple):
    """Gaussians as contiguous float32 arrays, with the colors that one camera sees."""

    means: Float32[np.ndarray, "n 3"]
    quats: Float32[np.ndarray, "n 4"]
    scales: Float32[np.ndarray, "n 3"]
    opacities: Float32[np.ndarray, " n"]
    colors: Float32[np.ndarray, "n 3"]


class Pinhole(NamedTuple):
    """One camera and the planes and blur that go with it."""

    view: Float64[np.ndarray, "4 4"]
    K: Float64[np.ndarray, "3 3"]
    width: int
    height: int
    near_plane: float
    far_plane: float
    eps2d: float
    antialiased: bool


class Images(NamedTuple):
    """Output arrays of one picture; they may be slices of a batch."""

    colors: Float32[np.ndarray, "h w 3"]
    alphas: Float32[np.ndarray, "h w"]
    depths: Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class Projected:
    """The visible Gaussians of one camera in depth order, and the tiles that they touch."""

    order: Int64[np.ndarray, " m"]  # index of each visible Gaussian
    records: Float32[np.ndarray, "m 16"]
    tile_starts: Int64[np.ndarray, " tiles_plus_1"]
    pairs: Int32[np.ndarray, "pairs 2"]
    slot_starts: Int64[np.ndarray, " m_plus_1"]


@dataclass(frozen=True)
class Rendered:
    """Results of the forward pass that the backward pass needs."""

    projected: Projected
    background: Float32[np.ndarray, " 3"]
    alphas: Float32[np.ndarray, "h w"]
    depths: Float32[np.ndarray, "h w"]
    transmittances: Float32[np.ndarray, "h w"]
    ended: Float32[np.ndarray, "h w"]
    hits: UInt64[np.ndarray, " pairs"]


def project(parameters: Parameters, camera: Pinhole) -> Projected:
    """Project, cull, sort by depth (rounded to float32, ties by index, as gsplat does) and sort into tiles."""
    count = len(parameters.means)
    records = aligned(count, projection_kernels.RECORD_SIZE)
    keys = np.empty(count, dtype=np.uint64)
    shares = split_range(count, get_num_threads())
    launch(projection_kernels.project, shares, *parameters, *camera, records, keys)
    keys.sort()
    visible = int(np.searchsorted(keys, projection_kernels.CULLED))
    order = (keys[:visible] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    packed = aligned(visible, projection_kernels.RECORD_SIZE)
    np.take(records, order, axis=0, out=packed, mode="clip")  # "raise" would buffer
    return Projected(order, packed, *tile_kernels.bin_tiles(packed, camera.width, camera.height))


def render(parameters: Parameters, camera: Pinhole, background: Float32[np.ndarray, " 3"], images: Images) -> Rendered:
    """Render one picture into `images`."""
    projected = project(parameters, camera)
    transmittances = np.empty((camera.height, camera.width), dtype=np.float32)
    ended = np.empty_like(transmittances)
    hits = np.empty(len(projected.pairs), dtype=np.uint64)
    launch(
        tile_kernels.blend,
        _tile_shares(projected),
        projected.tile_starts,
        projected.pairs,
        projected.records,
        background,
        *images,
        transmittances,
        ended,
        hits,
    )
    return Rendered(projected, background, images.alphas, images.depths, transmittances, ended, hits)


def pair_gradients(
    rendered: Rendered, v_images: Images, absolute: Float32[np.ndarray, "n 2"] | None = None
) -> Float32[np.ndarray, "pairs 16"]:
    """Return the gradients of the pairs of a Gaussian and a tile: columns S_RED, ... of `projection_kernels`."""
    projected = rendered.projected
    slots = aligned(len(projected.pairs), projection_kernels.SLOT_SIZE)
    launch(
        tile_kernels.blend_backward,
        _tile_shares(projected),
        projected.tile_starts,
        projected.pairs,
        projected.records,
        rendered.background,
        rendered.alphas,
        rendered.depths,
        rendered.transmittances,
        rendered.ended,
        rendered.hits,
        *v_images,
        slots,
        absolute,
    )
    return slots


def render_backward(
    parameters: Parameters,
    camera: Pinhole,
    rendered: Rendered,
    v_images: Images,
    v_parameters: Parameters,
    absolute: Float32[np.ndarray, "n 2"] | None = None,
) -> None:
    """Add to `v_parameters` the gradients that `v_images`, the gradients of one picture, give.

    To `absolute` are added the sums over the pixels of the absolute gradients to the means in the picture.
    """
    projected = rendered.projected
    slots = pair_gradients(rendered, v_images, absolute)
    count = len(parameters.means)
    ranks = np.full(count, -1, dtype=np.int64)
    ranks[projected.order] = np.arange(len(projected.order))
    launch(
        projection_kernels.project_backward,
        split_range(count, get_num_threads()),
        ranks,
        projected.slot_starts,
        slots,
        *parameters[:4],
        camera.view,
        camera.K,
        camera.width,
        camera.height,
        camera.eps2d,
        camera.antialiased,
        *v_parameters,
        absolute,
    )


def blending_weights(parameters: Parameters, camera: Pinhole, reduce: str) -> Float32[np.ndarray, " n"]:
    """Sum or maximum, over the pixels of one picture, of the weight (T alpha) with which each Gaussian is blended."""
    projected = project(parameters, camera)
    slots = np.empty((len(projected.pairs), 2), dtype=np.float32)
    launch(
        weight_kernels.weigh,
        _tile_shares(projected),
        projected.tile_starts,
        projected.pairs,
        projected.records,
        camera.width,
        camera.height,
        slots,
    )
    weights = np.zeros(len(parameters.means), dtype=np.float32)
    if len(projected.order):  # every visible Gaussian has a slot, so no segment is empty
        ufunc, column = (np.add, 0) if reduce == "sum" else (np.maximum, 1)
        weights[projected.order] = ufunc.reduceat(slots[:, column], projected.slot_starts[:-1])
    return weights


def rasterize_arrays(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Float[np.ndarray, " 3"] | Float[np.ndarray, "c 3"] | None,
    options: ProjectionOptions,
) -> Rendering:
    """`gatlas.raster.rasterize` for numpy arrays."""
    compile_kernels()
    count, height, width = len(cameras), cameras.height, cameras.width
    backgrounds = np.zeros((count, 3), dtype=np.float32)
    if background is not None:
        backgrounds[:] = background
    rendering = Rendering(
        colors=np.empty((count, height, width, 3), dtype=np.float32),
        alphas=np.empty((count, height, width, 1), dtype=np.float32),
        depths=np.empty((count, height, width, 1), dtype=np.float32),
    )
    for i, parameters in enumerate(seen_parameters(gaussians, cameras)):
        camera = pinhole(cameras, i, options)
        images = Images(rendering.colors[i], rendering.alphas[i, :, :, 0], rendering.depths[i, :, :, 0])
        render(parameters, camera, backgrounds[i], images)
    return rendering


def median_depth(parameters: Parameters, camera: Pinhole, depths: Float32[np.ndarray, "h w"]) -> None:
    """Fill `depths` with z where the transmittance of each pixel falls to a half; 0 where it does not."""
    _halve(project(parameters, camera), depths)


def _halve(projected: Projected, depths: Float32[np.ndarray, "h w"]) -> None:
    launch(
        median_kernels.halve,
        _tile_shares(projected),
        projected.tile_starts,
        projected.pairs,
        projected.records,
        depths,
    )


def median_gaussians_arrays(
    gaussians: Gaussians, cameras: Cameras, options: ProjectionOptions
) -> Int32[np.ndarray, "c h w"]:
    """`gatlas.raster.median_gaussians`."""
    compile_kernels(medians=True)
    indices = np.empty((len(cameras), cameras.height, cameras.width), dtype=np.int32)
    places = np.empty(indices.shape[1:], dtype=np.float32)
    for i, parameters in enumerate(seen_parameters(gaussians, cameras)):
        projected = project(parameters, pinhole(cameras, i, options))
        count = len(projected.order)
        # The kernel writes the depth of a record: here its place instead, from 1, exact for up to 2^24 records.
        projected.records[:, projection_kernels.DEPTH] = np.arange(1, count + 1, dtype=np.float32)
        _halve(projected, places)
        indices[i] = np.append(projected.order, -1)[places.astype(np.int64) - 1]
    return indices


def median_depths_arrays(
    gaussians: Gaussians, cameras: Cameras, options: ProjectionOptions
) -> Float32[np.ndarray, "c h w 1"]:
    """`gatlas.raster.median_depths` for numpy arrays."""
    compile_kernels(medians=True)
    depths = np.empty((len(cameras), cameras.height, cameras.width, 1), dtype=np.float32)
    for i, parameters in enumerate(seen_parameters(gaussians, cameras)):
        median_depth(parameters, pinhole(cameras, i, options), depths[i, :, :, 0])
    return depths


def overdraw_arrays(gaussians: Gaussians, cameras: Cameras, options: ProjectionOptions) -> Int32[np.ndarray, "c h w"]:
    """`gatlas.raster.overdraw`."""
    counts = np.empty((len(cameras), cameras.height, cameras.width), dtype=np.int32)
    with announced_compilation(projection_kernels.project, tile_kernels.bin_tiles, count_kernels.count):
        for i, parameters in enumerate(seen_parameters(gaussians, cameras)):
            projected = project(parameters, pinhole(cameras, i, options))
            launch(
                count_kernels.count,
                _tile_shares(projected),
                projected.tile_starts,
                projected.pairs,
                projected.records,
                counts[i],
            )
    return counts


def visibility_arrays(
    gaussians: Gaussians, cameras: Cameras, reduce: str, options: ProjectionOptions
) -> Float32[np.ndarray, "c n"]:
    """`gatlas.raster.visibility`."""
    compile_kernels(weights=True)
    weights = np.empty((len(cameras), len(gaussians)), dtype=np.float32)
    for i, parameters in enumerate(seen_parameters(gaussians, cameras)):
        weights[i] = blending_weights(parameters, pinhole(cameras, i, options), reduce)
    return weights


def pinhole(cameras: Cameras, index: int, options: ProjectionOptions) -> Pinhole:
    """One of the cameras (numpy) in the types that the kernels are compiled for."""
    view = np.ascontiguousarray(cameras.viewmats[index], dtype=np.float64)
    K = np.ascontiguousarray(cameras.Ks[index], dtype=np.float64)
    near_plane, far_plane, eps2d = (float(length) for length in options.of_camera(index)[:3])
    return Pinhole(view, K, cameras.width, cameras.height, near_plane, far_plane, eps2d, options.antialiased)


def seen_parameters(gaussians: Gaussians, cameras: Cameras) -> Iterator[Parameters]:
    """Yield the Gaussians (numpy) with the colors that each camera sees."""
    fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities)
    means, quats, scales, opacities = (_plain(field) for field in fields)
    for colors in seen_colors(gaussians, cameras.viewmats):
        yield Parameters(means, quats, scales, opacities, _plain(colors))


def _plain(array: Float[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Return the one kind of array that kernels are compiled for: a read-only array is another type to numba."""
    return np.require(array, dtype=np.float32, requirements=["C", "A", "W"])


@cache
def compile_kernels(backward: bool = False, weights: bool = False, medians: bool = False) -> None:
    """Compile what a rendering needs, once for this machine; with a message on standard error if it takes long.

    The kernels are cached on disk, so that later processes load them in a fraction of a second.
    """
    parameters = Parameters(
        means=np.array([[0.0, 0.0, 1.0]], dtype=np.float32),
        quats=np.array([[1.0, 0.0, 0.0, 0.0]], dtype=np.float32),
        scales=np.ones((1, 3), dtype=np.float32),
        opacities=np.ones(1, dtype=np.float32),
        colors=np.ones((1, 3), dtype=np.float32),
    )
    camera = Pinhole(np.eye(4), np.eye(3), 1, 1, 0.01, 1e10, 0.3, False)
    pixel = Images(np.zeros((1, 1, 3), np.float32), np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    kernels = [tile_kernels.bin_tiles, tile_kernels.blend, tile_kernels.blend_backward, weight_kernels.weigh]
    kernels.append(median_kernels.halve)
    with announced_compilation(projection_kernels.project, projection_kernels.project_backward, *kernels):
        if weights:
            blending_weights(parameters, camera, "sum")
        elif medians:
            median_depth(parameters, camera, pixel.depths)
        else:
            rendered = render(parameters, camera, np.zeros(3, dtype=np.float32), pixel)
            if backward:
                render_backward(parameters, camera, rendered, pixel, Parameters(*map(np.zeros_like, parameters)))


def _tile_shares(projected: Projected) -> list[tuple[np.ndarray, np.ndarray]]:
    """The tiles of each thread and its scratch memory. The longest lists are dealt first, to each in turn."""
    lengths = np.diff(projected.tile_starts)
    tiles = np.argsort(-lengths, kind="stable")
    threads = min(get_num_threads(), len(tiles))
    return [(tiles[i::threads].copy(), aligned(pair_kernels.SCRATCH_SIZE)) for i in range(threads)]
