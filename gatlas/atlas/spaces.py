"""The value spaces of the five planes. They are named in every atlas's `meta`, so that no reader has to guess."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.geometry.cameras import around, fibonacci_views
from gatlas.geometry.frames import into_unit_ball
from gatlas.geometry.rotations import normalize_quats
from gatlas.geometry.sh import dc_to_rgb, rgb_to_dc
from gatlas.metrics.psnr import psnr
from gatlas.raster import rasterize
from gatlas.raster.flat_color import with_flat_color
from gatlas.types import LOG_SCALE_RANGE, SPACES

if TYPE_CHECKING:
    from gatlas.types import Gaussians

__all__ = ["FORMAT", "MIN_OPACITY", "SPACES", "STORED_FRAME", "Clamped", "clamp_to_spaces", "clamping_psnr"]

FORMAT = 1  # version of the atlas file format, `meta["gatlas_atlas"]`

# What the PLY's logit keeps of a transparent Gaussian; below it only padding remains.
MIN_OPACITY = 1e-6


# `meta["frame"]` of an atlas that was imported with its index maps, which hold in the axes of the published file:
# viewers turn those by half a turn about z to stand the object up. Without it the axes are the object's own.
STORED_FRAME = "y-down"


class Clamped(NamedTuple):
    """Gaussians inside the atlas's value spaces, and how many had to be moved there."""

    gaussians: Gaussians
    scales: int  # Gaussians with a scale outside the range
    colors: int  # Gaussians with a color outside [0, 1]


def clamp_to_spaces(gaussians: Gaussians) -> Clamped:
    """The Gaussians (normalized to the unit ball) as an atlas can hold them."""
    low, high = (float(np.exp(bound)) for bound in LOG_SCALE_RANGE)
    scales = np.clip(gaussians.scales, low, high)
    rgb = dc_to_rgb(gaussians.sh[:, 0].astype(np.float64))
    clipped = np.clip(rgb, 0.0, 1.0)
    tolerance = 1e-6  # float32 noise of a color that was stored as a coefficient
    clamped = replace(
        gaussians,
        quats=normalize_quats(gaussians.quats.astype(np.float64)).astype(np.float32),
        scales=scales,
        opacities=np.clip(gaussians.opacities, MIN_OPACITY, 1.0),
        sh=rgb_to_dc(clipped)[:, None].astype(np.float32),
    )
    return Clamped(
        clamped,
        scales=int((np.abs(np.log(gaussians.scales / scales)) > tolerance).any(axis=1).sum()),
        colors=int((np.abs(rgb - clipped) > tolerance).any(axis=1).sum()),
    )


def clamping_psnr(gaussians: Gaussians, *, views: int = 8, side: int = 128) -> float:
    """Return the least PSNR in dB of pictures of the clamped Gaussians against those of the given ones (numpy).

    Both without view-dependent color, from all around, over white; infinite where no picture changes.
    """
    unit = with_flat_color(into_unit_ball(gaussians)[0])
    cameras = around(unit, fibonacci_views(views, side, side))
    white = np.ones(3, dtype=np.float32)
    before, after = (
        np.clip(rasterize(each, cameras, background=white).colors, 0.0, 1.0)
        for each in (unit, clamp_to_spaces(unit).gaussians)
    )
    return float(psnr(after, before).min())
