"""Numba intrinsics: one Gaussian in one tile, block after block, sixteen pixels at once.

A tile of 32 x 32 pixels is 64 blocks of 4 x 4; the blocks that a Gaussian has to do with are the set bits of one 64-bit
integer, bit `row * 8 + column`. The state of a tile lives in scratch memory: for each block some fields of 16 lanes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gatlas.raster.lanes import FLOAT, FLOATS, Lanes, Mask, constant, element, load, splat, sums
from gatlas.raster.projection_kernels import (
    BLUE,
    DEPTH,
    GREEN,
    MX,
    MY,
    OPACITY,
    REACH,
    RECORD_SIZE,
    RED,
    SLOT_COLUMNS,
    SLOT_SIZE,
    TILT,
    Y0,
    Y1,
    U,
    V,
    W,
)

BLOCK = 4  # pixels along the side of a block
LANES = BLOCK * BLOCK
SIDE = 8  # blocks along the side of a tile
BLOCKS = SIDE * SIDE
TILE = BLOCK * SIDE

# Scratch memory of a thread: where the lanes of each column and of each row of blocks lie in the tile, then the blocks.
COLUMN_X = 0
ROW_Y = COLUMN_X + SIDE * LANES
STATE = ROW_Y + SIDE * LANES
FIELDS = 7
BLOCK_SIZE = FIELDS * LANES
SCRATCH_SIZE = STATE + BLOCKS * BLOCK_SIZE
# Fields of a block while a tile is rendered. T < 0 marks a finished pixel: |T| is its transmittance. ENDED is the place
# in the tile's list, from 1, of the Gaussian that finished it.
T, ENDED, ALPHA, F_RED, F_GREEN, F_BLUE, F_DEPTH = range(FIELDS)
# The same while gradients flow back: BEHIND is the gradient to a unit of light behind the current Gaussian, V_... those
# of the loss to the pixel.
BEHIND, V_RED, V_GREEN, V_BLUE, V_DEPTH = range(2, FIELDS)
COUNT = ALPHA  # while Gaussians are counted

HIGHEST_ALPHA = np.float32(0.999)
LOWEST_T = np.float32(1e-4)  # a Gaussian that would leave less light than this is not blended and ends the pixel
HALF = 0.5  # of the light: where it falls to this is the median depth
BOX_MARGIN = 0.01  # pixels, above all rounding: a block too many costs time only

I32 = ir.IntType(32)
I64 = ir.IntType(64)


class _Pair:
    """Emits what the passes have in common: one Gaussian's record, loaded to all lanes, and the blocks of its tile."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, state: ir.Value, records: ir.Value) -> None:
        self.builder = builder
        state_array, records_array = (context.make_array(kind) for kind in signature.args[:2])
        self.state = state_array(context, builder, state).data
        self.records = records_array(context, builder, records).data

    def gaussian(self, rank: ir.Value, tile_x: ir.Value, tile_y: ir.Value) -> None:
        """Load the Gaussian's place in the tile, its whitening and its opacity."""
        self.record = element(self.builder, self.records, self.builder.mul(rank, ir.Constant(I64, RECORD_SIZE)))
        self.mean_x = splat(self.builder, self.builder.fsub(self.scalar(MX), tile_x))
        self.mean_y = splat(self.builder, self.builder.fsub(self.scalar(MY), tile_y))
        self.u, self.v, self.w = self.column(U), self.column(V), self.column(W)
        self.opacity, self.reach = self.column(OPACITY), self.column(REACH)

    def scalar(self, column: int) -> ir.Value:
        return self.builder.load(element(self.builder, self.record, column))

    def column(self, column: int) -> Lanes:
        return splat(self.builder, self.scalar(column))

    def block(self, index: ir.Value) -> ir.Value:
        """Return the pointer to the fields of a block."""
        offset = self.builder.mul(index, ir.Constant(I64, BLOCK_SIZE))
        return element(self.builder, element(self.builder, self.state, STATE), offset)

    def field(self, block: ir.Value, field: int) -> ir.Value:
        return element(self.builder, block, field * LANES)

    def get(self, block: ir.Value, field: int) -> Lanes:
        return load(self.builder, self.field(block, field))

    def falloff(self, index: ir.Value) -> tuple[Lanes, Lanes, Lanes, Mask]:
        """For a block's pixels p, q, opacity 2^-(p^2 + q^2), and where that is at least 1/255."""
        column = self.builder.and_(index, ir.Constant(I64, SIDE - 1))
        row = self.builder.lshr(index, ir.Constant(I64, 3))
        lanes = ir.Constant(I64, LANES)
        xs = element(self.builder, element(self.builder, self.state, COLUMN_X), self.builder.mul(column, lanes))
        ys = element(self.builder, element(self.builder, self.state, ROW_Y), self.builder.mul(row, lanes))
        dx, dy = self.mean_x - load(self.builder, xs), self.mean_y - load(self.builder, ys)
        p, q = self.u * dx + self.v * dy, self.w * dy
        exponent = p * p + q * q
        return p, q, (-exponent).exp2() * self.opacity, exponent <= self.reach


@contextmanager
def _each_bit(builder: ir.IRBuilder, bits: ir.Value) -> Iterator[ir.Value]:
    """Emit a loop over the set bits of a 64-bit integer, from the lowest; what is emitted inside is its body."""
    remaining = cgutils.alloca_once_value(builder, bits)
    head, body, end = (builder.append_basic_block(f"bits.{name}") for name in ("head", "body", "end"))
    builder.branch(head)
    builder.position_at_end(head)
    left = builder.load(remaining)
    builder.cbranch(builder.icmp_unsigned("!=", left, ir.Constant(I64, 0)), body, end)
    builder.position_at_end(body)
    builder.store(builder.and_(left, builder.sub(left, ir.Constant(I64, 1))), remaining)
    yield builder.cttz(left, ir.Constant(ir.IntType(1), 1))
    builder.branch(head)
    builder.position_at_end(end)


class _Sum:
    """Lanes that add up over a loop."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder
        self.place = cgutils.alloca_once(builder, FLOATS)
        builder.store(constant(builder, [0.0] * LANES).value, self.place)

    def add(self, lanes: Lanes) -> None:
        self.builder.store((self.total() + lanes).value, self.place)

    def raise_to(self, lanes: Lanes) -> None:
        """Keep the greater instead."""
        self.builder.store(lanes.max(self.total()).value, self.place)

    def total(self) -> Lanes:
        return Lanes(self.builder, self.builder.load(self.place))


@intrinsic
def touched_blocks(typing_context, state, records, rank, tile_x, tile_y):  # type: ignore[no-untyped-def]
    """The blocks of a tile in which the Gaussian of a rank may reach 1/255; (tile_x, tile_y) is the tile's first pixel.

    For all 8 rows of blocks at once: the stretch of the ellipse p^2 + q^2 = reach between the row's first and last line
    of pixels. Lanes 0 to 7 find its right end, lanes 8 to 15 its left end.
    """

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        state, records, rank, tile_x, tile_y = arguments
        pair = _Pair(context, builder, signature, state, records)
        pair.gaussian(rank, tile_x, tile_y)
        halves = range(2 * SIDE)
        sign = constant(builder, [1.0 if lane < SIDE else -1.0 for lane in halves])
        bottom = pair.mean_y - constant(builder, [BLOCK * (lane % SIDE) + 0.5 for lane in halves])
        top = bottom - (BLOCK - 1.0)
        # The height (mean - pixel) at which the ellipse is widest, moved into the row, gives the row's widest line.
        dy = (pair.column(TILT) * sign).max(top).min(bottom)
        q = pair.w * dy
        left = (pair.reach - q * q).max(0.0)
        root = Lanes(builder, builder.call(_square_root(builder), [left.value]))
        dx = (root * sign - pair.v * dy) / pair.u
        # Pixels from the ceiling of mean - dx (right end: the greatest dx is the leftmost pixel) to the other's floor.
        edge = pair.mean_x - dx - 0.5
        to_int = ir.VectorType(I32, LANES)
        last_start = constant(builder, [float(TILE)] * LANES)
        low = (edge - BOX_MARGIN).max(0.0).min(last_start)
        high = (edge + (1.0 + BOX_MARGIN)).max(0.0).min(last_start)  # one more than the pixel, so that none is 0
        low_int = builder.fptosi(low.value, to_int)
        rounded = Lanes(builder, builder.sitofp(low_int, FLOATS))
        low_int = builder.add(low_int, builder.zext((rounded < low).value, to_int))
        high_int = builder.sub(builder.fptosi(high.value, to_int), _ints([1] * LANES))
        first = builder.ashr(low_int, _ints([2] * LANES))
        stop = builder.add(builder.ashr(high_int, _ints([2] * LANES)), _ints([1] * LANES))
        below_first = builder.sub(builder.shl(_ints([1] * LANES), first), _ints([1] * LANES))
        below_stop = builder.sub(builder.shl(_ints([1] * LANES), stop), _ints([1] * LANES))
        undefined = ir.Constant(to_int, ir.Undefined)
        below_first = builder.shuffle_vector(below_first, undefined, _ints(range(SIDE)))
        below_stop = builder.shuffle_vector(below_stop, undefined, _ints(range(SIDE, 2 * SIDE)))
        columns = builder.and_(below_stop, builder.not_(below_first))
        bits = builder.bitcast(builder.trunc(columns, ir.VectorType(ir.IntType(8), SIDE)), I64)
        return builder.and_(bits, _rows(builder, pair, tile_y))

    float32, uint64 = types.float32, types.uint64
    return uint64(state, records, types.int64, float32, float32), code


def _rows(builder: ir.IRBuilder, pair: _Pair, tile_y: ir.Value) -> ir.Value:
    """All blocks of the rows that the Gaussian's box touches."""
    zero, last = ir.Constant(I64, 0), ir.Constant(I64, TILE - 1)
    y0 = builder.fptosi(builder.fsub(pair.scalar(Y0), tile_y), I64)
    y1 = builder.fptosi(builder.fsub(pair.scalar(Y1), tile_y), I64)
    y0 = builder.select(builder.icmp_signed("<", y0, zero), zero, y0)
    y1 = builder.select(builder.icmp_signed(">", y1, last), last, y1)
    # A row of blocks is 8 bits and 4 pixels: its first bit is twice its first pixel.
    low = builder.shl(builder.and_(y0, ir.Constant(I64, ~3)), ir.Constant(I64, 1))
    high = builder.sub(ir.Constant(I64, 56), builder.shl(builder.and_(y1, ir.Constant(I64, ~3)), ir.Constant(I64, 1)))
    every = ir.Constant(I64, -1)
    return builder.and_(builder.shl(every, low), builder.lshr(every, high))


def _ints(values: Any) -> ir.Constant:
    items = [ir.Constant(I32, value) for value in values]
    return ir.Constant(ir.VectorType(I32, len(items)), items)


def _square_root(builder: ir.IRBuilder) -> ir.Function:
    kind = ir.FunctionType(FLOATS, [FLOATS])
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{LANES}f32")


@intrinsic
def blend_pair(typing_context, state, records, rank, tile_x, tile_y, nearest, place, blocks, live):  # type: ignore[no-untyped-def]
    """Blend a Gaussian into `blocks`: where it left light, and which blocks still have unfinished pixels."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        state, records, rank, tile_x, tile_y, nearest, place, blocks, live = arguments
        pair = _Pair(context, builder, signature, state, records)
        pair.gaussian(rank, tile_x, tile_y)
        colors = [pair.column(column) for column in (RED, GREEN, BLUE)]
        colors.append(splat(builder, builder.fsub(pair.scalar(DEPTH), nearest)))
        light = _Light(builder, live)
        with _each_bit(builder, blocks) as index:
            block = pair.block(index)
            weight = light.block(pair, index, block, place)
            (pair.get(block, ALPHA) + weight).store(pair.field(block, ALPHA))
            for field, color in zip((F_RED, F_GREEN, F_BLUE, F_DEPTH), colors, strict=True):
                (pair.get(block, field) + weight * color).store(pair.field(block, field))
        return context.make_tuple(builder, signature.return_type, light.bits())

    float32, uint64 = types.float32, types.uint64
    arguments = (state, records, types.int64, float32, float32, float32, float32, uint64, uint64)
    return types.UniTuple(uint64, 2)(*arguments), code


class _Light:
    """Emits how a Gaussian takes light from a block; collects which blocks it touched and which are not finished."""

    def __init__(self, builder: ir.IRBuilder, live: ir.Value) -> None:
        self.builder = builder
        self.hits = cgutils.alloca_once_value(builder, ir.Constant(I64, 0))
        self.live = cgutils.alloca_once_value(builder, live)

    def block(self, pair: _Pair, index: ir.Value, block: ir.Value, place: ir.Value) -> Lanes:
        """Update T and ENDED; the blending weights of the pixels.

        Nothing here is a branch: pixels finish in so many blocks that mispredictions cost more than what they skip.
        """
        builder = self.builder
        _, _, raw, near = pair.falloff(index)
        alpha = near.choose(raw.min(float(HIGHEST_ALPHA)), 0.0)
        light = pair.get(block, T)
        left = light - light * alpha
        blended = left > float(LOWEST_T)
        weight = blended.choose(light * alpha, 0.0)
        ending = (light > 0.0) & ~blended
        ended = ending.choose(splat(builder, place), pair.get(block, ENDED))
        ended.store(pair.field(block, ENDED))
        kept = blended.choose(left, -light.abs())
        kept.store(pair.field(block, T))
        bit = builder.shl(builder.zext((near & blended).any(), I64), index)
        builder.store(builder.or_(builder.load(self.hits), bit), self.hits)
        done = builder.not_((kept > 0.0).any())
        finished = builder.shl(builder.zext(done, I64), index)
        builder.store(builder.and_(builder.load(self.live), builder.not_(finished)), self.live)
        return weight

    def bits(self) -> tuple[ir.Value, ir.Value]:
        return self.builder.load(self.hits), self.builder.load(self.live)


@intrinsic
def weigh_pair(typing_context, state, records, rank, tile_x, tile_y, blocks, live, slots, slot):  # type: ignore[no-untyped-def]
    """As `blend_pair`, but the sum and the maximum of the weights go to the columns 0 and 1 of a slot."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        state, records, rank, tile_x, tile_y, blocks, live, slots, slot = arguments
        pair = _Pair(context, builder, signature, state, records)
        pair.gaussian(rank, tile_x, tile_y)
        light, total, highest = _Light(builder, live), _Sum(builder), _Sum(builder)
        with _each_bit(builder, blocks) as index:
            weight = light.block(pair, index, pair.block(index), ir.Constant(FLOAT, 0.0))
            total.add(weight)
            highest.raise_to(weight)
        top = highest.total()
        for step in (8, 4, 2, 1):
            top = top.max(top.shuffled(top, [(lane + step) % LANES for lane in range(LANES)]))
        place = context.make_array(signature.args[7])(context, builder, slots).data
        place = element(builder, place, builder.mul(slot, ir.Constant(I64, 2)))
        zero = ir.Constant(I32, 0)
        builder.store(builder.extract_element(sums([total.total()]).value, zero), element(builder, place, 0))
        builder.store(builder.extract_element(top.value, zero), element(builder, place, 1))
        return builder.load(light.live)

    float32, uint64, int64 = types.float32, types.uint64, types.int64
    return uint64(state, records, int64, float32, float32, uint64, uint64, slots, int64), code


@intrinsic
def count_pair(typing_context, state, records, rank, tile_x, tile_y, blocks, live):  # type: ignore[no-untyped-def]
    """As `blend_pair`, but it only counts, in COUNT, the Gaussians that are blended in each pixel."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        state, records, rank, tile_x, tile_y, blocks, live = arguments
        pair = _Pair(context, builder, signature, state, records)
        pair.gaussian(rank, tile_x, tile_y)
        light = _Light(builder, live)
        one = constant(builder, [1.0] * LANES)
        with _each_bit(builder, blocks) as index:
            block = pair.block(index)
            weight = light.block(pair, index, block, ir.Constant(FLOAT, 0.0))
            (pair.get(block, COUNT) + (weight > 0.0).choose(one, 0.0)).store(pair.field(block, COUNT))
        return builder.load(light.live)

    float32, uint64 = types.float32, types.uint64
    return uint64(state, records, types.int64, float32, float32, uint64, uint64), code


@intrinsic
def halve_pair(typing_context, state, records, rank, tile_x, tile_y, blocks, live):  # type: ignore[no-untyped-def]
    """As `blend_pair`, but the depth of a pixel becomes the Gaussian's where it takes the light to a half or below.

    Returns which blocks have pixels with more light than that.
    """

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        state, records, rank, tile_x, tile_y, blocks, live = arguments
        pair = _Pair(context, builder, signature, state, records)
        pair.gaussian(rank, tile_x, tile_y)
        depth = pair.column(DEPTH)
        remaining = cgutils.alloca_once_value(builder, live)
        with _each_bit(builder, blocks) as index:
            block = pair.block(index)
            _, _, raw, near = pair.falloff(index)
            alpha = near.choose(raw.min(float(HIGHEST_ALPHA)), 0.0)
            light = pair.get(block, T)
            left = light - light * alpha
            halved = (light > HALF) & (left <= HALF)
            halved.choose(depth, pair.get(block, F_DEPTH)).store(pair.field(block, F_DEPTH))
            left.store(pair.field(block, T))
            done = builder.shl(builder.zext(builder.not_((left > HALF).any()), I64), index)
            builder.store(builder.and_(builder.load(remaining), builder.not_(done)), remaining)
        return builder.load(remaining)

    float32, uint64 = types.float32, types.uint64
    return uint64(state, records, types.int64, float32, float32, uint64, uint64), code


@intrinsic
def blend_pair_backward(  # type: ignore[no-untyped-def]
    typing_context, state, records, rank, tile_x, tile_y, nearest, place, blocks, slots, slot, absolute
):
    """Take a Gaussian, the hindmost that is left, out of `blocks`, and write the sums of its gradients to its slot.

    Where `absolute` is not None the slot gets the sums of the absolute gradients too.
    """
    with_absolute = not isinstance(absolute, types.NoneType)

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        state, records, rank, tile_x, tile_y, nearest, place, blocks, slots, slot, _ = arguments
        pair = _Pair(context, builder, signature, state, records)
        pair.gaussian(rank, tile_x, tile_y)
        colors = [pair.column(column) for column in (RED, GREEN, BLUE)]
        colors.append(splat(builder, builder.fsub(pair.scalar(DEPTH), nearest)))
        number = splat(builder, place)
        totals = [_Sum(builder) for _ in range(SLOT_COLUMNS + 2 * with_absolute)]
        with _each_bit(builder, blocks) as index:
            block = pair.block(index)
            p, q, raw, near = pair.falloff(index)
            near = near & (number < pair.get(block, ENDED))
            alpha = near.choose(raw.min(float(HIGHEST_ALPHA)), 0.0)
            gradients = [pair.get(block, field) for field in (V_RED, V_GREEN, V_BLUE, V_DEPTH)]
            seen = colors[0] * gradients[0]
            for color, gradient in zip(colors[1:], gradients[1:], strict=True):
                seen = seen + color * gradient
            behind = pair.get(block, BEHIND)
            contrast = seen - behind
            light = pair.get(block, T) / (1.0 - alpha)
            weight = alpha * light
            light.store(pair.field(block, T))
            (behind + alpha * contrast).store(pair.field(block, BEHIND))
            # The gradient to sigma is -alpha v_alpha with v_alpha = light * contrast; a clamped alpha has none.
            s = (raw <= float(HIGHEST_ALPHA)).choose(-(weight * contrast), 0.0)
            sp, sq = s * p, s * q
            terms = [weight * gradient for gradient in gradients] + [s, sp, sq, sp * p, sp * q, sq * q]
            if with_absolute:  # mean2d's is (u p, v p + w q) s
                terms += [(pair.u * sp).abs(), (pair.v * sp + pair.w * sq).abs()]
            for total, term in zip(totals, terms, strict=True):
                total.add(term)
        place = context.make_array(signature.args[8])(context, builder, slots).data
        place = element(builder, place, builder.mul(slot, ir.Constant(I64, SLOT_SIZE)))
        sums([total.total() for total in totals]).store(place)
        return context.get_dummy_value()

    float32, uint64, int64 = types.float32, types.uint64, types.int64
    arguments = (state, records, int64, float32, float32, float32, float32, uint64, slots, int64, absolute)
    return types.void(*arguments), code
