"""Final refinement of a camera: quasi-Newton descent on MSE + 0.2 (1 - SSIM) with the rasterizer's backward pass.

The seventh variable, in addition to the pose, is eps2d, by which the photo's pixels widen the Gaussians. A splat is
exact for the pixels that it was fitted to. Nearer, or in larger pictures, the rasterizer's fixed 0.3 square pixels
widen it less, which looks like a camera farther away (measured: 0.7 % of the distance for a splat fitted at twice the
size).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.scene_unit import scene_unit
from gatlas.geometry.sh import SH_C0
from gatlas.pose.compare import (
    IDENTITY_EXPOSURE,
    Camera,
    Comparison,
    Exposure,
    Target,
    blur_variance,
    predict_photo,
    render_at,
)
from gatlas.pose.levenberg import picture_gradient, pixel_flow
from gatlas.pose.motion import Pivot, step_gradient
from gatlas.raster.colors import seen_colors
from gatlas.raster.rendering import NEAR_PLANE
from gatlas.types import Cameras, Gaussians, Origin

if TYPE_CHECKING:
    from jaxtyping import Float, Float32
    from torch import Tensor

    from gatlas.metrics.lpips import Lpips
    from gatlas.raster import Rendering

SSIM_WEIGHT = 0.2
LPIPS_WEIGHT = 0.05
LOG_EPS2D_STEP = 0.1  # of the finite difference by log eps2d
BLUR_STEP = 1e-3  # of the finite difference of the blur by the camera, pivot's units
EPS2D_RANGE = (0.02, 2.0)  # square pixels
MAX_STEP = np.array([0.02] * 6 + [0.7])  # per variable: the pivot's units, and log eps2d
MIN_DECREASE = 1e-4  # of the decrease predicted by the gradient (Nocedal & Wright 2006, eq. 3.4)
CONVERGED_STEP = 5e-5  # pivot's units


class Descent(NamedTuple):
    """The best camera of a descent."""

    camera: Camera
    loss: float
    steps: int  # taken


def descend(
    gaussians: Gaussians,
    comparison: Comparison,
    pivot: Pivot,
    steps: int,
    *,
    exposure: Exposure = IDENTITY_EXPOSURE,
    lpips: Lpips | None = None,
) -> Descent | None:
    """Return the camera after at most `steps` steps of BFGS on `picture_loss`, with K unchanged (numpy).

    The first inverse Hessian is that of Gauss-Newton. The pixel weights are those of the first camera. None where
    nothing is in view.
    """
    camera, target, weights = comparison.camera, comparison.target, comparison.weights
    if weights is None:
        return None
    inverse = initial_inverse_hessian(gaussians, comparison, weights, pivot, exposure)
    loss, gradient = loss_gradient(gaussians, target, camera, pivot, weights, exposure, lpips)
    if not (np.isfinite(loss) and np.isfinite(gradient).all()):
        return None
    rescaled, shrink, taken = False, 1.0, 0
    while taken < steps:
        step = -inverse @ gradient
        step *= shrink * min(1.0, float((MAX_STEP / np.maximum(np.abs(step), 1e-12)).min()))
        step[6] = np.clip(step[6], *np.log(np.array(EPS2D_RANGE) / camera.eps2d))
        tried = camera.moved(pivot, step[:6])._replace(eps2d=camera.eps2d * float(np.exp(step[6])))
        taken += 1
        reached, new_gradient = loss_gradient(gaussians, target, tried, pivot, weights, exposure, lpips)
        if not (np.isfinite(reached) and np.isfinite(new_gradient).all()):
            return None
        change = new_gradient - gradient
        curvature = float(step @ change)
        if curvature > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            if not rescaled:  # the first inverse Hessian is that of the MSE alone
                inverse *= curvature / float(change @ inverse @ change)
                rescaled = True
            update = np.eye(7) - np.outer(step, change) / curvature
            inverse = update @ inverse @ update.T + np.outer(step, step) / curvature
        if reached <= loss + MIN_DECREASE * float(step @ gradient):
            camera, loss, gradient, shrink = tried, reached, new_gradient, 1.0
        else:
            shrink *= 0.4
        if np.abs(step[:6]).max() < CONVERGED_STEP:
            break
    return Descent(camera, loss, taken)


def initial_inverse_hessian(
    gaussians: Gaussians, comparison: Comparison, weights: Float32[np.ndarray, "h w"], pivot: Pivot, exposure: Exposure
) -> Float[np.ndarray, "7 7"]:
    """Return the inverse of the Gauss-Newton matrix of the mean squared error."""
    camera, target, render = comparison.camera, comparison.target, comparison.render
    wider = camera._replace(eps2d=camera.eps2d * float(np.exp(LOG_EPS2D_STEP)))
    image = predict_photo(target, render, exposure)
    moves = pixel_flow(target, camera, pivot, False, render)
    columns = list(-np.einsum("kahw,ahwc->khwc", moves, picture_gradient(image), optimize=True))
    columns.append((predict_photo(target, render_at(gaussians, wider, target), exposure) - image) / LOG_EPS2D_STEP)
    jacobian = np.stack(columns)
    weighted = jacobian * weights[..., None]
    full = (weighted.reshape(7, -1) @ jacobian.reshape(7, -1).T).astype(np.float64)
    full += np.diag(1e-3 * np.diag(full) + 1e-9 * max(float(np.diag(full).max()), 1e-30))
    return np.linalg.inv(full) * 1.5 * max(float(weights.sum()), 1.0)  # the loss is a mean over pixels and channels


def picture_loss(
    image: Float[Tensor, "h w 3"],
    wanted: Float[Tensor, "h w 3"],
    weights: Float[Tensor, "h w"],
    lpips: Lpips | None = None,
) -> Float[Tensor, ""]:
    """Return MSE + 0.2 (1 - SSIM), and 0.05 LPIPS where a network is given, over the weighted pixels.

    Differentiable by `image`. The other pixels are made equal: they add nothing to SSIM's windows or the network.
    """
    from gatlas.metrics.ssim import ssim

    share = weights.mean()
    mask = weights[..., None]
    goal = mask * wanted + (1 - mask) * image.detach()
    loss = ((image - goal) ** 2).mean() / share + SSIM_WEIGHT * (1 - ssim(image[None], goal[None])) / share
    return loss if lpips is None else loss + LPIPS_WEIGHT * lpips(image[None], goal[None]).mean() / share


def comparison_loss(
    comparison: Comparison, weights: Float32[np.ndarray, "h w"], exposure: Exposure, lpips: Lpips | None = None
) -> float:
    """Return the `picture_loss` of a comparison over the weighted pixels."""
    import torch

    image = torch.from_numpy(predict_photo(comparison.target, comparison.render, exposure))
    with torch.no_grad():
        return float(picture_loss(image, torch.from_numpy(comparison.target.picture), torch.from_numpy(weights), lpips))


def loss_gradient(
    gaussians: Gaussians,
    target: Target,
    camera: Camera,
    pivot: Pivot,
    weights: Float32[np.ndarray, "h w"],
    exposure: Exposure,
    lpips: Lpips | None = None,
) -> tuple[float, Float[np.ndarray, " 7"]]:
    """Return the loss at a camera and its gradient by a step in the pivot's units and by log eps2d.

    View-dependent colors are those from this camera: their own change is left out of the gradient.
    """
    import torch

    rendering, leaves = render_differentiable(gaussians, target, camera)
    gain, offset = (torch.from_numpy(np.asarray(each, dtype=np.float32)) for each in exposure)
    wanted = torch.from_numpy(target.picture)
    background = wanted if target.background is None else torch.from_numpy(target.background)
    image = rendering.colors[0] * gain + rendering.alphas[0] * (offset - background) + background
    loss = picture_loss(image, wanted, torch.from_numpy(weights), lpips)
    center = camera.viewmat[:3, :3] @ pivot.point + camera.viewmat[:3, 3]
    v_means, v_quats, v_scales = (each.numpy() for each in torch.autograd.grad(loss, leaves))
    gradient = step_gradient(gaussians, v_means, v_quats, camera.viewmat, center) * pivot.units
    v_log_eps2d = eps2d_gradient(gaussians, target, camera, v_scales)
    if gaussians.origin.antialiased:  # the opacities change with it too
        wider = camera._replace(eps2d=camera.eps2d * float(np.exp(LOG_EPS2D_STEP)))
        changed = Comparison(wider, target, render_at(gaussians, wider, target))
        v_log_eps2d = (comparison_loss(changed, weights, exposure, lpips) - float(loss.detach())) / LOG_EPS2D_STEP
    gradient += v_log_eps2d * blur_flow(gaussians, target, camera, pivot)
    return float(loss.detach()), np.append(gradient, v_log_eps2d)


def blur_flow(gaussians: Gaussians, target: Target, camera: Camera, pivot: Pivot) -> Float[np.ndarray, " 6"]:
    """Return the derivatives of the log of `blur_variance` by a step in the pivot's units.

    They are 0 where the camera's pixels are among those that the Gaussians were fitted to.
    """
    if gaussians.origin.pixel_sizes is None:
        return np.zeros(6)
    own = camera._replace(K=target.stretch * camera.K)
    steps = BLUR_STEP * np.eye(6)
    ahead, behind = (
        [np.log(blur_variance(gaussians, own.moved(pivot, sign * step))) for step in steps] for sign in (1, -1)
    )
    return np.subtract(ahead, behind) / (2 * BLUR_STEP)


def eps2d_gradient(gaussians: Gaussians, target: Target, camera: Camera, v_scales: Float32[np.ndarray, "n 3"]) -> float:
    """Return the gradient by log eps2d from the gradients by the scales.

    Widening a Gaussian in the picture is adding a ball of the pixel's size at its depth (near the optical axis).
    """
    z = gaussians.means.astype(np.float64) @ camera.viewmat[2, :3] + camera.viewmat[2, 3]
    K = target.stretch * camera.K
    ball = blur_variance(gaussians, camera._replace(K=K)) * z**2 / (K[0, 0] * K[1, 1])  # world units squared
    tiny = np.finfo(np.float32).tiny  # no length: scales are above 0 in any unit
    return float((0.5 * v_scales / np.maximum(gaussians.scales, tiny) * ball[:, None]).sum())


def render_differentiable(gaussians: Gaussians, target: Target, camera: Camera) -> tuple[Rendering, tuple[Tensor, ...]]:
    """Return the Gaussians over black, and the means, quaternions and scales by which the picture is differentiable."""
    import torch

    from gatlas.raster import rasterize

    height, width = target.picture.shape[:2]
    colors = next(iter(seen_colors(gaussians, camera.viewmat[None])))
    frozen = replace(gaussians, sh=((colors - 0.5) / SH_C0)[:, None])
    fields = (frozen.means, frozen.quats, frozen.scales, frozen.opacities, frozen.sh)
    means, quats, scales, opacities, sh = (torch.from_numpy(np.array(each, dtype=np.float32)) for each in fields)
    leaves = (means.requires_grad_(), quats.requires_grad_(), scales.requires_grad_())
    cameras = Cameras(camera.viewmat[None], (target.stretch * camera.K)[None], width, height)
    near_plane = NEAR_PLANE * scene_unit(gaussians)
    frozen = Gaussians(means, quats, scales, opacities, sh, Origin(antialiased=gaussians.origin.antialiased))
    eps2d = blur_variance(gaussians, camera._replace(K=target.stretch * camera.K))
    return rasterize(frozen, cameras, eps2d=eps2d, near_plane=near_plane, far_plane=math.inf), leaves
