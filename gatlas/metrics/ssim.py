"""Structural similarity (Wang et al. 2004) as splat fitting uses it: 11 x 11 window, sigma 1.5, zero padding."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.metrics import ssim_kernels
from gatlas.metrics.ssim_kernels import CHANNELS, DERIVATIVES, RADIUS, SHIFT
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

    Array = Any  # a numpy array or a torch tensor


class Comparison(NamedTuple):
    """Two padded pictures and the derivatives of their similarity: what the gradient is made from."""

    first: Float32[np.ndarray, " padded"]
    second: Float32[np.ndarray, " padded"]
    derivatives: Float32[np.ndarray, "3 padded"]  # of the sum over pixels; empty where they were not asked for


def ssim(images_a: Float[Array, "c h w 3"], images_b: Float[Array, "c h w 3"]) -> Any:
    """Mean structural similarity over pictures, pixels and channels, for values in [0, 1]; 1 is equality.

    Numpy arrays give a float. Torch tensors give a scalar tensor that is differentiable to `images_a` only. Beyond the
    edge of the pictures is black, as in the usual splatting losses; on a CUDA device, where kornia compares them, the
    pictures are reflected there.
    """
    shape = tuple(images_a.shape)
    if len(shape) != 4 or shape[3] != CHANNELS or 0 in shape:
        raise ValueError(f"images_a must have shape [c h w 3] and not be empty, got {list(shape)}")
    if tuple(images_b.shape) != shape:
        raise ValueError(f"images_b must have the shape of images_a, {list(shape)}, got {list(images_b.shape)}")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(images_a, torch.Tensor):
        if images_a.is_cuda:
            from kornia.metrics import ssim as kornia_ssim

            first = images_a.permute(0, 3, 1, 2)
            second = torch.as_tensor(images_b).detach().permute(0, 3, 1, 2)
            return kornia_ssim(first, second, window_size=2 * RADIUS + 1).mean()
        from gatlas.metrics.ssim_autograd import ssim_tensors

        return ssim_tensors(images_a, torch.as_tensor(images_b))
    compile_kernels()
    values = [compare(a, b, with_derivatives=False)[0] for a, b in zip(images_a, images_b, strict=True)]
    return float(np.mean(values))


def compare(
    a: Float[np.ndarray, "h w 3"], b: Float[np.ndarray, "h w 3"], with_derivatives: bool
) -> tuple[float, Comparison]:
    """Mean similarity of two pictures, and what `compare_backward` needs."""
    height, width = a.shape[:2]
    first, second = _padded(a), _padded(b)
    derivatives = np.zeros((DERIVATIVES, len(first) if with_derivatives else 0), dtype=np.float32)
    totals = np.empty(height, dtype=np.float64)
    stride = ssim_kernels.row_stride(width)
    shares = split_range(height, get_num_threads())
    launch(ssim_kernels.similarity, shares, width, stride, first, second, with_derivatives, derivatives, totals)
    return float(totals.sum()) / a.size, Comparison(first, second, derivatives)


def compare_backward(comparison: Comparison, v_mean: float, v_a: Float32[np.ndarray, "h w 3"]) -> None:
    """Write to `v_a` the gradient of `v_mean` x the mean similarity to the first picture."""
    height, width = v_a.shape[:2]
    rows = v_a.reshape(height, width * CHANNELS)
    stride = ssim_kernels.row_stride(width)
    shares = split_range(height, get_num_threads())
    launch(ssim_kernels.similarity_backward, shares, width, stride, *comparison, v_mean / v_a.size, rows)


@cache
def compile_kernels(backward: bool = False) -> None:
    """Compile what is needed, once for this machine; a line on standard error says so where it takes long."""
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
