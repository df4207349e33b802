"""Numba kernel: with how much weight each Gaussian is blended, for ranking them by visibility.

numba recompiles a cached kernel when its own file changes, not when a file that it imports from does: after an edit of
`tile_kernels` or `projection_kernels`, touch this file as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import float32, int32, njit

from gatlas.raster.projection_kernels import MX, MY, OPACITY, X0, X1, Y0, Y1, U, V, W
from gatlas.raster.tile_kernels import (
    BLOCK,
    BLOCKS,
    F_T,
    FAST,
    HALF,
    HIGHEST_ALPHA,
    LANES,
    LIVE_CHECK,
    LOWEST_ALPHA,
    LOWEST_T,
    ONE,
    SIDE,
    TILE,
    ZERO,
    any_live,
    exp2,
)

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32, Int64

WEIGHT_SUM, WEIGHT_MAX = range(2)


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
    """Walk the tiles of one share as `tile_kernels.blend` does, and fill each slot with the sum and maximum weight."""
    columns = (width + TILE - 1) // TILE
    live = np.empty(BLOCKS, dtype=np.bool_)
    sums = np.empty(LANES, dtype=np.float32)
    highest = np.empty(LANES, dtype=np.float32)
    for share in range(len(tiles)):
        tile = tiles[share]
        tile_x, tile_y = (tile % columns) * TILE, (tile // columns) * TILE
        for block in range(BLOCKS):
            x, y = tile_x + (block % SIDE) * BLOCK, tile_y + (block // SIDE) * BLOCK
            live[block] = x < width and y < height
            for lane in range(LANES):
                inside = x + (lane & 3) < width and y + (lane >> 2) < height
                state[F_T + np.uint64(block * LANES + lane)] = ONE if inside else -ONE
        first, stop = tile_starts[tile], tile_starts[tile + 1]
        for entry in range(first, stop):
            slots[pairs[entry, 1]] = ZERO
        for entry in range(first, stop):
            place = entry - first
            if place > 0 and place % LIVE_CHECK == 0 and not any_live(state, live):
                break
            record = records[pairs[entry, 0]]
            u, v, w, opacity = record[U], record[V], record[W], record[OPACITY]
            bx0, bx1 = max(0, int(record[X0]) - tile_x) // BLOCK, min(TILE - 1, int(record[X1]) - tile_x) // BLOCK
            by0, by1 = max(0, int(record[Y0]) - tile_y) // BLOCK, min(TILE - 1, int(record[Y1]) - tile_y) // BLOCK
            sums[:] = ZERO
            highest[:] = ZERO
            for by in range(by0, by1 + 1):
                dy0 = record[MY] - float32(tile_y + by * BLOCK) - HALF
                for bx in range(bx0, bx1 + 1):
                    block = by * SIDE + bx
                    if not live[block]:
                        continue
                    dx0 = record[MX] - float32(tile_x + bx * BLOCK) - HALF
                    base = np.uint64(block * LANES)
                    for lane in range(LANES):
                        i = base + np.uint64(lane)
                        dx = dx0 - float32(int32(lane) & int32(3))
                        dy = dy0 - float32(int32(lane) >> int32(2))
                        p = u * dx + v * dy
                        q = w * dy
                        raw = opacity * exp2(-(p * p + q * q))
                        alpha = raw if raw < HIGHEST_ALPHA else HIGHEST_ALPHA
                        alpha = alpha if alpha >= LOWEST_ALPHA else ZERO
                        T = state[F_T + i]
                        next_T = T - T * alpha
                        blended = next_T > LOWEST_T
                        weight = alpha * T if blended else ZERO
                        state[F_T + i] = next_T if blended else -abs(T)
                        sums[lane] += weight
                        highest[lane] = weight if weight > highest[lane] else highest[lane]
            total = ZERO
            top = ZERO
            for lane in range(LANES):
                total += sums[lane]
                top = max(top, highest[lane])
            slots[pairs[entry, 1], WEIGHT_SUM] = total
            slots[pairs[entry, 1], WEIGHT_MAX] = top
