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
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """`gatlas.metrics.ssim.ssim_and_distance` for tensors on the CPU."""
    if images_b.requires_grad and torch.is_grad_enabled():
        raise ValueError("ssim has no gradient to images_b: detach it, or give it as images_a")
    ssim_cpu.compile_kernels(backward=torch.is_grad_enabled() and images_a.requires_grad)
    similarity, distance = _Compare.apply(images_a.to(torch.float32), images_b.to(torch.float32))
    return similarity.to(images_a.dtype), distance.to(images_a.dtype)


class _Compare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images_a: Tensor, images_b: Tensor) -> tuple[Tensor, Tensor]:
        pairs = zip(_to_numpy(images_a), _to_numpy(images_b), strict=True)
        with_derivatives = ctx.needs_input_grad[0]
        comparisons = [ssim_cpu.compare(a, b, with_derivatives) for a, b in pairs]
        ctx.states, ctx.shape = [comparison.state for comparison in comparisons], images_a.shape
        means = (np.mean([each.similarity for each in comparisons]), np.mean([each.distance for each in comparisons]))
        similarity, distance = (torch.tensor(float(mean), dtype=torch.float32) for mean in means)
        return similarity, distance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_similarity: Tensor, v_distance: Tensor) -> tuple[Tensor, None]:
        gradient = np.empty(ctx.shape, dtype=np.float32)
        scales = (float(v_similarity) / len(gradient), float(v_distance) / len(gradient))
        for state, v_image in zip(ctx.states, gradient, strict=True):
            ssim_cpu.compare_backward(state, *scales, v_image)
        return torch.from_numpy(gradient), None


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
