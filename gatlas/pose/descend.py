"""The last tenths of a pixel: a quasi-Newton descent on MSE + 0.2 (1 - SSIM), with the rasteriser's backward pass.

A seventh number goes with the camera's six: how far the photo's pixels widen the Gaussians. A splat is exact for the
pixels that it was fitted to. Nearer, or in larger pictures, the rasteriser's fixed 0.3 square pixels widen it less,
which looks like a camera farther away (measured: 0.7 % of the distance for a splat fitted at twice the size).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.sh import SH_C0
from gatlas.pose.compare import AS_IT_IS, Camera, Exposure, Shot, Target, predict, see
from gatlas.pose.levenberg import flow, picture_gradient
from gatlas.pose.motion import Pivot, step_gradient
from gatlas.raster.colors import seen_colors
from gatlas.types import Cameras, Gaussians

if TYPE_CHECKING:
    from jaxtyping import Float, Float32
    from torch import Tensor

    from gatlas.metrics.lpips import Lpips
    from gatlas.raster import Rendering

SSIM_WEIGHT = 0.2
LPIPS_WEIGHT = 0.05
NUDGE = 0.1  # of the log of the widening, for the difference of two pictures
WIDENINGS = (0.02, 2.0)  # square pixels
LONGEST = np.array([0.02] * 6 + [0.7])  # a step's parts, in the pivot's units and of the log of the widening
SHARE = 1e-4  # of the fall that the gradient promises, which a step must bring (Nocedal & Wright 2006, eq. 3.4)
CONVERGED = 5e-5  # pivot's units


class Descent(NamedTuple):
    """The best camera on the way."""

    camera: Camera
    loss: float
    steps: int  # taken


def descend(
    gaussians: Gaussians,
    shot: Shot,
    pivot: Pivot,
    steps: int,
    *,
    exposure: Exposure = AS_IT_IS,
    lpips: Lpips | None = None,
) -> Descent | None:
    """At most `steps` steps of BFGS on `picture_difference` from the Gauss-Newton metric; K stays (numpy).

    The pixels that count are those of the first camera, the shot's. None where nothing is in view.
    """
    camera, target, weights = shot.camera, shot.target, shot.weights
    if weights is None:
        return None
    inverse = first_metric(gaussians, shot, weights, pivot, exposure)
    loss, gradient = loss_gradient(gaussians, target, camera, pivot, weights, exposure, lpips)
    if not (np.isfinite(loss) and np.isfinite(gradient).all()):
        return None
    scaled, shrink, taken = False, 1.0, 0
    while taken < steps:
        step = -inverse @ gradient
        step *= shrink * min(1.0, float((LONGEST / np.maximum(np.abs(step), 1e-12)).min()))
        step[6] = np.clip(step[6], *np.log(np.array(WIDENINGS) / camera.widening))
        tried = camera.stepped(pivot, step[:6])._replace(widening=camera.widening * float(np.exp(step[6])))
        taken += 1
        reached, new_gradient = loss_gradient(gaussians, target, tried, pivot, weights, exposure, lpips)
        if not (np.isfinite(reached) and np.isfinite(new_gradient).all()):
            return None
        change = new_gradient - gradient
        curvature = float(step @ change)
        if curvature > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            if not scaled:  # the metric is that of the MSE alone
                inverse *= curvature / float(change @ inverse @ change)
                scaled = True
            turn = np.eye(7) - np.outer(step, change) / curvature
            inverse = turn @ inverse @ turn.T + np.outer(step, step) / curvature
        if reached <= loss + SHARE * float(step @ gradient):
            camera, loss, gradient, shrink = tried, reached, new_gradient, 1.0
        else:
            shrink *= 0.4
        if np.abs(step[:6]).max() < CONVERGED:
            break
    return Descent(camera, loss, taken)


def first_metric(
    gaussians: Gaussians, shot: Shot, weights: Float32[np.ndarray, "h w"], pivot: Pivot, exposure: Exposure
) -> Float[np.ndarray, "7 7"]:
    """The inverse of the mean squared error's Gauss-Newton matrix."""
    camera, target, seen = shot.camera, shot.target, shot.seen
    wider = camera._replace(widening=camera.widening * float(np.exp(NUDGE)))
    image = predict(target, seen, exposure)
    moves = flow(target, camera, pivot, False, seen)
    columns = list(-np.einsum("kahw,ahwc->khwc", moves, picture_gradient(image), optimize=True))
    columns.append((predict(target, see(gaussians, wider, target), exposure) - image) / NUDGE)
    jacobian = np.stack(columns)
    weighed = jacobian * weights[..., None]
    full = (weighed.reshape(7, -1) @ jacobian.reshape(7, -1).T).astype(np.float64)
    full += np.diag(1e-3 * np.diag(full) + 1e-9 * max(float(np.diag(full).max()), 1e-30))
    return np.linalg.inv(full) * 1.5 * max(float(weights.sum()), 1.0)  # the loss is a mean over pixels and channels


def picture_difference(
    image: Float[Tensor, "h w 3"],
    wanted: Float[Tensor, "h w 3"],
    weights: Float[Tensor, "h w"],
    lpips: Lpips | None = None,
) -> Float[Tensor, ""]:
    """MSE + 0.2 (1 - SSIM), and 0.05 LPIPS where a network is given, over the pixels that count.

    Differentiable to `image`. The others are made equal, so that no window of the SSIM or the network sees them differ.
    """
    from gatlas.metrics.ssim import ssim

    share = weights.mean()
    counted = weights[..., None]
    shown = counted * wanted + (1 - counted) * image.detach()
    loss = ((image - shown) ** 2).mean() / share + SSIM_WEIGHT * (1 - ssim(image[None], shown[None])) / share
    return loss if lpips is None else loss + LPIPS_WEIGHT * lpips(image[None], shown[None]).mean() / share


def fixed_loss(
    shot: Shot, weights: Float32[np.ndarray, "h w"], exposure: Exposure, lpips: Lpips | None = None
) -> float:
    """`picture_difference` of what a camera shows, over the pixels that are given."""
    import torch

    image = torch.from_numpy(predict(shot.target, shot.seen, exposure))
    with torch.no_grad():
        return float(picture_difference(image, torch.from_numpy(shot.target.picture), torch.from_numpy(weights), lpips))


def loss_gradient(
    gaussians: Gaussians,
    target: Target,
    camera: Camera,
    pivot: Pivot,
    weights: Float32[np.ndarray, "h w"],
    exposure: Exposure,
    lpips: Lpips | None = None,
) -> tuple[float, Float[np.ndarray, " 7"]]:
    """The loss at a camera and its gradient to a step in the pivot's units and to the log of the widening.

    Colours that depend on the direction are those seen from here: their own change is left out of the gradient.
    """
    import torch

    rendering, leaves = render_leaves(gaussians, target, camera)
    gain, offset = (torch.from_numpy(np.asarray(each, dtype=np.float32)) for each in exposure)
    wanted = torch.from_numpy(target.picture)
    behind = wanted if target.background is None else torch.from_numpy(target.background)
    image = rendering.colors[0] * gain + rendering.alphas[0] * (offset - behind) + behind
    loss = picture_difference(image, wanted, torch.from_numpy(weights), lpips)
    center = camera.viewmat[:3, :3] @ pivot.point + camera.viewmat[:3, 3]
    v_means, v_quats, v_scales = (each.numpy() for each in torch.autograd.grad(loss, leaves))
    gradient = step_gradient(gaussians, v_means, v_quats, camera.viewmat, center) * pivot.units
    return float(loss.detach()), np.append(gradient, widening_gradient(gaussians, target, camera, v_scales))


def widening_gradient(
    gaussians: Gaussians, target: Target, camera: Camera, v_scales: Float32[np.ndarray, "n 3"]
) -> float:
    """Gradient to the log of the widening from gradients to the scales.

    What widens a Gaussian in the picture is a ball added to it, of the pixel's size at its depth (near the axis).
    """
    z = gaussians.means.astype(np.float64) @ camera.viewmat[2, :3] + camera.viewmat[2, 3]
    K = target.stretch * camera.K
    ball = camera.widening * z**2 / (K[0, 0] * K[1, 1])  # world units squared
    return float((0.5 * v_scales / np.maximum(gaussians.scales, 1e-9) * ball[:, None]).sum())


def render_leaves(gaussians: Gaussians, target: Target, camera: Camera) -> tuple[Rendering, tuple[Tensor, ...]]:
    """The Gaussians over black, differentiable to their means, quaternions and scales, which are returned as well."""
    import torch

    from gatlas.raster import rasterize

    height, width = target.picture.shape[:2]
    colors = next(iter(seen_colors(gaussians, camera.viewmat[None])))
    frozen = replace(gaussians, sh=((colors - 0.5) / SH_C0)[:, None])
    fields = (frozen.means, frozen.quats, frozen.scales, frozen.opacities, frozen.sh)
    means, quats, scales, opacities, sh = (torch.from_numpy(np.array(each, dtype=np.float32)) for each in fields)
    leaves = (means.requires_grad_(), quats.requires_grad_(), scales.requires_grad_())
    cameras = Cameras(camera.viewmat[None], (target.stretch * camera.K)[None], width, height)
    return rasterize(Gaussians(means, quats, scales, opacities, sh), cameras, eps2d=camera.widening), leaves
