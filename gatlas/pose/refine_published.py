"""The refinement that NoPoSplat publishes with its pose estimation (Ye et al. 2024): 200 steps of Adam.

It moves the camera about its own center, without masks, at one size, and keeps the last pose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.rotations import se3_exp
from gatlas.images.gray import is_gray, to_gray
from gatlas.pose.candidates import bounding_ball
from gatlas.pose.compare import IDENTITY_EXPOSURE, Camera, make_target
from gatlas.pose.descend import render_differentiable
from gatlas.pose.motion import rotation_angle, step_gradient
from gatlas.pose.refinement import (
    NOT_FINITE,
    RefinedPose,
    RefineOptions,
    agreement_at,
    failed_refinement,
    out_of_reach,
    too_little_agreement,
)

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.metrics.lpips import Lpips
    from gatlas.types import Gaussians

STEPS = 200
BLACK = np.zeros(3, dtype=np.float32)
LEARNING_RATE = 0.005  # of rotation and translation, radians and units of the scene
LPIPS_WEIGHT = 0.05
WINDOW, SIGMA = 11, 1.5
C3 = 0.03**2 / 2  # half of SSIM's C2 for values in [0, 1]
MAX_STRUCTURE = 0.98  # per pixel: pixels that are more alike have no gradient


class AdamState:
    """Moments of the gradient for steps from a zero vector."""

    def __init__(self, size: int, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8) -> None:
        self.betas, self.epsilon = betas, epsilon
        self.mean = np.zeros(size)
        self.square = np.zeros(size)
        self.count = 0

    def step(self, gradient: Float[np.ndarray, " k"], rate: float) -> Float[np.ndarray, " k"]:
        """Return the step (Kingma & Ba 2015, algorithm 1)."""
        self.count += 1
        first, second = self.betas
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient**2
        mean = self.mean / (1 - first**self.count)
        square = self.square / (1 - second**self.count)
        return -rate * mean / (np.sqrt(square) + self.epsilon)


def refine_published(
    gaussians: Gaussians,
    photo: Float[np.ndarray, "h w 3"],
    viewmat: Float[np.ndarray, "4 4"],
    K: Float[np.ndarray, "3 3"],
    *,
    background: tuple[float, float, float] | None = None,
    side: int | None = None,
    steps: int = STEPS,
    lpips: Lpips | None = None,
) -> RefinedPose:
    """Return the camera after the published recipe (numpy); without `lpips` (of VGG) its term is left out.

    The loss is the recipe's own: MSE + 0.05 LPIPS + (1 - structure). The background is `background`, else the uniform
    color of the photo's border, else the recipe's black. With `side` the photo is reduced to that many pixels on the
    longer side; the recipe uses the full size. A camera that explains too little of the photo is a failure, as in
    `refine`.
    """
    import torch

    if photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"photo must have shape [h w 3], got {list(photo.shape)}")
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    # The start and the target
    start = camera = Camera(viewmat.astype(np.float64), K.astype(np.float64))
    if not (np.isfinite(camera.viewmat).all() and np.isfinite(camera.K).all() and np.isfinite(photo).all()):
        return failed_refinement(NOT_FINITE)
    target = make_target(photo, None, background, side)
    color = BLACK if target.background is None else target.background
    target = target._replace(background=color)
    if is_gray(target.picture):
        gaussians = to_gray(gaussians)
    # Adam; the last iteration only measures
    wanted = torch.from_numpy(target.picture)
    adam = AdamState(6)
    units = _step_units(gaussians)
    losses = []
    for i in range(steps + 1):
        rendering, leaves = render_differentiable(gaussians, target, camera)
        if not bool((rendering.alphas > 0).any()):
            return failed_refinement("the Gaussians left the picture")
        image = rendering.colors[0] + (1 - rendering.alphas[0]) * torch.from_numpy(color)
        loss = ((image - wanted) ** 2).mean() + 1 - structure_similarity(image, wanted)
        if lpips is not None:
            loss = loss + LPIPS_WEIGHT * lpips(image[None], wanted[None]).mean()
        v_means, v_quats = (each.numpy() for each in torch.autograd.grad(loss, leaves[:2]))
        gradient = step_gradient(gaussians, v_means, v_quats, camera.viewmat, np.zeros(3)) * units
        losses.append(float(loss.detach()))
        if not (np.isfinite(losses[-1]) and np.isfinite(gradient).all()):
            return failed_refinement("the loss or its gradient became NaN")
        if i < steps:
            camera = Camera(se3_exp(adam.step(gradient, LEARNING_RATE) * units) @ camera.viewmat, camera.K)
    # Acceptance
    options = RefineOptions()
    if losses[-1] > losses[0]:
        return failed_refinement(f"it diverged: the loss rose from {losses[0]:.4g} to {losses[-1]:.4g}")
    turn = rotation_angle(start.viewmat, camera.viewmat)
    if turn > options.reach:
        return failed_refinement(out_of_reach(turn, options.reach))
    agreement = agreement_at(gaussians, target, camera, IDENTITY_EXPOSURE)
    if not agreement >= options.agreement:
        return failed_refinement(too_little_agreement(agreement, options.agreement))
    return RefinedPose(camera.viewmat, camera.K, losses[0], losses[-1], agreement, IDENTITY_EXPOSURE, steps)


def _step_units(gaussians: Gaussians) -> Float[np.ndarray, " 6"]:
    """Return the units of translation and rotation. A pixel-aligned scene has the recipe's own unit of length."""
    radius = 1.0 if gaussians.origin.grid is not None else bounding_ball(gaussians)[1]
    return np.array([radius] * 3 + [1.0] * 3)


def structure_similarity(image: Float[Tensor, "h w 3"], wanted: Float[Tensor, "h w 3"]) -> Float[Tensor, ""]:
    """Return the mean of SSIM's structure term, the correlation in a window, at most 0.98 per pixel.

    Wang et al. 2004, eq. 10. The outside of the pictures is black. Gradients are finite where a window is constant.
    """
    import torch
    from torch.nn.functional import conv2d

    line = torch.exp(-((torch.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2)).to(image)
    line = line / line.sum()
    window = (line[:, None] * line).expand(3, 1, WINDOW, WINDOW)

    def mean(picture: Tensor) -> Tensor:
        return conv2d(picture.permute(2, 0, 1)[None], window, padding=WINDOW // 2, groups=3)

    first, second = mean(image), mean(wanted)
    variances = (mean(image**2) - first**2).clamp(min=1e-8), (mean(wanted**2) - second**2).clamp(min=1e-8)
    covariance = mean(image * wanted) - first * second
    return ((covariance + C3) / ((variances[0] * variances[1]).sqrt() + C3)).clamp(max=MAX_STRUCTURE).mean()
