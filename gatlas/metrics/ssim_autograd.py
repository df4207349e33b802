"""The SSIM kernels as a torch function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from gatlas.metrics import ssim_cpu

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def ssim_tensors(images_a: Float[Tensor, "c h w 3"], images_b: Float[Tensor, "c h w 3"]) -> Float[Tensor, ""]:
    """`gatlas.metrics.ssim.ssim` for tensors."""
    if images_b.requires_grad and torch.is_grad_enabled():
        raise ValueError("ssim has no gradient to images_b: detach it, or give it as images_a")
    ssim_cpu.compile_kernels(backward=torch.is_grad_enabled() and images_a.requires_grad)
    value = _SSIM.apply(images_a.to("cpu", torch.float32), images_b.to("cpu", torch.float32))
    return value.to(device=images_a.device, dtype=images_a.dtype)


class _SSIM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images_a: Tensor, images_b: Tensor) -> Tensor:
        pairs = zip(_to_numpy(images_a), _to_numpy(images_b), strict=True)
        with_derivatives = ctx.needs_input_grad[0]
        values, ctx.comparisons = zip(*(ssim_cpu.compare(a, b, with_derivatives) for a, b in pairs), strict=True)
        ctx.shape = images_a.shape
        return torch.tensor(float(np.mean(values)), dtype=torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_value: Tensor) -> tuple[Tensor, None]:
        gradient = np.empty(ctx.shape, dtype=np.float32)
        for comparison, v_image in zip(ctx.comparisons, gradient, strict=True):
            ssim_cpu.compare_backward(comparison, float(v_value) / len(gradient), v_image)
        return torch.from_numpy(gradient), None


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
