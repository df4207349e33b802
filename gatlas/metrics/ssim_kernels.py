"""Numba kernels: structural similarity of two pictures and its gradient to the first, with 11 x 11 Gaussian windows.

Pictures are padded with black and flattened to rows of width x 3 floats, so that a step of one pixel is a shift by 3.
Values are kept less SHIFT, which leaves variances as they are and costs them fewer digits.
Every inner loop runs over CHUNK floats and compiles to vector code; windows add up in registers. One thread handles a
range of rows. After an edit of `lanes`, touch this file: see `tile_kernels`.

Where both pictures are equal throughout a window, the similarity is 1 and its gradient 0, as it has its maximum there.
Such stretches are left out: around an object on a plain background that is most of a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from gatlas.jit import njit
from gatlas.raster.lanes import COUNT, UNALIGNED, Lanes, constant, element, load

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

TAPS = 11
SIGMA = 1.5  # pixels
RADIUS = TAPS // 2
CHANNELS = 3
C1 = np.float32(0.01**2)  # Wang et al. 2004, for values in [0, 1]
C2 = np.float32(0.03**2)

SHIFT = np.float32(0.5)

CHUNK = 64
REACH = (TAPS - 1) * CHANNELS  # floats of a padded row that an output needs beyond its own
# Planes of the scratch memory: moments of the window, then the derivatives of the similarity to the first three.
A, B, AA, BB, AB = (np.uint64(CHUNK * k) for k in range(5))
MOMENTS = 5
D_A, D_AA, D_AB = range(3)
DERIVATIVES = 3

_window = np.exp(-0.5 * ((np.arange(TAPS) - RADIUS) / SIGMA) ** 2)
WINDOW = (_window / _window.sum()).astype(np.float32)

ZERO = np.float32(0.0)
_TWO = np.float32(2.0)
_FAST = {"contract", "nsz", "arcp"}


def row_stride(width: int) -> int:
    """Floats in a padded row: whole chunks, and one more for the window's reach."""
    return (-(-width * CHANNELS // CHUNK) + 1) * CHUNK


@intrinsic
def _blur(typing_context, target, to, source, start, step):  # type: ignore[no-untyped-def]
    """Weigh eleven stretches of CHUNK floats of `source`, `step` apart from `start`, into `target[to:]`."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        target, to, source, start, step = arguments
        target, source = (
            element(builder, context.make_array(kind)(context, builder, array).data, first)
            for kind, array, first in ((signature.args[0], target, to), (signature.args[2], source, start))
        )
        for lanes in range(0, CHUNK, COUNT):
            taps = _taps(builder, element(builder, source, lanes), step)
            total = next(taps) * float(WINDOW[0])
            for weight, values in zip(WINDOW[1:], taps, strict=True):
                total = total + values * float(weight)
            total.store(element(builder, target, lanes), UNALIGNED)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), code


@intrinsic
def _weigh_columns(typing_context, columns, to, plane, first, second, start, stride):  # type: ignore[no-untyped-def]
    """Weigh eleven rows of CHUNK floats from `start` of both pictures, and of their products, into `columns[to:]`.

    The moments are `plane` floats apart.
    """

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        columns, to, plane, first, second, start, stride = arguments
        target, first, second = (
            element(builder, context.make_array(kind)(context, builder, array).data, begin)
            for kind, array, begin in (
                (signature.args[0], columns, to),
                (signature.args[3], first, start),
                (signature.args[4], second, start),
            )
        )
        for lanes in range(0, CHUNK, COUNT):
            totals = [constant(builder, [0.0] * COUNT)] * MOMENTS
            pictures = (_taps(builder, element(builder, picture, lanes), stride) for picture in (first, second))
            for weight, a, b in zip(WINDOW, *pictures, strict=True):
                weighted_a, weighted_b = a * float(weight), b * float(weight)
                terms = (weighted_a, weighted_b, weighted_a * a, weighted_b * b, weighted_a * b)
                totals = [total + term for total, term in zip(totals, terms, strict=True)]
            for moment, total in enumerate(totals):
                offset = builder.mul(plane, ir.Constant(ir.IntType(64), moment))
                total.store(element(builder, element(builder, target, offset), lanes), UNALIGNED)
        return context.get_dummy_value()

    int64 = types.int64
    return types.void(columns, int64, int64, first, second, int64, int64), code


@intrinsic
def _keep(typing_context, target, to, source, start):  # type: ignore[no-untyped-def]
    """Write CHUNK floats of `source[start:]` to `target[to:]`."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        target, to, source, start = arguments
        target, source = (
            element(builder, context.make_array(kind)(context, builder, array).data, first)
            for kind, array, first in ((signature.args[0], target, to), (signature.args[2], source, start))
        )
        for lanes in range(0, CHUNK, COUNT):
            load(builder, element(builder, source, lanes), UNALIGNED).store(element(builder, target, lanes), UNALIGNED)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), code


@intrinsic
def _add(typing_context, sums, values):  # type: ignore[no-untyped-def]
    """Add the first CHUNK floats of `values` to `sums`."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        sums, values = (
            context.make_array(kind)(context, builder, array).data
            for kind, array in zip(signature.args, arguments, strict=True)
        )
        for lanes in range(0, CHUNK, COUNT):
            place = element(builder, sums, lanes)
            (load(builder, place, UNALIGNED) + load(builder, element(builder, values, lanes), UNALIGNED)).store(
                place, UNALIGNED
            )
        return context.get_dummy_value()

    return types.void(sums, values), code


def _taps(builder: ir.IRBuilder, source: ir.Value, step: ir.Value) -> Iterator[Lanes]:
    for tap in range(TAPS):
        offset = builder.mul(step, ir.Constant(ir.IntType(64), tap))
        yield load(builder, element(builder, source, offset), UNALIGNED)


@njit(nogil=True)
def _unequal(a, b, start, count):  # type: ignore[no-untyped-def]
    """The number of `count` floats from `start` of two rows that differ."""
    found = np.int32(0)
    for x in range(np.uint64(start), np.uint64(start + count)):
        found += np.int32(a[x] != b[x])
    return found


@njit(cache=True, nogil=True)
def differ(
    start: int,
    stop: int,
    a: Float32[np.ndarray, "h floats"],
    b: Float32[np.ndarray, "h floats"],
    unequal: Int64[np.ndarray, "h 2"],
    absolute: Float64[np.ndarray, " h"],
    squared: Float64[np.ndarray, " h"],
) -> None:
    """Compare the rows [start, stop) of two pictures.

    `unequal` are the first float of a row that differs, and one more than the last; 0 and 0 where none does.
    `absolute` are the rows' sums of absolute differences, `squared` of squared ones.
    """
    floats = a.shape[1]
    sums = np.empty(CHUNK, dtype=np.float64)
    squares = np.empty(CHUNK, dtype=np.float64)
    for y in range(start, stop):
        row_a, row_b = a[y], b[y]
        low, high = 0, floats
        while low + CHUNK <= floats and _unequal(row_a, row_b, low, CHUNK) == 0:
            low += CHUNK
        while low < floats and row_a[low] == row_b[low]:
            low += 1
        while high - CHUNK >= low and _unequal(row_a, row_b, high - CHUNK, CHUNK) == 0:
            high -= CHUNK
        while high > low and row_a[high - 1] == row_b[high - 1]:
            high -= 1
        unequal[y, 0], unequal[y, 1] = (low, high) if high > low else (0, 0)
        sums[:] = 0.0
        squares[:] = 0.0
        for x in range(low, high, CHUNK):
            begin = np.uint64(x)
            for k in range(np.uint64(min(CHUNK, high - x))):
                difference = np.float64(row_a[begin + k]) - np.float64(row_b[begin + k])
                sums[k] += abs(difference)
                squares[k] += difference * difference
        absolute[y], squared[y] = sums.sum(), squares.sum()


@njit(cache=True, nogil=True)
def pad(
    start: int,
    stop: int,
    left: int,
    right: int,
    stride: int,
    a: Float32[np.ndarray, "h floats"],
    b: Float32[np.ndarray, "h floats"],
    first: Float32[np.ndarray, " padded"],
    second: Float32[np.ndarray, " padded"],
) -> None:
    """Write both pictures, less SHIFT, inside a black border: rows [start, stop) and floats [left, right) of each.

    Rows and floats are counted in the padded pictures; what is outside is not written.
    """
    height, floats = a.shape
    border = RADIUS * CHANNELS
    for row in range(start, stop):
        y = row - RADIUS
        inside = 0 <= y < height
        low = min(max(left, border), right) if inside else right
        high = max(min(right, border + floats), low)
        for picture in (first, second):
            picture[row * stride + left : row * stride + low] = -SHIFT
            picture[row * stride + high : row * stride + right] = -SHIFT
        if low < high:
            row_a, row_b = a[y], b[y]
            source, to = np.uint64(low - border), np.uint64(row * stride + low)
            for x in range(np.uint64(high - low)):
                first[to + x] = row_a[source + x] - SHIFT
                second[to + x] = row_b[source + x] - SHIFT


def within_reach(low: int, high: int, floats: int) -> tuple[int, int]:
    """The first float, and one more than the last, of the chunks of a row whose windows meet a stretch of it."""
    low = max(0, low - RADIUS * CHANNELS) // CHUNK * CHUNK
    high = min(floats, -(-(high + RADIUS * CHANNELS) // CHUNK) * CHUNK)
    return low, high


_within_reach = njit(nogil=True)(within_reach)


@njit(nogil=True)
def _chunks_within_reach(stretches, y, floats):  # type: ignore[no-untyped-def]
    """The first float, and one more than the last, of the chunks of a row whose windows meet the stretches."""
    low, high = floats, 0
    for row in range(max(0, y - RADIUS), min(len(stretches), y + RADIUS + 1)):
        if stretches[row, 1] > 0:
            low, high = min(low, stretches[row, 0]), max(high, stretches[row, 1])
    return _within_reach(low, high, floats) if high > low else (0, 0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def similarity(
    start: int,
    stop: int,
    width: int,
    stride: int,
    first: Float32[np.ndarray, " padded"],
    second: Float32[np.ndarray, " padded"],
    unequal: Int64[np.ndarray, "h 2"],
    left: int,
    right: int,
    with_derivatives: bool,
    derivatives: Float32[np.ndarray, " three_padded"],
    reached: Int64[np.ndarray, "h 2"],
    totals: Float64[np.ndarray, " h"],
) -> None:
    """For the rows [start, stop), the sum of the similarity over pixels and channels, and its derivatives.

    The derivatives are those to the windowed means of a, a^2 and a b, laid out as the padded pictures are. `reached`
    are the stretches beyond which they are 0; they are written from `left` to `right` of the padded rows.
    """
    columns = np.empty(MOMENTS * stride, dtype=np.float32)
    moments = np.empty(MOMENTS * CHUNK, dtype=np.float32)
    values = np.empty((1 + DERIVATIVES) * CHUNK, dtype=np.float32)
    sums = np.empty(CHUNK, dtype=np.float32)
    floats, padded = width * CHANNELS, len(first)
    border = RADIUS * CHANNELS
    for y in range(start, stop):
        low, high = _chunks_within_reach(unequal, y, floats)
        reached[y, 0], reached[y, 1] = low, high
        place = (y + RADIUS) * stride
        if with_derivatives:
            begin, end = (border + low, border + high) if high > 0 else (right, right)
            for plane in range(DERIVATIVES):
                row = plane * padded + place
                derivatives[row + left : row + begin] = ZERO
                derivatives[row + end : row + right] = ZERO
        if high == 0:
            totals[y] = floats
            continue
        columns_end = min(stride, high + REACH)
        _weigh_columns(columns, low, stride, first, second, y * stride + low, stride)  # type: ignore[call-arg]
        sums[:] = ZERO
        for x in range(low, high, CHUNK):
            ahead = x + CHUNK
            if ahead < columns_end:  # a chunk's windows reach into the next one
                _weigh_columns(columns, ahead, stride, first, second, y * stride + ahead, stride)
            for moment in range(MOMENTS):
                _blur(moments, moment * CHUNK, columns, moment * stride + x, CHANNELS)
            for k in range(CHUNK):
                j = np.uint64(k)
                shifted_a, shifted_b = moments[A + j], moments[B + j]
                variances = moments[AA + j] - shifted_a * shifted_a + moments[BB + j] - shifted_b * shifted_b
                covariance = moments[AB + j] - shifted_a * shifted_b
                mean_a, mean_b = shifted_a + SHIFT, shifted_b + SHIFT
                n1, d1 = _TWO * mean_a * mean_b + C1, mean_a * mean_a + mean_b * mean_b + C1
                n2, d2 = _TWO * covariance + C2, variances + C2
                inverse = np.float32(1.0) / (d1 * d2)
                s = n1 * n2 * inverse  # Wang et al. 2004, eq. 13
                d_ab = _TWO * n1 * inverse
                d_aa = -s * d1 * inverse
                values[A + j] = s
                through_means = _TWO * (mean_b * n2 - mean_a * s * d2) * inverse
                through_moments = -shifted_b * d_ab - _TWO * shifted_a * d_aa
                values[np.uint64((1 + D_A) * CHUNK) + j] = through_means + through_moments
                values[np.uint64((1 + D_AA) * CHUNK) + j] = d_aa
                values[np.uint64((1 + D_AB) * CHUNK) + j] = d_ab
            count = min(CHUNK, high - x)
            if count < CHUNK:  # beyond the picture all is 0
                for plane in range(1 + DERIVATIVES):
                    values[plane * CHUNK + count : (plane + 1) * CHUNK] = ZERO
            _add(sums, values)
            if with_derivatives:
                for plane in range(DERIVATIVES):
                    to = plane * padded + place + border + x
                    _keep(derivatives, to, values, (1 + plane) * CHUNK)
        total = float(floats - (high - low))
        for k in range(CHUNK):
            total += sums[k]
        totals[y] = total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def similarity_backward(
    start: int,
    stop: int,
    width: int,
    stride: int,
    first: Float32[np.ndarray, " padded"],
    second: Float32[np.ndarray, " padded"],
    derivatives: Float32[np.ndarray, " three_padded"],
    reached: Int64[np.ndarray, "h 2"],
    scale: float,
    absolute_scale: float,
    squared_scale: float,
    v_first: Float32[np.ndarray, "h floats"],
) -> None:
    """Gradient to the first picture, for the rows [start, stop).

    It is that of `scale` x the sum of the similarity + `absolute_scale` x the sum of the absolute differences +
    `squared_scale` x that of the squared ones.

    The window is symmetric and the padding zero, so blurring is its own transpose.
    """
    columns = np.empty(DERIVATIVES * stride, dtype=np.float32)
    blurred = np.empty(DERIVATIVES * CHUNK, dtype=np.float32)
    similar = np.empty(CHUNK, dtype=np.float32)
    factor, slope, curve = np.float32(scale), np.float32(absolute_scale), _TWO * np.float32(squared_scale)
    floats, padded = width * CHANNELS, len(first)
    for y in range(start, stop):
        row = v_first[y]
        low, high = _chunks_within_reach(reached, y, floats)
        row[:low] = ZERO
        row[high:] = ZERO
        columns_end = min(stride, high + REACH) if high else 0
        for x in range(low, high, CHUNK):
            for ahead in range(x if x == low else x + CHUNK, min(x + 2 * CHUNK, columns_end), CHUNK):
                for plane in range(DERIVATIVES):
                    begin = plane * padded + y * stride + ahead
                    _blur(columns, plane * stride + ahead, derivatives, begin, stride)  # type: ignore[call-arg]
            for plane in range(DERIVATIVES):
                _blur(blurred, plane * CHUNK, columns, plane * stride + x, CHANNELS)  # type: ignore[call-arg]
            place = np.uint64((y + RADIUS) * stride + RADIUS * CHANNELS + x)
            for k in range(np.uint64(CHUNK)):
                a, b = first[place + k], second[place + k]
                through_squares = _TWO * a * blurred[np.uint64(D_AA * CHUNK) + k]
                through_products = b * blurred[np.uint64(D_AB * CHUNK) + k]
                through_similarity = factor * (blurred[k] + through_squares + through_products)
                similar[k] = through_similarity + curve * (a - b)
            # A loop of its own, without branches and with exact products: the bits must not depend on how LLVM fuses
            # multiplications and additions, which may differ between a loop's vector and its scalar version.
            to = np.uint64(x)
            for k in range(np.uint64(min(CHUNK, high - x))):
                difference = first[place + k] - second[place + k]
                sign = np.float32(difference > ZERO) - np.float32(difference < ZERO)
                row[to + k] = similar[k] + slope * sign
