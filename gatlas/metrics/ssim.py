"""Structural similarity (Wang et al. 2004) as splat fitting uses it: 11 x 11 window, sigma 1.5, zero padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.geometry.libraries import is_tensor
from gatlas.metrics.ssim_cpu import compare, compile_kernels
from gatlas.metrics.ssim_kernels import CHANNELS, RADIUS

if TYPE_CHECKING:
    from jaxtyping import Float

    Array = Any  # a numpy array or a torch tensor


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
    if is_tensor(images_a):
        return _compare_tensors(images_a, images_b).similarity
    compile_kernels()
    values = [compare(a, b, with_derivatives=False).similarity for a, b in zip(images_a, images_b, strict=True)]
    return float(np.mean(values))


class TensorAgreement(NamedTuple):
    """Agreement of torch pictures: scalar tensors."""

    similarity: Any  # `ssim`
    absolute: Any  # mean absolute difference
    squared: Any  # mean squared difference


def agreement(images_a: Float[Array, "c h w 3"], images_b: Float[Array, "c h w 3"]) -> TensorAgreement:
    """Return `ssim` of torch tensors and their mean differences, at the cost of one. Differentiable to `images_a`."""
    return _compare_tensors(images_a, images_b)


def _compare_tensors(images_a: Any, images_b: Any) -> TensorAgreement:
    import torch

    images_b = torch.as_tensor(images_b, device=images_a.device)
    if images_a.is_cuda:
        from kornia.metrics import ssim as kornia_ssim

        first, second = images_a.permute(0, 3, 1, 2), images_b.permute(0, 3, 1, 2).detach()
        similarity = kornia_ssim(first, second, window_size=2 * RADIUS + 1).mean()
        differences = images_a - images_b
        return TensorAgreement(similarity, differences.abs().mean(), differences.square().mean())
    from gatlas.metrics.ssim_autograd import compare_tensors

    return TensorAgreement(*compare_tensors(images_a, images_b))
