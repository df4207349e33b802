"""Numba kernels: structural similarity of two pictures and its gradient to the first, with 11 x 11 Gaussian windows.

Pictures are padded with black and flattened to rows of width x 3 floats, so that a step of one pixel is a shift by 3.
Values are kept less SHIFT, which leaves variances as they are and costs them fewer digits.
Every inner loop runs over CHUNK floats and compiles to vector code; windows add up in registers. One thread handles a
range of rows. After an edit of `lanes`, touch this file: see `tile_kernels`.
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
    from jaxtyping import Float32, Float64

TAPS = 11
SIGMA = 1.5  # pixels
RADIUS = TAPS // 2
CHANNELS = 3
C1 = np.float32(0.01**2)  # Wang et al. 2004, for values in [0, 1]
C2 = np.float32(0.03**2)

SHIFT = np.float32(0.5)

CHUNK = 64
# Planes of the scratch memory: moments of the window, then the derivatives of the similarity to the first three.
A, B, AA, BB, AB = (np.uint64(CHUNK * k) for k in range(5))
MOMENTS = 5
D_A, D_AA, D_AB = range(3)
DERIVATIVES = 3

_window = np.exp(-0.5 * ((np.arange(TAPS) - RADIUS) / SIGMA) ** 2)
WINDOW = (_window / _window.sum()).astype(np.float32)

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
def _weigh_columns(typing_context, moments, first, second, start, stride):  # type: ignore[no-untyped-def]
    """Weigh eleven rows of CHUNK floats from `start` of both pictures, and of their products, into `moments`."""

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        target, first, second = (
            context.make_array(kind)(context, builder, array).data
            for kind, array in zip(signature.args[:3], arguments[:3], strict=True)
        )
        start, stride = arguments[3:]
        first, second = (element(builder, picture, start) for picture in (first, second))
        for lanes in range(0, CHUNK, COUNT):
            totals = [constant(builder, [0.0] * COUNT)] * MOMENTS
            pictures = (_taps(builder, element(builder, picture, lanes), stride) for picture in (first, second))
            for weight, a, b in zip(WINDOW, *pictures, strict=True):
                weighted_a, weighted_b = a * float(weight), b * float(weight)
                terms = (weighted_a, weighted_b, weighted_a * a, weighted_b * b, weighted_a * b)
                totals = [total + term for total, term in zip(totals, terms, strict=True)]
            for plane, total in enumerate(totals):
                total.store(element(builder, target, plane * CHUNK + lanes), UNALIGNED)
        return context.get_dummy_value()

    return types.void(moments, first, second, types.int64, types.int64), code


def _taps(builder: ir.IRBuilder, source: ir.Value, step: ir.Value) -> Iterator[Lanes]:
    for tap in range(TAPS):
        offset = builder.mul(step, ir.Constant(ir.IntType(64), tap))
        yield load(builder, element(builder, source, offset), UNALIGNED)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def similarity(
    start: int,
    stop: int,
    width: int,
    stride: int,
    first: Float32[np.ndarray, " padded"],
    second: Float32[np.ndarray, " padded"],
    with_derivatives: bool,
    derivatives: Float32[np.ndarray, "3 padded"],
    totals: Float64[np.ndarray, " h"],
) -> None:
    """For the rows [start, stop), the sum of the similarity over pixels and channels, and its derivatives.

    The derivatives are those to the windowed means of a, a^2 and a b, laid out as the padded pictures are.
    """
    columns = np.empty((MOMENTS, stride), dtype=np.float32)
    moments = np.empty(MOMENTS * CHUNK, dtype=np.float32)
    values = np.empty((1 + DERIVATIVES) * CHUNK, dtype=np.float32)
    floats = width * CHANNELS
    for y in range(start, stop):
        for x in range(0, stride, CHUNK):
            _weigh_columns(moments, first, second, y * stride + x, stride)  # type: ignore[call-arg]
            for moment in range(MOMENTS):
                columns[moment, x : x + CHUNK] = moments[moment * CHUNK : (moment + 1) * CHUNK]
        total = 0.0
        for x in range(0, floats, CHUNK):
            for moment in range(MOMENTS):
                _blur(moments, np.uint64(moment * CHUNK), columns[moment], x, CHANNELS)  # type: ignore[call-arg]
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
            count = min(CHUNK, floats - x)
            for k in range(count):
                total += values[k]
            if with_derivatives:
                to = (y + RADIUS) * stride + RADIUS * CHANNELS + x
                for plane in range(DERIVATIVES):
                    derivatives[plane, to : to + count] = values[(1 + plane) * CHUNK : (1 + plane) * CHUNK + count]
        totals[y] = total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)
def similarity_backward(
    start: int,
    stop: int,
    width: int,
    stride: int,
    first: Float32[np.ndarray, " padded"],
    second: Float32[np.ndarray, " padded"],
    derivatives: Float32[np.ndarray, "3 padded"],
    scale: float,
    v_first: Float32[np.ndarray, "h floats"],
) -> None:
    """Gradient of `scale` x the sum of the similarity to the first picture, for the rows [start, stop).

    The window is symmetric and the padding zero, so blurring is its own transpose.
    """
    columns = np.empty((DERIVATIVES, stride), dtype=np.float32)
    blurred = np.empty(DERIVATIVES * CHUNK, dtype=np.float32)
    factor = np.float32(scale)
    floats = width * CHANNELS
    for y in range(start, stop):
        for x in range(0, stride, CHUNK):
            for plane in range(DERIVATIVES):
                _blur(columns[plane], np.uint64(x), derivatives[plane], y * stride + x, stride)  # type: ignore[call-arg]
        row = v_first[y]
        for x in range(0, floats, CHUNK):
            for plane in range(DERIVATIVES):
                _blur(blurred, np.uint64(plane * CHUNK), columns[plane], x, CHANNELS)  # type: ignore[call-arg]
            place = (y + RADIUS) * stride + RADIUS * CHANNELS + x
            for k in range(min(CHUNK, floats - x)):
                through_squares = _TWO * first[place + k] * blurred[D_AA * CHUNK + k]
                through_products = second[place + k] * blurred[D_AB * CHUNK + k]
                row[x + k] = factor * (blurred[D_A * CHUNK + k] + through_squares + through_products)
