"""Planes of an atlas to Gaussians, with gradients, for the render losses.

The slow twin is `gatlas.atlas.decoding`, in numpy.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatlas.atlas.plane import plane_permutation
from gatlas.geometry.rotations import normalize_quats
from gatlas.geometry.sh import rgb_to_dc
from gatlas.transport import fibonacci_sphere
from gatlas.types import LOG_SCALE_RANGE, Gaussians, Origin

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@cache
def sphere_points(size: int, projection: str) -> Float[np.ndarray, "h h 3"]:
    """Return the point of the unit sphere from which each cell's offset starts (float32)."""
    points = fibonacci_sphere(size * size)[plane_permutation(size, projection)]
    return points.astype(np.float32).reshape(size, size, 3)


class _Bounded(torch.autograd.Function):
    """Clamp to [low, high]. Outside, only gradients that lead back pass, where a plain clamp passes none."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.bounds = low, high
        return values.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (values,), (low, high), gradient = ctx.saved_tensors, ctx.bounds, gradients[0]
        away = ((values < low) & (gradient > 0)) | ((values > high) & (gradient < 0))
        return gradient.masked_fill(away, 0.0), None, None


def bounded(values: Float[Tensor, "*n"], low: float, high: float) -> Float[Tensor, "*n"]:
    """Return the values clamped to [low, high], with gradients that still lead back from outside."""
    result: Tensor = _Bounded.apply(values, low, high)
    return result


def planes_to_gaussians(
    planes: Float[Tensor, "rows h 14"], sphere: Float[Tensor, "rows h 3"], *, antialiased: bool = False
) -> Gaussians:
    """Return the Gaussians of all cells, in the unit ball, row by row, padding (opacity 0) included.

    `planes` are raw, in the order offset, color, opacity, scale, rotation. Values outside their spaces are clamped; a
    zero quaternion, which has no gradient, becomes no rotation.
    """
    offset, color, opacity, scale, rotation = planes.reshape(-1, 14).split([3, 3, 1, 3, 4], dim=-1)
    zero = rotation.detach().norm(dim=-1, keepdim=True) < 1e-12
    identity = torch.zeros_like(rotation)
    identity[:, 0] = 1.0
    return Gaussians(
        means=offset + sphere.reshape(-1, 3),
        quats=normalize_quats(torch.where(zero, identity, rotation)),
        scales=bounded(scale, *LOG_SCALE_RANGE).exp(),
        opacities=bounded(opacity[:, 0], 0.0, 1.0),
        sh=rgb_to_dc(bounded(color, 0.0, 1.0))[:, None],
        origin=Origin(antialiased=antialiased),
    )


def batch_to_gaussians(
    planes: Float[Tensor, "b h h 14"], sphere: Float[Tensor, "h h 3"], *, antialiased: bool = False
) -> list[Gaussians]:
    """Return what `planes_to_gaussians` gives for each of several objects, computed at once."""
    b, h = len(planes), len(sphere)
    rows = planes.flatten(0, 1), sphere.expand(b, -1, -1, -1).flatten(0, 1)
    every = planes_to_gaussians(*rows, antialiased=antialiased)
    fields = (every.means, every.quats, every.scales, every.opacities, every.sh)
    split = (values.reshape(b, h * h, *values.shape[1:]).unbind() for values in fields)
    return [Gaussians(*parts, origin=every.origin) for parts in zip(*split, strict=True)]  # type: ignore[misc]
