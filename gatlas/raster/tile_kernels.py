"""Numba kernels: blend 2D Gaussians into the picture, tile by tile, and the gradients back.

One thread handles a list of tiles. Each pair of a Gaussian and a tile owns one gradient slot, so no two threads write
to one place and the result does not depend on their number. What one pair does is in `pair_kernels`.

numba recompiles a cached kernel when its own file changes, not when a file that it imports from does: after an edit of
`lanes`, `pair_kernels` or the constants of `projection_kernels`, touch this file, `weight_kernels` and
`median_kernels` as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import float32

from gatlas.jit import njit
from gatlas.raster.pair_kernels import (
    ALPHA,
    BEHIND,
    BLOCK,
    BLOCK_SIZE,
    BLOCKS,
    COLUMN_X,
    ENDED,
    F_BLUE,
    F_DEPTH,
    F_GREEN,
    F_RED,
    LANES,
    ROW_Y,
    SIDE,
    STATE,
    TILE,
    V_BLUE,
    V_DEPTH,
    V_GREEN,
    V_RED,
    T,
    blend_pair,
    blend_pair_backward,
    touched_blocks,
)
from gatlas.raster.projection_kernels import DEPTH, X0, X1, Y0, Y1

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32, Int64, UInt64

ONE = np.float32(1.0)
ZERO = np.float32(0.0)
NEVER = np.float32(np.inf)
NO_BLOCK = np.uint64(0)
ONE_BLOCK = np.uint64(1)
# No re-association: every sum has one order. Fused multiply-adds are allowed.
FAST = {"contract", "nsz", "arcp"}


@njit(cache=True, nogil=True)
def bin_tiles(
    records: Float32[np.ndarray, "m 16"], width: int, height: int
) -> tuple[Int64[np.ndarray, " tiles_plus_1"], Int32[np.ndarray, "pairs 2"], Int64[np.ndarray, " m_plus_1"]]:
    """For each tile its Gaussians in depth order, and for each Gaussian the first of its slots.

    Returns where each tile's list starts; the lists: the rank of the Gaussian and its slot, [pairs 2]; where each
    Gaussian's slots start. Records come in depth order.
    """
    columns = (width + TILE - 1) // TILE
    rows = (height + TILE - 1) // TILE
    count = len(records)
    tile_starts = np.zeros(columns * rows + 1, dtype=np.int64)
    slot_starts = np.zeros(count + 1, dtype=np.int64)
    for rank in range(count):
        x0, x1 = int(records[rank, X0]) // TILE, int(records[rank, X1]) // TILE
        y0, y1 = int(records[rank, Y0]) // TILE, int(records[rank, Y1]) // TILE
        slot_starts[rank + 1] = slot_starts[rank] + (x1 - x0 + 1) * (y1 - y0 + 1)
        for ty in range(y0, y1 + 1):
            for tx in range(x0, x1 + 1):
                tile_starts[ty * columns + tx + 1] += 1
    for tile in range(columns * rows):
        tile_starts[tile + 1] += tile_starts[tile]
    pairs = np.empty((slot_starts[count], 2), dtype=np.int32)
    ends = tile_starts[:-1].copy()
    for rank in range(count):
        x0, x1 = int(records[rank, X0]) // TILE, int(records[rank, X1]) // TILE
        y0, y1 = int(records[rank, Y0]) // TILE, int(records[rank, Y1]) // TILE
        slot = slot_starts[rank]
        for ty in range(y0, y1 + 1):
            for tx in range(x0, x1 + 1):
                end = ends[ty * columns + tx]
                pairs[end, 0] = rank
                pairs[end, 1] = slot
                ends[ty * columns + tx] = end + 1
                slot += 1
    return tile_starts, pairs, slot_starts


@njit(nogil=True)
def _nearest_depth(records, pairs, first, stop):  # type: ignore[no-untyped-def]
    """Depth of the first Gaussian of a tile. Depths are blended less this, which costs them fewer digits."""
    return records[pairs[first, 0], DEPTH] if stop > first else ZERO


@njit(nogil=True)
def lay_out(state):  # type: ignore[no-untyped-def]
    """Write where the lanes of the blocks lie in a tile: the centers of their pixels."""
    for k in range(SIDE):
        for lane in range(LANES):
            state[COLUMN_X + k * LANES + lane] = float32(k * BLOCK + (lane & 3)) + float32(0.5)
            state[ROW_Y + k * LANES + lane] = float32(k * BLOCK + (lane >> 2)) + float32(0.5)


@njit(nogil=True)
def start_tile(state, tile_x, tile_y, width, height):  # type: ignore[no-untyped-def]
    """Set up the state of a tile in which nothing is blended yet; the blocks that lie in the picture."""
    state[STATE:] = ZERO
    live = NO_BLOCK
    for block in range(BLOCKS):
        x, y = tile_x + (block % SIDE) * BLOCK, tile_y + (block // SIDE) * BLOCK
        if x < width and y < height:
            live |= ONE_BLOCK << np.uint64(block)
        base = STATE + block * BLOCK_SIZE
        for lane in range(LANES):
            inside = x + (lane & 3) < width and y + (lane >> 2) < height
            state[base + T * LANES + lane] = ONE if inside else -ONE
            state[base + ENDED * LANES + lane] = NEVER
    return live


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def blend(
    tiles: Int64[np.ndarray, " share"],
    state: Float32[np.ndarray, " scratch"],
    tile_starts: Int64[np.ndarray, " tiles_plus_1"],
    pairs: Int32[np.ndarray, "pairs 2"],
    records: Float32[np.ndarray, "m 16"],
    background: Float32[np.ndarray, " 3"],
    colors: Float32[np.ndarray, "h w 3"],
    alphas: Float32[np.ndarray, "h w"],
    depths: Float32[np.ndarray, "h w"],
    transmittances: Float32[np.ndarray, "h w"],
    ended: Float32[np.ndarray, "h w"],
    hits: UInt64[np.ndarray, " pairs"],
) -> None:
    """Render the tiles of one share, front to back.

    `ended` is the place in its tile's list, from 1, of the Gaussian that finished a pixel and was not blended itself;
    infinity where none did. It is a float like all lanes, exact for lists of up to 2^24. `hits` are the blocks in which
    a Gaussian was blended.
    """
    height, width = alphas.shape
    columns = (width + TILE - 1) // TILE
    lay_out(state)
    for share in range(len(tiles)):
        tile = tiles[share]
        tile_x, tile_y = (tile % columns) * TILE, (tile // columns) * TILE
        left, top = float32(tile_x), float32(tile_y)
        first, stop = tile_starts[tile], tile_starts[tile + 1]
        if first == stop:
            rows, across = slice(tile_y, tile_y + TILE), slice(tile_x, tile_x + TILE)
            for channel in range(3):
                colors[rows, across, channel] = background[channel]
            alphas[rows, across] = ZERO
            depths[rows, across] = ZERO
            transmittances[rows, across] = ONE
            ended[rows, across] = NEVER
            continue
        nearest = _nearest_depth(records, pairs, first, stop)
        live = start_tile(state, tile_x, tile_y, width, height)
        for entry in range(first, stop):
            if live == NO_BLOCK:
                hits[entry:stop] = NO_BLOCK
                break
            rank = np.int64(pairs[entry, 0])
            blocks = live & touched_blocks(state, records, rank, left, top)  # type: ignore[call-arg]
            number = float32(entry - first + 1)
            hits[entry], live = blend_pair(state, records, rank, left, top, nearest, number, blocks, live)
        for block in range(BLOCKS):
            x, y = tile_x + (block % SIDE) * BLOCK, tile_y + (block // SIDE) * BLOCK
            base = STATE + block * BLOCK_SIZE
            for row in range(y, min(y + BLOCK, height)):
                for column in range(x, min(x + BLOCK, width)):
                    i = base + (row - y) * BLOCK + column - x
                    light = abs(state[i + T * LANES])
                    alpha = state[i + ALPHA * LANES]  # more exact than 1 - T where it is small
                    colors[row, column, 0] = state[i + F_RED * LANES] + light * background[0]
                    colors[row, column, 1] = state[i + F_GREEN * LANES] + light * background[1]
                    colors[row, column, 2] = state[i + F_BLUE * LANES] + light * background[2]
                    alphas[row, column] = alpha
                    depths[row, column] = nearest + state[i + F_DEPTH * LANES] / alpha if alpha > ZERO else ZERO
                    transmittances[row, column] = light
                    ended[row, column] = state[i + ENDED * LANES]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def blend_backward(
    tiles: Int64[np.ndarray, " share"],
    state: Float32[np.ndarray, " scratch"],
    tile_starts: Int64[np.ndarray, " tiles_plus_1"],
    pairs: Int32[np.ndarray, "pairs 2"],
    records: Float32[np.ndarray, "m 16"],
    background: Float32[np.ndarray, " 3"],
    alphas: Float32[np.ndarray, "h w"],
    depths: Float32[np.ndarray, "h w"],
    transmittances: Float32[np.ndarray, "h w"],
    ended: Float32[np.ndarray, "h w"],
    hits: UInt64[np.ndarray, " pairs"],
    v_colors: Float32[np.ndarray, "h w 3"],
    v_alphas: Float32[np.ndarray, "h w"],
    v_depths: Float32[np.ndarray, "h w"],
    slots: Float32[np.ndarray, "pairs 16"],
    absolute: Float32[np.ndarray, "n 2"] | None,
) -> None:
    """Fill the slots of the tiles of one share, back to front, from the gradients of the pictures.

    The columns of absolute gradients are filled where `absolute` is not None.
    """
    height, width = alphas.shape
    columns = (width + TILE - 1) // TILE
    lay_out(state)
    for share in range(len(tiles)):
        tile = tiles[share]
        tile_x, tile_y = (tile % columns) * TILE, (tile // columns) * TILE
        left, top = float32(tile_x), float32(tile_y)
        first, stop = tile_starts[tile], tile_starts[tile + 1]
        if first == stop:
            continue
        nearest = _nearest_depth(records, pairs, first, stop)
        # Gradients of the tile's pixels, block by block
        state[STATE:] = ZERO
        for block in range(BLOCKS):
            x, y = tile_x + (block % SIDE) * BLOCK, tile_y + (block // SIDE) * BLOCK
            base = STATE + block * BLOCK_SIZE
            for row in range(y, min(y + BLOCK, height)):
                for column in range(x, min(x + BLOCK, width)):
                    i = base + (row - y) * BLOCK + column - x
                    alpha = alphas[row, column]
                    red, green, blue = v_colors[row, column, 0], v_colors[row, column, 1], v_colors[row, column, 2]
                    v_alpha = v_alphas[row, column]
                    if alpha > ZERO:  # depth = sum / alpha
                        v_depth = v_depths[row, column] / alpha
                        state[i + V_DEPTH * LANES] = v_depth
                        v_alpha -= v_depth * (depths[row, column] - nearest)
                    state[i + T * LANES] = transmittances[row, column]
                    state[i + ENDED * LANES] = ended[row, column]
                    state[i + V_RED * LANES] = red
                    state[i + V_GREEN * LANES] = green
                    state[i + V_BLUE * LANES] = blue
                    state[i + BEHIND * LANES] = (
                        background[0] * red + background[1] * green + background[2] * blue - v_alpha
                    )
        # Gaussians of the tile, back to front
        for entry in range(stop - 1, first - 1, -1):
            rank, slot = np.int64(pairs[entry, 0]), np.int64(pairs[entry, 1])
            if hits[entry] == NO_BLOCK:
                slots[slot] = ZERO
                continue
            number = float32(entry - first + 1)
            blocks = hits[entry]
            blend_pair_backward(  # type: ignore[call-arg]
                state, records, rank, left, top, nearest, number, blocks, slots, slot, absolute
            )
