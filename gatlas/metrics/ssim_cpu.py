"""Structural similarity of two numpy pictures and its gradient, on the CPU kernels."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.metrics import ssim_kernels
from gatlas.metrics.ssim_kernels import CHANNELS, DERIVATIVES, RADIUS, SHIFT
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range

if TYPE_CHECKING:
    from jaxtyping import Float, Float32


class SsimState(NamedTuple):
    """Two padded pictures and the derivatives of their similarity: what the gradient is made from."""

    first: Float32[np.ndarray, " padded"]
    second: Float32[np.ndarray, " padded"]
    derivatives: Float32[np.ndarray, "3 padded"]  # of the sum over pixels; empty where they were not asked for


def compare(
    a: Float[np.ndarray, "h w 3"], b: Float[np.ndarray, "h w 3"], with_derivatives: bool
) -> tuple[float, SsimState]:
    """Mean similarity of two pictures, and what `compare_backward` needs."""
    height, width = a.shape[:2]
    first, second = _padded(a), _padded(b)
    derivatives = np.zeros((DERIVATIVES, len(first) if with_derivatives else 0), dtype=np.float32)
    totals = np.empty(height, dtype=np.float64)
    stride = ssim_kernels.row_stride(width)
    shares = split_range(height, get_num_threads())
    launch(ssim_kernels.similarity, shares, width, stride, first, second, with_derivatives, derivatives, totals)
    return float(totals.sum()) / a.size, SsimState(first, second, derivatives)


def compare_backward(comparison: SsimState, v_mean: float, v_a: Float32[np.ndarray, "h w 3"]) -> None:
    """Write to `v_a` the gradient of `v_mean` x the mean similarity to the first picture."""
    height, width = v_a.shape[:2]
    rows = v_a.reshape(height, width * CHANNELS)
    stride = ssim_kernels.row_stride(width)
    shares = split_range(height, get_num_threads())
    launch(ssim_kernels.similarity_backward, shares, width, stride, *comparison, v_mean / v_a.size, rows)


@cache
def compile_kernels(backward: bool = False) -> None:
    """Compile what is needed, once for this machine; with a message on standard error if it takes long."""
    with announced_compilation(ssim_kernels.similarity, ssim_kernels.similarity_backward):
        pixel = np.zeros((1, 1, CHANNELS), dtype=np.float32)
        _, comparison = compare(pixel, pixel, with_derivatives=True)
        if backward:
            compare_backward(comparison, 1.0, pixel)


def _padded(image: Float[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " padded"]:
    """The picture less SHIFT inside a black border, flat, its rows `row_stride` apart."""
    height, width = image.shape[:2]
    stride = ssim_kernels.row_stride(width)
    padded = np.full((height + 2 * RADIUS, stride), -SHIFT, dtype=np.float32)
    left = RADIUS * CHANNELS
    padded[RADIUS : RADIUS + height, left : left + width * CHANNELS] = image.reshape(height, -1) - SHIFT
    return padded.reshape(-1)
