"""Numba kernel: with how much weight each Gaussian is blended, for ranking them by visibility.

After an edit of what it imports from `pair_kernels`, `tile_kernels` or `projection_kernels`, touch this file: see
`tile_kernels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import float32

from gatlas.jit import njit
from gatlas.raster.pair_kernels import TILE, touched_blocks, weigh_pair
from gatlas.raster.tile_kernels import FAST, NO_BLOCK, ZERO, lay_out, start_tile

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32, Int64


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def weigh(
    tiles: Int64[np.ndarray, " share"],
    state: Float32[np.ndarray, " scratch"],
    tile_starts: Int64[np.ndarray, " tiles_plus_1"],
    pairs: Int32[np.ndarray, "pairs 2"],
    records: Float32[np.ndarray, "m 16"],
    width: int,
    height: int,
    slots: Float32[np.ndarray, "pairs 2"],
) -> None:
    """Walk the tiles of one share as `tile_kernels.blend` does; slots get the sum and the maximum of the weights."""
    columns = (width + TILE - 1) // TILE
    lay_out(state)
    for share in range(len(tiles)):
        tile = tiles[share]
        tile_x, tile_y = (tile % columns) * TILE, (tile // columns) * TILE
        left, top = float32(tile_x), float32(tile_y)
        live = start_tile(state, tile_x, tile_y, width, height)
        for entry in range(tile_starts[tile], tile_starts[tile + 1]):
            rank, slot = np.int64(pairs[entry, 0]), np.int64(pairs[entry, 1])
            if live == NO_BLOCK:
                slots[slot] = ZERO
                continue
            blocks = live & touched_blocks(state, records, rank, left, top)  # type: ignore[call-arg]
            live = weigh_pair(state, records, rank, left, top, blocks, live, slots, slot)
