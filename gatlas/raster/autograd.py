"""The CPU kernels as torch functions: the one module that wraps them for autograd."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from gatlas.geometry.cameras import camera_centers
from gatlas.raster import color_kernels, cpu
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range

if TYPE_CHECKING:
    from jaxtyping import Float32
    from torch import Tensor


def rasterize_camera(
    means: Float32[Tensor, "n 3"],
    quats: Float32[Tensor, "n 4"],
    scales: Float32[Tensor, "n 3"],
    opacities: Float32[Tensor, " n"],
    colors: Float32[Tensor, "n 3"],
    background: Float32[Tensor, " 3"],
    camera: cpu.Pinhole,
    absolute: Float32[Tensor, "n 2"] | None = None,
) -> tuple[Float32[Tensor, "h w 3"], Float32[Tensor, "h w"], Float32[Tensor, "h w"]]:
    """Colors, alphas and mean depths of one camera, differentiable to every tensor (all on the CPU).

    To `absolute`, on any device, backward passes add the absolute gradients to the means in the picture.
    """
    tensors = (means, quats, scales, opacities, colors, background)
    cpu.compile_kernels(backward=torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
    return _RasterizeCamera.apply(*tensors, camera, absolute)


class _RasterizeCamera(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        *tensors, camera, absolute = inputs
        means, quats, scales, opacities, colors, background = (_to_numpy(tensor) for tensor in tensors)
        shape = (camera.height, camera.width)
        images = cpu.Images(np.empty((*shape, 3), np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32))
        parameters = cpu.Parameters(means, quats, scales, opacities, colors)
        ctx.rendered = cpu.render(parameters, camera, background, images)
        ctx.camera, ctx.absolute = camera, absolute
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        rendered_colors, alphas, depths = (torch.from_numpy(image) for image in images)
        return rendered_colors, alphas, depths

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *v_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        camera = ctx.camera
        parameters = cpu.Parameters(*(_to_numpy(tensor) for tensor in ctx.saved_tensors[:5]))
        shapes = ((camera.height, camera.width, 3), *[(camera.height, camera.width)] * 2)
        v_images = cpu.Images(
            *(
                np.zeros(shape, np.float32) if v_output is None else _to_numpy(v_output)
                for v_output, shape in zip(v_outputs, shapes, strict=True)
            )
        )
        v_parameters = cpu.Parameters(*(np.zeros_like(array) for array in parameters))
        absolute = None if ctx.absolute is None else np.zeros((len(parameters.means), 2), np.float32)
        cpu.render_backward(parameters, camera, ctx.rendered, v_images, v_parameters, absolute)
        if ctx.absolute is not None:
            ctx.absolute.add_(torch.from_numpy(absolute).to(ctx.absolute.device))
        v_background = None
        if ctx.needs_input_grad[5]:  # the background shows with what light is left
            transmittances = ctx.rendered.transmittances.astype(np.float64)
            v_background = torch.from_numpy(np.einsum("hw,hwk->k", transmittances, v_images.colors).astype(np.float32))
        return *(torch.from_numpy(gradient) for gradient in v_parameters), v_background, None, None


def colors_seen_by(
    means: Float32[Tensor, "n 3"], sh: Float32[Tensor, "n k 3"], viewmat: Float32[Tensor, "4 4"]
) -> Float32[Tensor, "n 3"]:
    """Colors >= 0 of spherical harmonics of degree 1 to 3 from one camera, differentiable to means and sh (CPU)."""
    eye = camera_centers(viewmat.detach().numpy().astype(np.float64))
    return _SeenColors.apply(means, sh, eye)


class _SeenColors(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means: Tensor, sh: Tensor, eye: np.ndarray) -> Tensor:
        _compile_color_kernels()
        colors = np.empty((len(means), 3), np.float32)
        shares = split_range(len(means), get_num_threads())
        launch(color_kernels.evaluate, shares, _to_numpy(means), _to_numpy(sh), eye, colors)
        ctx.save_for_backward(means, sh)
        ctx.eye = eye
        return torch.from_numpy(colors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_colors: Tensor) -> tuple[Tensor, Tensor, None]:
        means, sh = (_to_numpy(tensor) for tensor in ctx.saved_tensors)
        v_means, v_sh = np.empty_like(means), np.empty_like(sh)
        shares = split_range(len(means), get_num_threads())
        launch(color_kernels.evaluate_backward, shares, means, sh, ctx.eye, _to_numpy(v_colors), v_means, v_sh)
        return torch.from_numpy(v_means), torch.from_numpy(v_sh), None


@cache
def _compile_color_kernels() -> None:
    """Compile both kernels once, not in every step: the announcement of it takes a thread."""
    means, colors = np.ones((2, 1, 3), dtype=np.float32)
    sh, eye = np.zeros((1, 4, 3), dtype=np.float32), np.zeros(3)
    with announced_compilation(color_kernels.evaluate, color_kernels.evaluate_backward):
        color_kernels.evaluate(0, 1, means, sh, eye, colors)
        color_kernels.evaluate_backward(0, 1, means, sh, eye, colors, np.empty_like(means), np.empty_like(sh))


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
