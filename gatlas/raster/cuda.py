"""The CUDA rasterizer: gsplat, with a trial call that checks if it runs on this machine."""

from __future__ import annotations

import contextlib
import math
import sys
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from gatlas.errors import GatlasError
from gatlas.raster.colors import seen_colors
from gatlas.raster.gsplat_build import describe_failure, exclusive_build
from gatlas.raster.rendering import ProjectionOptions, Rendering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Float32, Int64
    from torch import Tensor

    from gatlas.types import Cameras, Gaussians

MAX_ALPHA = 0.999  # gsplat's
LOG_HALF = math.log(0.5)
# Gaussians of each object in one call of several objects. gsplat 1.5 adds up the gradients of those threads of a warp
# that have a Gaussian of the same number, of whichever object: with this many no warp has a number twice.
FEWEST_OF_BATCH = 32


def rasterize_gsplat(
    gaussians: Gaussians,
    cameras: Cameras,
    backgrounds: Float[Tensor, "c 3"],
    means2d_absgrad: Float32[Tensor, "c n 2"] | None,
    options: ProjectionOptions,
) -> Rendering:
    """`gatlas.raster.rasterize` for float32 tensors on one CUDA device."""
    shape = (len(cameras), cameras.height, cameras.width)
    if len(gaussians) == 0 or len(cameras) == 0:
        nothing = backgrounds.new_zeros((*shape, 1))
        return Rendering(backgrounds[:, None, None, :].expand(*shape, 3).clone(), nothing, nothing.clone())
    from gsplat import rasterization

    blurs = [options.of_camera(i).eps2d for i in range(len(cameras))]
    if len(set(blurs)) > 1:  # gsplat has one for all cameras of a call
        starts = [i for i in range(len(blurs)) if i == 0 or blurs[i] != blurs[i - 1]]
        return _each_blur(gaussians, cameras, backgrounds, means2d_absgrad, options, starts)
    # Colors are evaluated here rather than by gsplat, so that every backend shows the same spherical harmonics.
    images, alphas, intermediates = rasterization(
        means=gaussians.means.contiguous(),
        quats=gaussians.quats.contiguous(),
        scales=gaussians.scales.contiguous(),
        opacities=gaussians.opacities.contiguous(),
        colors=torch.stack(list(seen_colors(gaussians, cameras.viewmats))),  # [c n 3]
        viewmats=cameras.viewmats.contiguous(),
        Ks=cameras.Ks.contiguous(),
        absgrad=means2d_absgrad is not None,
        backgrounds=backgrounds.contiguous(),
        render_mode="RGB+ED",
        **_settings(cameras, options._replace(eps2d=blurs[0])),
    )
    if means2d_absgrad is not None and intermediates["means2d"].requires_grad:
        collect_absgrad(intermediates["means2d"], means2d_absgrad)
    return Rendering(images[..., :3], alphas, images[..., 3:])


def rasterize_gsplat_batch(
    gaussians: Sequence[Gaussians],
    cameras: Sequence[Cameras],
    background: Float[Tensor, " 3"],
    options: ProjectionOptions,
) -> tuple[Float[Tensor, "b c h w 3"], Float[Tensor, "b c h w 1"]]:
    """Return colors and alphas of several objects in one call, float32 on one CUDA device; see `FEWEST_OF_BATCH`.

    Gradients to the cameras are not for this function.
    """
    from gsplat import rasterization

    device = background.device
    viewmats, Ks = (
        torch.stack([torch.as_tensor(getattr(each, name)) for each in cameras]).to(device, torch.float32)
        for name in ("viewmats", "Ks")
    )
    means, quats, scales, opacities = (
        torch.stack([getattr(each, name) for each in gaussians]) for name in ("means", "quats", "scales", "opacities")
    )
    colors = torch.stack(
        [torch.stack(list(seen_colors(each, views))) for each, views in zip(gaussians, viewmats, strict=True)]
    )
    images, alphas, _ = rasterization(
        means=means,
        quats=quats,
        scales=scales,
        opacities=opacities,
        colors=colors,  # [b c n 3]
        viewmats=viewmats.contiguous(),
        Ks=Ks.contiguous(),
        backgrounds=background.expand(*viewmats.shape[:2], 3).contiguous(),
        render_mode="RGB",
        **_settings(cameras[0], options),
    )
    return images, alphas


def _settings(cameras: Cameras, options: ProjectionOptions) -> dict[str, Any]:
    """Return what every call of gsplat's `rasterization` here has in common; the blur is one number."""
    return {
        "width": cameras.width,
        "height": cameras.height,
        "near_plane": options.near_plane,
        "far_plane": options.far_plane,
        "eps2d": float(options.eps2d),
        "rasterize_mode": "antialiased" if options.antialiased else "classic",
        "packed": False,
    }


def median_gaussians_gsplat(
    gaussians: Gaussians, cameras: Cameras, options: ProjectionOptions
) -> Int64[Tensor, "c h w"]:
    """`gatlas.raster.median_gaussians` for float32 tensors on one CUDA device.

    gsplat's `rasterization` has no median of 3D Gaussians: a second pass has it list which Gaussians each pixel blends,
    front to back, one camera after another, as the lists are long.
    """
    shape = (len(cameras), cameras.height, cameras.width)
    indices = torch.full(shape, -1, dtype=torch.int64, device=gaussians.means.device)
    if len(gaussians) == 0:
        return indices
    for i in range(len(cameras)):
        indices[i] = _median_index(gaussians, cameras[i], options.of_camera(i))
    return indices


def _median_index(gaussians: Gaussians, camera: Cameras, options: ProjectionOptions) -> Int64[Tensor, "h w"]:
    from gsplat import rasterization, rasterize_to_indices_in_range

    _, _, projected = rasterization(
        means=gaussians.means.contiguous(),
        quats=gaussians.quats.contiguous(),
        scales=gaussians.scales.contiguous(),
        opacities=gaussians.opacities.contiguous(),
        colors=gaussians.means.contiguous(),  # any: only what is projected is used
        viewmats=camera.viewmats.contiguous(),
        Ks=camera.Ks.contiguous(),
        **_settings(camera, options),
    )
    means2d, conics, opacities = (projected[name].contiguous() for name in ("means2d", "conics", "opacities"))
    light = torch.ones((1, camera.height, camera.width), device=means2d.device)
    ids, pixels, _ = rasterize_to_indices_in_range(
        0,
        2**31 - 1,
        light,
        means2d,
        conics,
        opacities,
        camera.width,
        camera.height,
        projected["tile_size"],
        projected["isect_offsets"],
        projected["flatten_ids"],
    )
    median = torch.full((camera.height * camera.width,), -1, dtype=torch.int64, device=means2d.device)
    if len(ids) == 0:
        return median.reshape(camera.height, camera.width)
    centers = torch.stack([pixels % camera.width, pixels // camera.width], dim=-1) + 0.5
    dx, dy = (means2d[0, ids] - centers).unbind(-1)
    xx, xy, yy = conics[0, ids].unbind(-1)
    alphas = (opacities[0, ids] * torch.exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy)).clamp(max=MAX_ALPHA)
    # The logarithm of each pixel's light, behind each of its Gaussians: a running sum less what it was at its first.
    sums = torch.log1p(-alphas.double()).cumsum(0)
    starts = torch.ones_like(pixels, dtype=torch.bool)
    starts[1:] = pixels[1:] != pixels[:-1]
    first = torch.nonzero(starts)[:, 0][starts.cumsum(0) - 1]  # of each entry's pixel
    before = sums[first] - torch.log1p(-alphas[first].double())
    halved = sums - before <= LOG_HALF
    crossing = halved.clone()
    crossing[1:] &= ~halved[:-1] | starts[1:]
    median[pixels[crossing]] = ids[crossing]
    return median.reshape(camera.height, camera.width)


def _each_blur(
    gaussians: Gaussians,
    cameras: Cameras,
    backgrounds: Float[Tensor, "c 3"],
    means2d_absgrad: Float32[Tensor, "c n 2"] | None,
    options: ProjectionOptions,
    starts: list[int],
) -> Rendering:
    """Render each run of cameras with equal blur, which begins at one of `starts`, in a call of its own."""
    parts = []
    for first, end in pairwise([*starts, len(cameras)]):
        absolute = None if means2d_absgrad is None else means2d_absgrad[first:end]
        own = options.of_camera(first)
        parts.append(rasterize_gsplat(gaussians, cameras[first:end], backgrounds[first:end], absolute, own))
    return Rendering(*(torch.cat(images) for images in zip(*parts, strict=True)))


def collect_absgrad(means2d: Tensor, total: Float32[Tensor, "c n 2"]) -> None:
    """Add to `total` what gsplat's backward pass leaves in `means2d.absgrad`, just before the gradient to `means2d`.

    It holds for one backward pass: the hook keeps the tensor alive, and goes so that the two do not stay for ever. So
    they would where no backward pass follows.
    """

    def add(_gradient: Tensor) -> None:
        handle.remove()
        total.add_(means2d.absgrad.to(total.device))  # type: ignore[attr-defined]

    handle = means2d.register_hook(add)


def require_usable() -> None:
    """A GatlasError where gsplat cannot render on this machine."""
    reason = why_unusable()
    if reason is not None:
        raise GatlasError(f"gsplat does not run here: {reason}. Use the CPU instead (backend 'cpu').")


@cache
def why_unusable() -> str | None:
    """Why gsplat cannot render on this machine, in one line; None where it can. Tried once per process.

    A successful `import gsplat` proves nothing: its kernels are loaded, or compiled, at the first call.
    """
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    try:
        # It reports on standard output, which carries results here.
        with exclusive_build(), contextlib.redirect_stdout(sys.stderr):
            from gsplat import rasterization

            one = torch.tensor([[0.0, 0.0, 1.0]], device="cuda")
            rasterization(
                means=one,
                quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]], device="cuda"),
                scales=torch.ones_like(one),
                opacities=torch.ones_like(one[:, 0]),
                colors=torch.ones_like(one),
                viewmats=torch.eye(4, device="cuda")[None],
                Ks=torch.eye(3, device="cuda")[None],
                width=16,
                height=16,
                packed=False,
            )
            torch.cuda.synchronize()
    except Exception as error:  # a missing compiler, driver or wheel fails in as many ways as there are machines
        return describe_failure(error)
    return None
