"""Numba kernels: blend 2D Gaussians into the picture, tile by tile, and the gradients back.

A tile of 32 x 32 pixels is 64 blocks of 4 x 4; a block is 16 lanes, so that every inner loop has a constant trip count
and compiles to vector code. One thread handles a list of tiles. Each pair of a Gaussian and a tile owns one gradient
slot, so no two threads write to one place and the result does not depend on their number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import float32, int32, njit

from gatlas.raster.projection_kernels import (
    BLUE,
    DEPTH,
    GREEN,
    MIN_ALPHA,
    MX,
    MY,
    OPACITY,
    RED,
    SLOT_SIZE,
    X0,
    X1,
    Y0,
    Y1,
    U,
    V,
    W,
)

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32, Int64

BLOCK = 4  # pixels along the side of a block
LANES = BLOCK * BLOCK
SIDE = 8  # blocks along the side of a tile
BLOCKS = SIDE * SIDE
TILE = BLOCK * SIDE
LIVE_CHECK = 16  # Gaussians between two looks at which blocks are finished

# Scratch memory of a thread, flat: field after field, in a field block after block, in a block lane after lane. Offsets
# are unsigned constants, from which LLVM can prove that the lanes are independent (a negative index would wrap around);
# the block that no tile has keeps the fields of one block from sharing a cache set.
FIELD = (BLOCKS + 1) * LANES
# Fields while a tile is rendered. T < 0 marks a finished pixel: |T| is its transmittance.
F_T, F_ALPHA, F_RED, F_GREEN, F_BLUE, F_DEPTH, F_LAST = (np.uint64(FIELD * k) for k in range(7))
# Fields while gradients flow back. BEHIND is what lies behind the current Gaussian; V_... are gradients of the loss.
B_T, B_BEHIND, B_V_RED, B_V_GREEN, B_V_BLUE, B_V_DEPTH, B_LAST = (np.uint64(FIELD * k) for k in range(7))
SCRATCH_SIZE = FIELD * 7
# Sums over the blocks, lane by lane, of the columns of one gradient slot, in the slot's order.
SUM_RED, SUM_GREEN, SUM_BLUE, SUM_DEPTH, SUM_S, SUM_P, SUM_Q, SUM_PP, SUM_PQ, SUM_QQ = (
    np.uint64(LANES * k) for k in range(SLOT_SIZE)
)

LOWEST_ALPHA = np.float32(MIN_ALPHA)
HIGHEST_ALPHA = np.float32(0.999)
LOWEST_T = np.float32(1e-4)  # a Gaussian that would leave less light than this is not blended and ends the pixel
ONE = np.float32(1.0)
ZERO = np.float32(0.0)
HALF = np.float32(0.5)
_LOWEST_EXPONENT = np.float32(-126.0)
# 2^x on [-1/2, 1/2]: the polynomial through the Chebyshev nodes, whose error is below that of rounding.
_C1, _C2, _C3 = np.float32(0.693147207), np.float32(0.240226509), np.float32(0.0555032723)
_C4, _C5, _C6 = np.float32(0.00961805668), np.float32(0.00134004282), np.float32(0.000154614447)

# No re-association: every sum has one order. Fused multiply-adds are allowed.
FAST = {"contract", "nsz", "arcp"}


@njit(nogil=True, fastmath=FAST)
def exp2(x):  # type: ignore[no-untyped-def]
    """2^x for x <= 0, relative error about 1e-7; below -126 it stays at 2^-126."""
    x = x if x > _LOWEST_EXPONENT else _LOWEST_EXPONENT
    whole = int32(x - HALF)  # truncation rounds to the nearest integer, as x <= 0
    f = x - float32(whole)
    value = ONE + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * (_C5 + f * _C6)))))
    return value * np.int32((whole + int32(127)) << int32(23)).view(np.float32)


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
    last: Float32[np.ndarray, "h w"],
    transmittances: Float32[np.ndarray, "h w"],
) -> None:
    """Render the tiles of one share, front to back.

    `last` is the place in its tile's list, from 1, of the last Gaussian that a pixel blended; 0 where there is none.
    It is a float like all lanes, exact for lists of up to 2^24.
    """
    height, width = alphas.shape
    columns = (width + TILE - 1) // TILE
    live = np.empty(BLOCKS, dtype=np.bool_)
    for share in range(len(tiles)):
        tile = tiles[share]
        tile_x, tile_y = (tile % columns) * TILE, (tile // columns) * TILE
        first, stop = tile_starts[tile], tile_starts[tile + 1]
        nearest = _nearest_depth(records, pairs, first, stop)
        state[:] = ZERO
        for block in range(BLOCKS):
            x, y = tile_x + (block % SIDE) * BLOCK, tile_y + (block // SIDE) * BLOCK
            live[block] = x < width and y < height
            for lane in range(LANES):
                inside = x + (lane & 3) < width and y + (lane >> 2) < height
                state[F_T + np.uint64(block * LANES + lane)] = ONE if inside else -ONE
        for entry in range(first, stop):
            place = entry - first
            if place > 0 and place % LIVE_CHECK == 0 and not any_live(state, live):
                break
            record = records[pairs[entry, 0]]
            u, v, w, opacity = record[U], record[V], record[W], record[OPACITY]
            red, green, blue, depth = record[RED], record[GREEN], record[BLUE], record[DEPTH] - nearest
            number = float32(place + 1)
            bx0, bx1 = max(0, int(record[X0]) - tile_x) // BLOCK, min(TILE - 1, int(record[X1]) - tile_x) // BLOCK
            by0, by1 = max(0, int(record[Y0]) - tile_y) // BLOCK, min(TILE - 1, int(record[Y1]) - tile_y) // BLOCK
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
                        state[F_ALPHA + i] += weight
                        state[F_RED + i] += weight * red
                        state[F_GREEN + i] += weight * green
                        state[F_BLUE + i] += weight * blue
                        state[F_DEPTH + i] += weight * depth
                        state[F_LAST + i] = number if weight > ZERO else state[F_LAST + i]
        for block in range(BLOCKS):
            x, y = tile_x + (block % SIDE) * BLOCK, tile_y + (block // SIDE) * BLOCK
            for row in range(y, min(y + BLOCK, height)):
                for column in range(x, min(x + BLOCK, width)):
                    lane = (row - y) * BLOCK + column - x
                    i = np.uint64(block * LANES + lane)
                    T = abs(state[F_T + i])
                    alpha = state[F_ALPHA + i]  # more exact than 1 - T where it is small
                    colors[row, column, 0] = state[F_RED + i] + T * background[0]
                    colors[row, column, 1] = state[F_GREEN + i] + T * background[1]
                    colors[row, column, 2] = state[F_BLUE + i] + T * background[2]
                    alphas[row, column] = alpha
                    depths[row, column] = nearest + state[F_DEPTH + i] / alpha if alpha > ZERO else ZERO
                    last[row, column] = state[F_LAST + i]
                    transmittances[row, column] = T


@njit(nogil=True)
def any_live(state, live):  # type: ignore[no-untyped-def]
    """Whether a pixel of the tile is unfinished; blocks without one leave `live`."""
    found = False
    for block in range(BLOCKS):
        if live[block]:
            unfinished = 0
            for lane in range(LANES):
                unfinished += state[F_T + np.uint64(block * LANES + lane)] > ZERO
            live[block] = unfinished > 0
            found |= unfinished > 0
    return found


@njit(nogil=True, fastmath=True)
def sum_lanes(sums, start):  # type: ignore[no-untyped-def]
    total = ZERO
    for lane in range(LANES):
        total += sums[start + lane]
    return total


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
    last: Float32[np.ndarray, "h w"],
    transmittances: Float32[np.ndarray, "h w"],
    v_colors: Float32[np.ndarray, "h w 3"],
    v_alphas: Float32[np.ndarray, "h w"],
    v_depths: Float32[np.ndarray, "h w"],
    slots: Float32[np.ndarray, "pairs 10"],
) -> None:
    """Fill the slots of the tiles of one share, back to front, from the gradients of the pictures."""
    height, width = last.shape
    columns = (width + TILE - 1) // TILE
    sums = np.empty(SLOT_SIZE * LANES, dtype=np.float32)
    block_last = np.empty(BLOCKS, dtype=np.int64)
    for share in range(len(tiles)):
        tile = tiles[share]
        tile_x, tile_y = (tile % columns) * TILE, (tile // columns) * TILE
        first, stop = tile_starts[tile], tile_starts[tile + 1]
        nearest = _nearest_depth(records, pairs, first, stop)
        state[:] = ZERO
        tile_last = 0
        for block in range(BLOCKS):
            x, y = tile_x + (block % SIDE) * BLOCK, tile_y + (block // SIDE) * BLOCK
            block_last[block] = 0
            for row in range(y, min(y + BLOCK, height)):
                for column in range(x, min(x + BLOCK, width)):
                    lane = (row - y) * BLOCK + column - x
                    i = np.uint64(block * LANES + lane)
                    T = transmittances[row, column]
                    alpha = alphas[row, column]
                    v_red, v_green, v_blue = (
                        v_colors[row, column, 0],
                        v_colors[row, column, 1],
                        v_colors[row, column, 2],
                    )
                    v_alpha = v_alphas[row, column]
                    if alpha > ZERO:  # depth = sum / alpha
                        v_depth = v_depths[row, column] / alpha
                        state[B_V_DEPTH + i] = v_depth
                        v_alpha -= v_depth * (depths[row, column] - nearest)
                    state[B_T + i] = T
                    state[B_V_RED + i] = v_red
                    state[B_V_GREEN + i] = v_green
                    state[B_V_BLUE + i] = v_blue
                    state[B_BEHIND + i] = T * (
                        background[0] * v_red + background[1] * v_green + background[2] * v_blue - v_alpha
                    )
                    state[B_LAST + i] = last[row, column]
                    block_last[block] = max(block_last[block], int(last[row, column]))
            tile_last = max(tile_last, block_last[block])
        for entry in range(first + tile_last, stop):
            slots[pairs[entry, 1]] = ZERO
        for place in range(tile_last - 1, -1, -1):
            entry = first + place
            record = records[pairs[entry, 0]]
            u, v, w, opacity = record[U], record[V], record[W], record[OPACITY]
            red, green, blue, depth = record[RED], record[GREEN], record[BLUE], record[DEPTH] - nearest
            number = float32(place + 1)
            bx0, bx1 = max(0, int(record[X0]) - tile_x) // BLOCK, min(TILE - 1, int(record[X1]) - tile_x) // BLOCK
            by0, by1 = max(0, int(record[Y0]) - tile_y) // BLOCK, min(TILE - 1, int(record[Y1]) - tile_y) // BLOCK
            sums[:] = ZERO
            for by in range(by0, by1 + 1):
                dy0 = record[MY] - float32(tile_y + by * BLOCK) - HALF
                for bx in range(bx0, bx1 + 1):
                    block = by * SIDE + bx
                    if place >= block_last[block]:
                        continue
                    dx0 = record[MX] - float32(tile_x + bx * BLOCK) - HALF
                    base = np.uint64(block * LANES)
                    for lane in range(LANES):
                        j = np.uint64(lane)
                        i = base + j
                        dx = dx0 - float32(int32(lane) & int32(3))
                        dy = dy0 - float32(int32(lane) >> int32(2))
                        p = u * dx + v * dy
                        q = w * dy
                        raw = opacity * exp2(-(p * p + q * q))
                        alpha = raw if raw < HIGHEST_ALPHA else HIGHEST_ALPHA
                        alpha = alpha if alpha >= LOWEST_ALPHA else ZERO
                        alpha = alpha if number <= state[B_LAST + i] else ZERO
                        v_red, v_green = state[B_V_RED + i], state[B_V_GREEN + i]
                        v_blue, v_depth = state[B_V_BLUE + i], state[B_V_DEPTH + i]
                        behind = state[B_BEHIND + i]
                        inverse = ONE / (ONE - alpha)
                        T = state[B_T + i] * inverse
                        weight = alpha * T
                        seen = red * v_red + green * v_green + blue * v_blue + depth * v_depth
                        v_alpha = seen * T - inverse * behind
                        state[B_T + i] = T
                        state[B_BEHIND + i] = behind + seen * weight
                        s = -alpha * v_alpha if raw <= HIGHEST_ALPHA else ZERO  # a clamped alpha has no gradient
                        sp, sq = s * p, s * q
                        sums[SUM_RED + j] += weight * v_red
                        sums[SUM_GREEN + j] += weight * v_green
                        sums[SUM_BLUE + j] += weight * v_blue
                        sums[SUM_DEPTH + j] += weight * v_depth
                        sums[SUM_S + j] += s
                        sums[SUM_P + j] += sp
                        sums[SUM_Q + j] += sq
                        sums[SUM_PP + j] += sp * p
                        sums[SUM_PQ + j] += sp * q
                        sums[SUM_QQ + j] += sq * q
            slot = slots[pairs[entry, 1]]
            for k in range(SLOT_SIZE):
                slot[k] = sum_lanes(sums, k * LANES)
