"""Structural similarity of two numpy pictures and its gradient, on the CPU kernels."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.metrics import ssim_kernels
from gatlas.metrics.ssim_kernels import CHANNELS, DERIVATIVES, RADIUS
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int64


class SsimState(NamedTuple):
    """Two padded pictures and the derivatives of their similarity: what the gradient is made from."""

    first: Float32[np.ndarray, " padded"]
    second: Float32[np.ndarray, " padded"]
    derivatives: Float32[np.ndarray, "3 padded"]  # of the sum over pixels; empty where they were not asked for
    reached: Int64[np.ndarray, "h 2"]  # the stretch of each row, in floats, beyond which the derivatives are 0


class Agreement(NamedTuple):
    """Agreement of two pictures: means over pixels and channels."""

    similarity: float
    distance: float  # mean absolute difference
    state: SsimState


def compare(a: Float[np.ndarray, "h w 3"], b: Float[np.ndarray, "h w 3"], with_derivatives: bool) -> Agreement:
    """Mean similarity and distance of two pictures, and what `compare_backward` needs."""
    height, width = a.shape[:2]
    stride = ssim_kernels.row_stride(width)
    padded_rows = height + 2 * RADIUS
    first, second = np.empty((2, padded_rows * stride), dtype=np.float32)
    unequal, reached = np.empty((2, height, 2), dtype=np.int64)
    totals, distances = np.empty((2, height), dtype=np.float64)
    threads = get_num_threads()
    rows = (_rows(a), _rows(b))
    launch(ssim_kernels.pad, split_range(padded_rows, threads), stride, *rows, first, second, unequal, distances)
    # Zeros that are never written to cost nothing.
    derivatives = np.zeros((DERIVATIVES, len(first) if with_derivatives else 0), dtype=np.float32)
    launch(
        ssim_kernels.similarity,
        split_range(height, threads),
        width,
        stride,
        first,
        second,
        unequal,
        with_derivatives,
        derivatives,
        reached,
        totals,
    )
    state = SsimState(first, second, derivatives, reached)
    return Agreement(float(totals.sum()) / a.size, float(distances.sum()) / a.size, state)


def compare_backward(
    state: SsimState, v_similarity: float, v_distance: float, v_a: Float32[np.ndarray, "h w 3"]
) -> None:
    """Write to `v_a` the gradient to the first picture of `v_similarity` x similarity + `v_distance` x distance."""
    height, width = v_a.shape[:2]
    rows = v_a.reshape(height, width * CHANNELS)
    stride = ssim_kernels.row_stride(width)
    shares = split_range(height, get_num_threads())
    scales = (v_similarity / v_a.size, v_distance / v_a.size)
    launch(ssim_kernels.similarity_backward, shares, width, stride, *state, *scales, rows)


@cache
def compile_kernels(backward: bool = False) -> None:
    """Compile what is needed, once for this machine; with a message on standard error if it takes long."""
    with announced_compilation(ssim_kernels.pad, ssim_kernels.similarity, ssim_kernels.similarity_backward):
        pixel = np.zeros((1, 1, CHANNELS), dtype=np.float32)
        state = compare(pixel, pixel, with_derivatives=True).state
        if backward:
            compare_backward(state, 1.0, 1.0, pixel)


def _rows(image: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h floats"]:
    """The picture as the one kind of array that kernels are compiled for: read-only is another type to numba."""
    return np.require(image.reshape(len(image), -1), dtype=np.float32, requirements=["C", "A", "W"])
