"""The refinement that NoPoSplat publishes with its pose estimation (Ye et al. 2024): 200 steps of Adam.

It moves the camera about its own centre, without masks, at one size, and keeps the last pose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.rotations import se3_exp
from gatlas.images.gray import is_gray, to_gray
from gatlas.pose.compare import AS_IT_IS, Camera, make_target
from gatlas.pose.descend import render_leaves
from gatlas.pose.motion import step_gradient, turn_between
from gatlas.pose.refine import (
    Refined,
    RefineOptions,
    agreement_of,
    failed,
    out_of_reach,
    unexplained,
)

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gatlas.metrics.lpips import Lpips
    from gatlas.types import Gaussians

STEPS = 200
BLACK = np.zeros(3, dtype=np.float32)
RATE = 0.005  # of both parts
LPIPS_WEIGHT = 0.05
WINDOW, SIGMA = 11, 1.5
C3 = 0.03**2 / 2  # half of SSIM's C2 for values in [0, 1]
MOST = 0.98  # of a pixel's structure: what is this alike pulls no more


class AdamState:
    """Moments of the gradient to a step that starts from zero every time."""

    def __init__(self, size: int, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8) -> None:
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
) -> Refined:
    """The camera after the published recipe (numpy); `lpips` is VGG's, and its term is left out where it is None.

    The losses are the recipe's own: MSE + 0.05 LPIPS + (1 - structure). Without a `background` it is the one colour of
    the photo's border, and where there is none the recipe's black. With `side` the photo is reduced to that many pixels
    on the longer side; the recipe has them all. A camera that the picture does not bear out is a failure, as of
    `refine`.
    """
    import torch

    if photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"photo must have shape [h w 3], got {list(photo.shape)}")
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    start = camera = Camera(viewmat.astype(np.float64), K.astype(np.float64))
    if not (np.isfinite(camera.viewmat).all() and np.isfinite(camera.K).all() and np.isfinite(photo).all()):
        return failed("the photo or the camera to start from has values that are NaN or infinite")
    found = make_target(photo, None, background, side)
    behind = BLACK if found.background is None else found.background
    target = found._replace(background=behind)
    if is_gray(target.picture):
        gaussians = to_gray(gaussians)
    wanted = torch.from_numpy(target.picture)
    adam = AdamState(6)
    losses = []
    for i in range(steps + 1):
        rendering, leaves = render_leaves(gaussians, target, camera)
        if not bool((rendering.alphas > 0).any()):
            return failed("the Gaussians left the picture")
        image = rendering.colors[0] + (1 - rendering.alphas[0]) * torch.from_numpy(behind)
        loss = ((image - wanted) ** 2).mean() + 1 - structure(image, wanted)
        if lpips is not None:
            loss = loss + LPIPS_WEIGHT * lpips(image[None], wanted[None]).mean()
        v_means, v_quats = (each.numpy() for each in torch.autograd.grad(loss, leaves[:2]))
        gradient = step_gradient(gaussians, v_means, v_quats, camera.viewmat, np.zeros(3))
        losses.append(float(loss.detach()))
        if not (np.isfinite(losses[-1]) and np.isfinite(gradient).all()):
            return failed("the loss or its gradient became NaN")
        if i < steps:
            camera = Camera(se3_exp(adam.step(gradient, RATE)) @ camera.viewmat, camera.K)
    options = RefineOptions()
    if losses[-1] > losses[0]:
        return failed(f"it diverged: the loss rose from {losses[0]:.4g} to {losses[-1]:.4g}")
    turn = turn_between(start.viewmat, camera.viewmat)
    if turn > options.reach:
        return failed(out_of_reach(turn, options.reach))
    agreement = agreement_of(gaussians, target, camera, AS_IT_IS)
    if not agreement >= options.agreement:
        return failed(unexplained(agreement, options.agreement))
    return Refined(camera.viewmat, camera.K, losses[0], losses[-1], agreement, AS_IT_IS, steps)


def structure(image: Float[Tensor, "h w 3"], wanted: Float[Tensor, "h w 3"]) -> Float[Tensor, ""]:
    """Mean of SSIM's structure term, at most 0.98 a pixel: the correlation in a window (Wang et al. 2004, eq. 10).

    Beyond the edge is black. The roots' gradients stay finite where a window is flat.
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
    return ((covariance + C3) / ((variances[0] * variances[1]).sqrt() + C3)).clamp(max=MOST).mean()
