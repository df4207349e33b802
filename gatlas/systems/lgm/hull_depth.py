"""The depth of the visual hull along the rays of pixels: what the silhouettes of all views say of a view's depth.

A render moves a Gaussian only where it is nearly right. The hull tells early how far along its ray a surface may begin;
where an object is hollow it is too near, so its weight ends before the training does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from gatlas.geometry.rays import rays
from gatlas.systems.lgm.view_loss import cameras_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from gatlas.datasets.posed_views import PosedBatch
    from gatlas.models.lgm import ViewGaussians

SAMPLES = 36  # along a ray
SPAN = 0.45  # of the first camera's distance, on both sides of the point that is nearest to the center
SOLID = 0.5  # alpha above which a pixel shows the object


def hull_distance(
    gaussians: ViewGaussians, batch: PosedBatch, shape: tuple[int, int], distance: float
) -> Float[Tensor, ""]:
    """Return the mean distance, along the pixels' rays, of the Gaussians of solid pixels from the hull of all targets.

    `shape` is the rows and columns of Gaussians of a view, `distance` that of the first camera.
    """
    terms = []
    steps = torch.linspace(-SPAN * distance, SPAN * distance, SAMPLES, device=gaussians.means.device)
    for i, means in enumerate(gaussians.means):
        alphas = batch.context[i, ..., 3].float()[:, None] / 255
        solid = functional.adaptive_avg_pool2d(alphas, shape).flatten() > SOLID
        origins, directions = rays(
            cameras_of(batch.context_viewmats[i], batch.context_intrinsics[i], shape[1], shape[0])
        )
        origins = origins[:, None, None].expand_as(directions).flatten(0, 2)[solid]
        directions = directions.flatten(0, 2)[solid]
        nearest = origins - (origins * directions).sum(1, keepdim=True) * directions
        points = nearest[:, None] + steps[:, None] * directions[:, None]
        inside = inside_all(
            points, batch.targets[i, ..., 3].float() / 255, batch.target_viewmats[i], batch.target_intrinsics[i]
        )
        found = inside.any(dim=1)
        wanted = steps[inside.int().argmax(dim=1)]
        reached = ((means[solid] - nearest) * directions).sum(dim=1)
        terms.append((reached - wanted)[found].abs())
    every = torch.cat(terms)
    return every.mean() if len(every) else every.sum()


def inside_all(
    points: Float[Tensor, "n k 3"],
    alphas: Float[Tensor, "t s s"],
    viewmats: Float[Tensor, "t 4 4"],
    Ks: Float[Tensor, "t 3 3"],
) -> Bool[Tensor, "n k"]:
    """Return True for points that all views show as solid. `Ks` have rows divided by the width and the height."""
    side, flat = alphas.shape[-1], points.flatten(0, 1)
    inside = torch.ones(len(flat), dtype=torch.bool, device=points.device)
    for alpha, viewmat, K in zip(alphas, viewmats, Ks, strict=True):
        local = flat @ viewmat[:3, :3].T + viewmat[:3, 3]
        depth = local[:, 2:].clamp(min=1e-6)
        pixels = ((local @ K.T)[:, :2] / depth * side).floor().long()
        shown = ((pixels >= 0) & (pixels < side)).all(dim=1) & (local[:, 2] > 0)
        columns, rows = pixels.clamp(0, side - 1).unbind(1)
        inside &= shown & (alpha[rows, columns] > SOLID)
    return inside.view(points.shape[:2])
