"""Structural similarity of two numpy pictures and its gradient, on the CPU kernels."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.metrics import ssim_kernels
from gatlas.metrics.ssim_kernels import CHANNELS, CHUNK, DERIVATIVES, RADIUS, REACH
from gatlas.raster.lanes import aligned
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int64


class SsimState(NamedTuple):
    """Two padded pictures and the derivatives of their similarity: what the gradient is made from."""

    first: Float32[np.ndarray, " padded"]
    second: Float32[np.ndarray, " padded"]
    derivatives: Float32[
        np.ndarray, "3 padded"
    ]  # of the sum over pixels, as far as they are read; empty where not asked for
    reached: Int64[np.ndarray, "h 2"]  # the stretch of each row, in floats, beyond which the derivatives are 0


class Agreement(NamedTuple):
    """Agreement of two pictures: means over pixels and channels."""

    similarity: float
    absolute: float  # mean absolute difference
    squared: float  # mean squared difference
    state: SsimState


class _Region(NamedTuple):
    """The rows and floats of the padded pictures in which something is read: all windows that meet a difference."""

    top: int
    bottom: int
    left: int
    right: int


def compare(a: Float[np.ndarray, "h w 3"], b: Float[np.ndarray, "h w 3"], with_derivatives: bool) -> Agreement:
    """Mean similarity and differences of two pictures, and what `compare_backward` needs."""
    height, width = a.shape[:2]
    stride = ssim_kernels.row_stride(width)
    threads = get_num_threads()
    rows = (_rows(a), _rows(b))
    unequal, reached = np.zeros((2, height, 2), dtype=np.int64)
    absolute, squared = np.empty((2, height), dtype=np.float64)
    launch(ssim_kernels.differ, split_range(height, threads), *rows, unequal, absolute, squared)
    top, bottom, left, right = _region(unequal, width)
    first, second = aligned(2, (height + 2 * RADIUS) * stride)
    launch(ssim_kernels.pad, _between(top, bottom, threads), left, right, stride, *rows, first, second)
    derivatives = aligned(DERIVATIVES * len(first) if with_derivatives else 0)
    if with_derivatives:
        planes = derivatives.reshape(DERIVATIVES, -1, stride)
        planes[:, top:RADIUS, left:right] = planes[:, height + RADIUS : bottom, left:right] = 0.0
    totals = np.full(height, float(width * CHANNELS))
    launch(
        ssim_kernels.similarity,
        _between(max(0, top - RADIUS), min(height, bottom - RADIUS), threads),
        width,
        stride,
        first,
        second,
        unequal,
        left,
        right,
        with_derivatives,
        derivatives,
        reached,
        totals,
    )
    state = SsimState(first, second, derivatives, reached)
    similarity, mean_absolute, mean_squared = (float(sums.sum()) / a.size for sums in (totals, absolute, squared))
    return Agreement(similarity, mean_absolute, mean_squared, state)


def compare_backward(
    state: SsimState, v_similarity: float, v_absolute: float, v_squared: float, v_a: Float32[np.ndarray, "h w 3"]
) -> None:
    """Write to `v_a` the gradient to the first picture, from those to the three means of its `Agreement`."""
    height, width = v_a.shape[:2]
    rows = v_a.reshape(height, width * CHANNELS)
    stride = ssim_kernels.row_stride(width)
    shares = split_range(height, get_num_threads())
    scales = (v_similarity / v_a.size, v_absolute / v_a.size, v_squared / v_a.size)
    launch(ssim_kernels.similarity_backward, shares, width, stride, *state, *scales, rows)


def _between(start: int, stop: int, threads: int) -> list[tuple[int, int]]:
    """As `split_range`, of [start, stop)."""
    return [(start + first, start + end) for first, end in split_range(stop - start, threads)]


def _region(unequal: Int64[np.ndarray, "h 2"], width: int) -> _Region:
    """Return where the similarity and then its gradient look, from the stretches of rows that differ.

    Each of the two widens a stretch by the windows' reach, and to whole chunks.
    """
    rows = np.flatnonzero(unequal[:, 1] > 0)
    if not len(rows):
        return _Region(RADIUS, RADIUS, 0, 0)
    low, high = int(unequal[rows, 0].min()), int(unequal[rows, 1].max())
    for _ in range(2):
        low, high = ssim_kernels.within_reach(low, high, width * CHANNELS)
    right = -(-(high + REACH) // CHUNK) * CHUNK
    stride = ssim_kernels.row_stride(width)
    top, bottom = int(rows[0]) - 2 * RADIUS, int(rows[-1]) + 1 + 4 * RADIUS
    return _Region(max(0, top), min(len(unequal) + 2 * RADIUS, bottom), low, min(stride, right))


@cache
def compile_kernels(backward: bool = False) -> None:
    """Compile what is needed, once for this machine; with a message on standard error if it takes long."""
    kernels = [ssim_kernels.differ, ssim_kernels.pad, ssim_kernels.similarity, ssim_kernels.similarity_backward]
    with announced_compilation(*kernels):
        pixel = np.zeros((1, 1, CHANNELS), dtype=np.float32)
        state = compare(pixel, pixel, with_derivatives=True).state
        if backward:
            compare_backward(state, 1.0, 1.0, 1.0, pixel)


def _rows(image: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h floats"]:
    """The picture as the one kind of array that kernels are compiled for: read-only is another type to numba."""
    return np.require(image.reshape(len(image), -1), dtype=np.float32, requirements=["C", "A", "W"])
