"""Choose a backend for torch tensors and bring tensors to it and pictures back."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatlas.raster.rendering import ProjectionOptions, Rendering
from gatlas.types import Gaussians

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int64
    from torch import Tensor

    from gatlas.types import Cameras


def rasterize_tensors(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Any,
    backend: str,
    means2d_absgrad: Float32[Tensor, "c n 2"] | None,
    options: ProjectionOptions,
) -> Rendering:
    """`gatlas.raster.rasterize` where torch computes. Numpy arrays give numpy arrays, as everywhere."""
    was_numpy = isinstance(gaussians.means, np.ndarray)
    means = torch.as_tensor(gaussians.means)
    if means2d_absgrad is not None:
        _check_absgrad(means2d_absgrad, (len(cameras), len(gaussians), 2))
    chosen = choose_backend(means, backend)
    _require_differentiable(cameras, chosen)
    bring = _bring_to(means, chosen)
    gaussians = _brought(gaussians, bring)
    backgrounds = means.new_zeros(3) if background is None else background
    backgrounds = bring(backgrounds).expand(len(cameras), 3)
    if chosen == "cpu":
        rendering = _rasterize_cpu(gaussians, cameras, backgrounds, means2d_absgrad, options)
    else:
        cameras = replace(cameras, viewmats=bring(cameras.viewmats), Ks=bring(cameras.Ks))
        if chosen == "reference":
            from gatlas.raster.reference import rasterize_reference as rasterize_chosen
        else:
            from gatlas.raster.cuda import rasterize_gsplat as rasterize_chosen
        rendering = rasterize_chosen(gaussians, cameras, backgrounds, means2d_absgrad, options)
    if was_numpy:
        return Rendering(*(image.detach().cpu().numpy() for image in rendering))
    return Rendering(*(image.to(device=means.device, dtype=means.dtype) for image in rendering))


def median_depths_tensors(gaussians: Gaussians, cameras: Cameras, backend: str, options: ProjectionOptions) -> Any:
    """`gatlas.raster.median_depths` where torch computes. Numpy arrays give numpy arrays, as everywhere."""
    was_numpy = isinstance(gaussians.means, np.ndarray)
    means = torch.as_tensor(gaussians.means)
    chosen = choose_backend(means, backend)
    with torch.no_grad():
        if chosen == "cpu":
            from gatlas.raster.cpu import median_depths_arrays

            depths = torch.from_numpy(median_depths_arrays(*_as_arrays(gaussians, cameras), options))
        else:
            indices, brought, views = _median_indices(gaussians, cameras, chosen, options)
            z = brought.means @ views[:, 2, :3].T + views[:, 2, 3]  # [n c]
            padded = torch.cat([z, z.new_zeros(1, len(views))])  # index -1 has depth 0
            depths = torch.stack([padded[index, i] for i, index in enumerate(indices)])[..., None]
    return depths.cpu().numpy() if was_numpy else depths.to(device=means.device, dtype=means.dtype)


def median_gaussians_tensors(gaussians: Gaussians, cameras: Cameras, backend: str, options: ProjectionOptions) -> Any:
    """`gatlas.raster.median_gaussians` where torch computes: numpy for numpy, else a tensor on the device."""
    was_numpy = isinstance(gaussians.means, np.ndarray)
    means = torch.as_tensor(gaussians.means)
    chosen = choose_backend(means, backend)
    with torch.no_grad():
        if chosen == "cpu":
            from gatlas.raster.cpu import median_gaussians_arrays

            indices = torch.from_numpy(median_gaussians_arrays(*_as_arrays(gaussians, cameras), options))
        else:
            indices = _median_indices(gaussians, cameras, chosen, options)[0].to(torch.int32)
    return indices.cpu().numpy() if was_numpy else indices.to(means.device)


def _median_indices(
    gaussians: Gaussians, cameras: Cameras, chosen: str, options: ProjectionOptions
) -> tuple[Int64[Tensor, "c h w"], Gaussians, Float[Tensor, "c 4 4"]]:
    """Return the indices, and the Gaussians and the views as the backend has them."""
    bring = _bring_to(torch.as_tensor(gaussians.means), chosen)
    brought = _brought(gaussians, bring)
    cameras = replace(cameras, viewmats=bring(cameras.viewmats), Ks=bring(cameras.Ks))
    if chosen == "reference":
        from gatlas.raster.reference import median_gaussians_reference as median_gaussians_chosen
    else:
        from gatlas.raster.cuda import median_gaussians_gsplat as median_gaussians_chosen
    return median_gaussians_chosen(brought, cameras, options), brought, cameras.viewmats


def _as_arrays(gaussians: Gaussians, cameras: Cameras) -> tuple[Gaussians, Cameras]:
    """Return both in numpy, float32."""
    fields = ("means", "quats", "scales", "opacities", "sh")
    bring = _bring_to(torch.as_tensor(gaussians.means), "cpu")
    values: dict[str, Any] = {name: bring(getattr(gaussians, name)).numpy() for name in fields}
    arrays = replace(gaussians, **values)
    views, Ks = (torch.as_tensor(each).cpu().numpy() for each in (cameras.viewmats, cameras.Ks))
    return arrays, replace(cameras, viewmats=views, Ks=Ks)


def _bring_to(means: Tensor, chosen: str) -> Callable[[Any], Tensor]:
    """Return how values come to the device and the type that a backend computes with."""
    if chosen == "cuda":
        from gatlas.raster.cuda import require_usable

        require_usable()
    device = torch.device("cuda" if means.device.type == "cpu" else means.device) if chosen == "cuda" else means.device
    if chosen == "cpu":
        device = torch.device("cpu")
    dtype = means.dtype if chosen == "reference" else torch.float32
    return lambda values: torch.as_tensor(values).to(device=device, dtype=dtype)


def _brought(gaussians: Gaussians, bring: Callable[[Any], Tensor]) -> Gaussians:
    return Gaussians(
        means=bring(gaussians.means),
        quats=bring(gaussians.quats),
        scales=bring(gaussians.scales),
        opacities=bring(gaussians.opacities),
        sh=bring(gaussians.sh),
    )


def _check_absgrad(means2d_absgrad: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(means2d_absgrad, torch.Tensor) or means2d_absgrad.requires_grad:
        raise ValueError("means2d_absgrad must be a torch tensor that requires no gradient")
    if tuple(means2d_absgrad.shape) != shape or means2d_absgrad.dtype != torch.float32:
        wanted, got = list(shape), list(means2d_absgrad.shape)
        raise ValueError(f"means2d_absgrad must have shape {wanted} of float32, got {got} of {means2d_absgrad.dtype}")


def choose_backend(means: Tensor, backend: str) -> str:
    """Return the backend that "auto" stands for; any other stands for itself."""
    if backend != "auto":
        return backend
    if means.device.type != "cuda":
        return "cpu"
    from gatlas.raster.cuda import why_unusable

    reason = why_unusable()
    if reason is None:
        return "cuda"
    _warn_of_cpu(reason)
    return "cpu"


@cache
def _warn_of_cpu(reason: str) -> None:
    """One warning a process, at the call of `rasterize`."""
    warnings.warn(f"gsplat does not run here, so Gaussians are rendered on the CPU: {reason}", stacklevel=5)


def _require_differentiable(cameras: Cameras, backend: str) -> None:
    """A ValueError where a gradient is asked for that the backend cannot give."""
    differentiable = {"cpu": (), "cuda": ("viewmats",), "reference": ("viewmats", "Ks")}[backend]
    if not torch.is_grad_enabled():
        return
    for name in ("viewmats", "Ks"):
        if name not in differentiable and getattr(getattr(cameras, name), "requires_grad", False):
            raise ValueError(
                f"backend {backend!r} has no gradient for cameras.{name}: detach it, or use backend='reference'"
            )


def _rasterize_cpu(
    gaussians: Gaussians,
    cameras: Cameras,
    backgrounds: Float[Tensor, "c 3"],
    means2d_absgrad: Float32[Tensor, "c n 2"] | None,
    options: ProjectionOptions,
) -> Rendering:
    from gatlas.raster.autograd import colors_seen_by, rasterize_camera
    from gatlas.raster.colors import seen_colors
    from gatlas.raster.cpu import pinhole

    viewmats = torch.as_tensor(cameras.viewmats).detach().cpu()
    on_cpu = replace(cameras, viewmats=viewmats.numpy(), Ks=torch.as_tensor(cameras.Ks).detach().cpu().numpy())
    shape = (len(cameras), cameras.height, cameras.width)
    seen: Iterable[Tensor] = seen_colors(gaussians, viewmats.to(torch.float32))
    if gaussians.sh.shape[1] > 1 and gaussians.sh.requires_grad:
        seen = (colors_seen_by(gaussians.means, gaussians.sh, viewmat) for viewmat in viewmats.to(torch.float32))
    if len(cameras) == 0:
        empty = gaussians.means.new_zeros
        return Rendering(empty((*shape, 3)), empty((*shape, 1)), empty((*shape, 1)))
    pictures = [
        rasterize_camera(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            colors,
            backgrounds[i],
            pinhole(on_cpu, i, options),
            None if means2d_absgrad is None else means2d_absgrad[i],
        )
        for i, colors in enumerate(seen)
    ]
    if len(pictures) == 1:  # the usual case of a fit, without a copy
        colors, alphas, depths = (image[None] for image in pictures[0])
    else:
        colors, alphas, depths = (torch.stack(images) for images in zip(*pictures, strict=True))
    return Rendering(colors, alphas[..., None], depths[..., None])
