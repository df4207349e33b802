"""Depth maps to a signed distance in a sparse grid: blocks of voxels where a view sees a surface.

The distance to a surface is that to the tangent plane of what a view sees, weighted by the squared cosine of its angle.
What two sides of a thin part show is kept apart, by the normals: averaged, they would cancel and the part would vanish.
A point is inside only where it is behind both.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.meshes import fusion_kernels
from gatlas.meshes.fusion_kernels import BEHIND, BLOCK, IN_FRONT, VOXELS
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float32, Float64, Int64

    from gatlas.meshes.depth_maps import DepthMaps

OFFSET = -0.0015  # radii, added to distances: half of the light is gone just behind the surface
FREE_WEIGHT = 0.1  # of a view that sees past a point, beside the squared cosine of one that sees a surface there
FREE_DISTANCE = 1.0  # voxels from the surface, of such a point: more would pull in the rims of thin parts
THICKNESS = 1.5  # voxels: what is thinner is thickened, or it would fall between the voxels
REACHED = 24  # voxels, along the axes: the farthest of a shell from the blocks that it encloses
MARGIN = 3  # blocks of room around the unit ball
CELLS, FEWER_CELLS = 320, 240  # along the diameter: the second for surfaces of many blocks, to bound time and memory
MOST_BLOCKS = 75_000  # with their neighbors; a half-transparent splat has them in several layers
SHARES = 8  # of the blocks, after each of which progress is reported
SEEN_THROUGH = 2  # views that see past an enclosed place make it a part of the outside


class SparseGrid(NamedTuple):
    """Blocks of 4 x 4 x 4 voxels, of which some hold signed distances and the others are outside or inside."""

    voxel: float  # side, units of the ball
    corner: float  # of the grid, the same on each axis
    blocks: Int64[np.ndarray, "m 3"]  # in order
    outside: Bool[np.ndarray, "b b b"]  # of blocks that hold none
    values: Float32[np.ndarray, "m 64"]  # > 0 outside


def fuse(
    maps: DepthMaps,
    cells: int | None,
    *,
    two_sheets: bool = True,
    fill_holes: bool = False,
    on_share: Callable[[], None] = lambda: None,
) -> SparseGrid:
    """Return the signed distance that depth maps around the unit ball give, `cells` voxels to its diameter.

    None is CELLS voxels, or FEWER_CELLS of a surface that takes more than MOST_BLOCKS blocks of the former. With
    `fill_holes` all that is enclosed is inside, also what is seen through small openings; else only what no view sees.
    `on_share` is called SHARES times.
    """
    voxel, active = _place_blocks(maps, CELLS if cells is None else cells)
    if cells is None and active.sum() > MOST_BLOCKS:
        voxel, active = _place_blocks(maps, FEWER_CELLS)
    corner = -0.5 * len(active) * BLOCK * voxel
    threads = get_num_threads()
    views, focals = maps.pinholes
    with announced_compilation(fusion_kernels.fuse_blocks):
        blocks = np.argwhere(active)
        values = np.empty((len(blocks), VOXELS), dtype=np.float32)
        for start, stop in pairwise(np.linspace(0, len(blocks), SHARES + 1).astype(int).tolist()):
            launch(
                fusion_kernels.fuse_blocks,
                split_range(stop - start, threads),
                blocks[start:stop],
                corner,
                voxel,
                OFFSET,
                THICKNESS * voxel,
                IN_FRONT * voxel,
                BEHIND * voxel,
                FREE_WEIGHT,
                FREE_DISTANCE * voxel,
                two_sheets,
                views,
                focals,
                maps.depths,
                maps.normals,
                values[start:stop],
            )
            on_share()
    outside = _outer(~active)
    if not fill_holes:
        enclosed = np.argwhere(~active & ~outside)
        middles = corner + BLOCK * voxel * (enclosed + 0.5)
        outside[tuple(enclosed[_seen_past(middles, maps, IN_FRONT * voxel) >= SEEN_THROUGH].T)] = True
    grid = SparseGrid(voxel, corner, blocks, outside, values)
    return _filled(grid) if fill_holes else grid


def _place_blocks(maps: DepthMaps, cells: int) -> tuple[float, Bool[np.ndarray, "b b b"]]:
    """Return the side of a voxel and the blocks of the grid that hold a point of the maps or are next to one.

    None are at the grid's border, where the surface would be cut open.
    """
    voxel = 2.0 / cells
    count = -(-cells // BLOCK) + 2 * MARGIN
    corner = -0.5 * count * BLOCK * voxel
    marked = np.zeros((count,) * 3, dtype=bool)
    with announced_compilation(fusion_kernels.mark_blocks):
        shares = split_range(len(maps.depths), get_num_threads())
        launch(fusion_kernels.mark_blocks, shares, *maps.pinholes, maps.depths, corner, BLOCK * voxel, marked)
    return voxel, np.pad(_dilated(marked)[1:-1, 1:-1, 1:-1], 1)


def _filled(grid: SparseGrid) -> SparseGrid:
    """Return the grid with the free voxels inside too that are nearer to an enclosed block than to an outer one.

    The ways lead through free voxels, past no surface; so an opening is closed about where it is narrowest.
    """
    from scipy.ndimage import binary_dilation

    count = len(grid.outside)
    enclosed = ~grid.outside
    enclosed[tuple(grid.blocks.T)] = False
    if not enclosed.any():
        return grid
    unclaimed = slab(grid, 0, count) > 0
    reached, outer = (each.repeat(BLOCK, 0).repeat(BLOCK, 1).repeat(BLOCK, 2) for each in (enclosed, grid.outside))
    for _ in range(REACHED):
        reached = binary_dilation(reached, mask=unclaimed & ~outer) | reached
        outer = binary_dilation(outer, mask=unclaimed & ~reached) | outer
    x, y, z = grid.blocks.T
    tiled = reached.reshape(count, BLOCK, count, BLOCK, count, BLOCK)[x, :, y, :, z, :]
    values = np.where(tiled.reshape(-1, VOXELS), np.float32(-BEHIND * grid.voxel), grid.values)
    return grid._replace(values=values)


def _dilated(marked: Bool[np.ndarray, "b b b"]) -> Bool[np.ndarray, "b b b"]:
    from scipy.ndimage import binary_dilation

    return binary_dilation(marked, structure=np.ones((3, 3, 3), dtype=bool))


def _outer(empty: Bool[np.ndarray, "b b b"]) -> Bool[np.ndarray, "b b b"]:
    """Return the empty blocks that are connected with the border of the grid."""
    from scipy.ndimage import label

    labels, _ = label(np.pad(empty, 1, constant_values=True))
    return (labels == labels[0, 0, 0])[1:-1, 1:-1, 1:-1] & empty


def _seen_past(points: Float64[np.ndarray, "n 3"], maps: DepthMaps, front: float) -> Int64[np.ndarray, " n"]:
    """Return how many views see past each point."""
    past = np.zeros(len(points), dtype=np.int64)
    height, width = maps.depths.shape[1:]
    for view, (fx, fy, cx, cy), depths in zip(*maps.pinholes, maps.depths, strict=True):
        local = points @ view[:, :3].T + view[:, 3]
        z = local[:, 2]
        safe = np.where(z > 0, z, 1.0)
        u, v = fx * local[:, 0] / safe + cx, fy * local[:, 1] / safe + cy
        inside = (z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        surface = depths[v[inside].astype(int), u[inside].astype(int)]
        past[inside] += (surface <= 0) | (surface - z[inside] > front)
    return past


def slab(grid: SparseGrid, first: int, stop: int) -> Float32[np.ndarray, "x y z"]:
    """Return the signed distances of the block layers first..stop along x, dense."""
    count = len(grid.outside)
    coarse = np.where(grid.outside[first:stop], np.float32(IN_FRONT * grid.voxel), np.float32(-BEHIND * grid.voxel))
    dense = coarse.repeat(BLOCK, 0).repeat(BLOCK, 1).repeat(BLOCK, 2)
    begin, end = np.searchsorted(grid.blocks[:, 0], [first, stop])
    x, y, z = (grid.blocks[begin:end] - [first, 0, 0]).T
    tiled = dense.reshape(stop - first, BLOCK, count, BLOCK, count, BLOCK)
    tiled[x, :, y, :, z, :] = grid.values[begin:end].reshape(-1, BLOCK, BLOCK, BLOCK)
    return dense
