"""The kernels that compare pictures as a torch function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from gatlas.metrics import ssim_cpu

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def compare_tensors(
    images_a: Float[Tensor, "c h w 3"], images_b: Float[Tensor, "c h w 3"]
) -> tuple[Float[Tensor, ""], ...]:
    """Return the three fields of `gatlas.metrics.ssim.agreement` for tensors on the CPU."""
    if images_b.requires_grad and torch.is_grad_enabled():
        raise ValueError("ssim has no gradient to images_b: detach it, or give it as images_a")
    ssim_cpu.compile_kernels(backward=torch.is_grad_enabled() and images_a.requires_grad)
    means = _Compare.apply(images_a.to(torch.float32), images_b.to(torch.float32))
    return tuple(mean.to(images_a.dtype) for mean in means)


class _Compare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images_a: Tensor, images_b: Tensor) -> tuple[Tensor, ...]:
        pairs = zip(_to_numpy(images_a), _to_numpy(images_b), strict=True)
        with_derivatives = ctx.needs_input_grad[0]
        comparisons = [ssim_cpu.compare(a, b, with_derivatives) for a, b in pairs]
        ctx.states, ctx.shape = [comparison.state for comparison in comparisons], images_a.shape
        means = np.mean([(each.similarity, each.absolute, each.squared) for each in comparisons], axis=0)
        return tuple(torch.tensor(mean, dtype=torch.float32) for mean in means.tolist())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *v_means: Tensor) -> tuple[Tensor, None]:
        gradient = np.empty(ctx.shape, dtype=np.float32)
        v_similarity, v_absolute, v_squared = (float(v_mean) / len(gradient) for v_mean in v_means)
        for state, v_image in zip(ctx.states, gradient, strict=True):
            ssim_cpu.compare_backward(state, v_similarity, v_absolute, v_squared, v_image)
        return torch.from_numpy(gradient), None


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
