"""The depth at which the rays of pixels enter the visual hull of all views: all that silhouettes say of a surface.

A small network that is given it learns where surfaces are in hundreds of steps instead of thousands, since it has not
to find by attention between views what follows from their cameras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

from gatlas.geometry.rays import rays
from gatlas.types import Cameras

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

SAMPLES = 36  # along a ray
HALVINGS = 3  # of the interval between two samples in which a ray enters
SPAN = 0.45  # of the first camera's distance, on both sides of the point that is nearest to the center
SOLID = 0.5  # alpha above which a pixel shows the object


class HullViews(NamedTuple):
    """Views of one object: their alphas and cameras."""

    alphas: Float[Tensor, "t s s"]
    viewmats: Float[Tensor, "t 4 4"]
    Ks: Float[Tensor, "t 3 3"]  # rows divided by the width and the height


def hull_entries(masks: HullViews, shape: tuple[int, int], distance: float) -> Float[Tensor, "v h w"]:
    """Return where the rays of the views' pixels enter the hull of all of them, along the rays.

    Lengths are measured from the point of the ray that is nearest to the center; 0 for rays that miss the hull, and
    where it has no end before SPAN, as that of one view has none. `shape` is the rows and columns of the result,
    `distance` that of the first camera.
    """
    solid = functional.adaptive_avg_pool2d(masks.alphas[:, None], shape).flatten() > SOLID
    origins, directions = rays(cameras_of(masks.viewmats, masks.Ks, shape[1], shape[0]))
    origins = origins[:, None, None].expand_as(directions).flatten(0, 2)[solid]
    directions = directions.flatten(0, 2)[solid]
    nearest = origins - (origins * directions).sum(1, keepdim=True) * directions
    steps = torch.linspace(-SPAN * distance, SPAN * distance, SAMPLES, device=nearest.device)
    inside = inside_all(nearest[:, None] + steps[:, None] * directions[:, None], *masks)
    enters = inside.any(dim=1) & ~inside[:, 0]
    inner, interval = steps[inside.int().argmax(dim=1)], 2 * SPAN * distance / (SAMPLES - 1)
    for _ in range(HALVINGS):
        interval /= 2
        middle = nearest + (inner - interval)[:, None] * directions
        inner = torch.where(inside_all(middle[:, None], *masks)[:, 0], inner - interval, inner)
    found = torch.zeros(len(solid), device=nearest.device)
    found[solid] = torch.where(enters, inner, 0.0)
    return found.view(len(masks.alphas), *shape)


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


def cameras_of(viewmats: Float[Tensor, "c 4 4"], Ks: Float[Tensor, "c 3 3"], width: int, height: int) -> Cameras:
    """Return cameras of a size; `Ks` have rows divided by the width and the height."""
    size = torch.tensor([[width], [height], [1.0]], device=Ks.device)
    return Cameras(viewmats, Ks * size, width, height)
