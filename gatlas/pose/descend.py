"""Adam on a camera, with the gradients of the rasteriser's backward pass: the last tenths of a pixel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.pose.compare import AS_IT_IS, Exposure, Target, pixel_weights, predict, see
from gatlas.pose.levenberg import Camera
from gatlas.pose.motion import Pivot, step_gradient
from gatlas.raster.colors import seen_colors
from gatlas.sh import SH_C0
from gatlas.types import Cameras, Gaussians

if TYPE_CHECKING:
    from jaxtyping import Float, Float32
    from torch import Tensor

    from gatlas.metrics.lpips import Lpips
    from gatlas.raster import Rendering

BETAS = (0.9, 0.99)
EPSILON = 1e-12
LAST_RATE = 0.05  # of the first, reached exponentially: what is left is the noise of the last steps
SSIM_WEIGHT = 0.2
LPIPS_WEIGHT = 0.05


class Descent(NamedTuple):
    """The best camera on the way."""

    camera: Camera
    loss: float
    steps: int  # taken


class AdamState:
    """Moments of the gradient to a step that starts from zero every time."""

    def __init__(self, size: int, betas: tuple[float, float] = BETAS, epsilon: float = EPSILON) -> None:
        self.betas, self.epsilon = betas, epsilon
        self.mean = np.zeros(size)
        self.square = np.zeros(size)
        self.count = 0

    def step(self, gradient: Float[np.ndarray, " k"], rate: float) -> Float[np.ndarray, " k"]:
        """What to move by (Kingma & Ba 2015, algorithm 1)."""
        self.count += 1
        first, second = self.betas
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient**2
        mean = self.mean / (1 - first**self.count)
        square = self.square / (1 - second**self.count)
        return -rate * mean / (np.sqrt(square) + self.epsilon)


def descend(
    gaussians: Gaussians,
    target: Target,
    camera: Camera,
    pivot: Pivot,
    steps: int,
    rate: float,
    *,
    exposure: Exposure = AS_IT_IS,
    lpips: Lpips | None = None,
) -> Descent | None:
    """`steps` steps of Adam on `picture_difference`, `rate` in the pivot's units; K stays (Gaussians are numpy).

    The pixels that count are those of the first camera. None where nothing is in view.
    """
    weights = pixel_weights(target, see(gaussians, camera.viewmat, camera.K, target))
    if weights is None:
        return None
    adam = AdamState(6)
    best, lowest = camera, np.inf
    for i in range(steps + 1):
        loss, gradient = loss_gradient(gaussians, target, camera, pivot, weights, exposure, lpips)
        if not (np.isfinite(loss) and np.isfinite(gradient).all()):
            return None
        if loss < lowest:
            best, lowest = camera, loss
        if i < steps:
            decayed = rate * LAST_RATE ** (i / max(steps - 1, 1))
            camera = camera.stepped(pivot, adam.step(gradient, decayed))
    return Descent(best, lowest, steps)


def picture_difference(
    image: Float[Tensor, "h w 3"],
    wanted: Float[Tensor, "h w 3"],
    weights: Float[Tensor, "h w"],
    lpips: Lpips | None = None,
) -> Float[Tensor, ""]:
    """MSE + 0.2 (1 - SSIM), and 0.05 LPIPS where a network is given, over the pixels that count.

    Differentiable to `image`. The others are made equal, so that no window of the SSIM or the network sees them differ.
    """
    from gatlas.raster.ssim import ssim

    share = weights.mean()
    counted = weights[..., None]
    shown = counted * wanted + (1 - counted) * image.detach()
    loss = ((image - shown) ** 2).mean() / share + SSIM_WEIGHT * (1 - ssim(image[None], shown[None])) / share
    return loss if lpips is None else loss + LPIPS_WEIGHT * lpips(image[None], shown[None]).mean() / share


def camera_loss(
    gaussians: Gaussians,
    target: Target,
    camera: Camera,
    exposure: Exposure = AS_IT_IS,
    lpips: Lpips | None = None,
) -> float | None:
    """`picture_difference` at a camera, over the pixels that count there; None where too few do."""
    import torch

    seen = see(gaussians, camera.viewmat, camera.K, target)
    weights = pixel_weights(target, seen)
    if weights is None:
        return None
    image, wanted = (torch.from_numpy(picture) for picture in (predict(target, seen, exposure), target.picture))
    with torch.no_grad():
        return float(picture_difference(image, wanted, torch.from_numpy(weights), lpips))


def loss_gradient(
    gaussians: Gaussians,
    target: Target,
    camera: Camera,
    pivot: Pivot,
    weights: Float32[np.ndarray, "h w"],
    exposure: Exposure,
    lpips: Lpips | None = None,
) -> tuple[float, Float[np.ndarray, " 6"]]:
    """The loss at a camera and its gradient to a step in the pivot's units.

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
    v_means, v_quats = (each.numpy() for each in torch.autograd.grad(loss, leaves))
    gradient = step_gradient(gaussians, v_means, v_quats, camera.viewmat, center)
    return float(loss.detach()), gradient * pivot.units


def render_leaves(gaussians: Gaussians, target: Target, camera: Camera) -> tuple[Rendering, tuple[Tensor, Tensor]]:
    """The Gaussians over black, differentiable to their means and quaternions, which are returned as well."""
    import torch

    from gatlas.raster import rasterize

    height, width = target.picture.shape[:2]
    colors = next(iter(seen_colors(gaussians, camera.viewmat[None])))
    frozen = replace(gaussians, sh=((colors - 0.5) / SH_C0)[:, None])
    fields = (frozen.means, frozen.quats, frozen.scales, frozen.opacities, frozen.sh)
    means, quats, scales, opacities, sh = (torch.from_numpy(np.array(each, dtype=np.float32)) for each in fields)
    leaves = (means.requires_grad_(), quats.requires_grad_())
    cameras = Cameras(camera.viewmat[None], (target.stretch * camera.K)[None], width, height)
    return rasterize(Gaussians(means, quats, scales, opacities, sh), cameras), leaves
