"""Numba kernel: how many Gaussians are blended in each pixel.

After an edit of what it imports from `pair_kernels`, `tile_kernels` or `projection_kernels`, touch this file: see
`tile_kernels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import float32

from gatlas.jit import njit
from gatlas.raster.pair_kernels import (
    BLOCK,
    BLOCK_SIZE,
    BLOCKS,
    COUNT,
    LANES,
    SIDE,
    STATE,
    TILE,
    count_pair,
    touched_blocks,
)
from gatlas.raster.tile_kernels import FAST, NO_BLOCK, lay_out, start_tile

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32, Int64


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def count(
    tiles: Int64[np.ndarray, " share"],
    state: Float32[np.ndarray, " scratch"],
    tile_starts: Int64[np.ndarray, " tiles_plus_1"],
    pairs: Int32[np.ndarray, "pairs 2"],
    records: Float32[np.ndarray, "m 16"],
    counts: Int32[np.ndarray, "h w"],
) -> None:
    """Walk the tiles of one share as `tile_kernels.blend` does, and fill their pixels with counts."""
    height, width = counts.shape
    columns = (width + TILE - 1) // TILE
    lay_out(state)
    for share in range(len(tiles)):
        tile = tiles[share]
        tile_x, tile_y = (tile % columns) * TILE, (tile // columns) * TILE
        left, top = float32(tile_x), float32(tile_y)
        live = start_tile(state, tile_x, tile_y, width, height)
        for entry in range(tile_starts[tile], tile_starts[tile + 1]):
            if live == NO_BLOCK:
                break
            rank = np.int64(pairs[entry, 0])
            blocks = live & touched_blocks(state, records, rank, left, top)  # type: ignore[call-arg]
            live = count_pair(state, records, rank, left, top, blocks, live)
        for block in range(BLOCKS):
            x, y = tile_x + (block % SIDE) * BLOCK, tile_y + (block // SIDE) * BLOCK
            base = STATE + block * BLOCK_SIZE + COUNT * LANES
            for row in range(y, min(y + BLOCK, height)):
                for column in range(x, min(x + BLOCK, width)):
                    counts[row, column] = np.int32(state[base + (row - y) * BLOCK + column - x])
