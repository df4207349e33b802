"""Gaussians moved as a whole, cropped, reduced in degree, and several sets as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.geometry.frames import denormalized, turned, with_turned_ball
from gatlas.geometry.sh import degree_of, with_degree
from gatlas.types import Gaussians, Origin

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

    from gatlas.convert.options import ConvertOptions, Crop, Vector


def convert(gaussians: Gaussians, options: ConvertOptions, *, report: Report = ignore) -> Gaussians:
    """Return Gaussians scaled, turned, moved, cropped and reduced in degree as the options say (numpy).

    None left by the crop is a GatlasError.
    """
    if options.denormalize:
        gaussians = denormalized(gaussians)
    rotate, translate = options.vector("rotate"), options.vector("translate")
    if options.scale != 1.0 or rotate is not None or translate is not None:
        if gaussians.origin.normalized:
            report("the way back to the units of its source is left out: it was moved; --denormalize goes there first")
        with np.errstate(over="ignore", invalid="ignore"):
            gaussians = moved(gaussians, options.scale, rotate or (0.0, 0.0, 0.0), translate or (0.0, 0.0, 0.0))
        if not (np.isfinite(gaussians.means).all() and np.isfinite(gaussians.scales).all() and gaussians.scales.all()):
            raise GatlasError(f"--scale {options.scale:g}: the Gaussians leave the range of 32-bit numbers")
    region = options.crop_region()
    if region is not None:
        inside = _inside(gaussians, region)
        if not inside.any():
            raise GatlasError(f"--crop {options.crop}: none of the {len(gaussians):,} Gaussians is in it")
        report(f"cropped to {np.count_nonzero(inside):,} of {len(gaussians):,} Gaussians")
        gaussians = gaussians[inside] if not inside.all() else gaussians
    if options.sh_degree is not None and options.sh_degree < degree_of(gaussians.sh.shape[1]):
        gaussians = replace(gaussians, sh=with_degree(gaussians.sh, options.sh_degree))
    return gaussians


def rotation_matrix(degrees: Vector) -> Float64[np.ndarray, "3 3"]:
    """Return the rotation about x, then about y, then about z (counter-clockwise, axes at rest)."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        c, s = np.cos(angle), np.sin(angle)
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[one, one], turn[one, other], turn[other, one], turn[other, other] = c, -s, s, c
        matrix = turn @ matrix
    return matrix


def moved(gaussians: Gaussians, scale: float, degrees: Vector, shift: Vector) -> Gaussians:
    """Return Gaussians scaled, then turned, then shifted, in the units that result: their source's are left."""
    rotation = rotation_matrix(degrees)
    origin = gaussians.origin
    far = np.asarray(origin.center) if origin.recentered else np.zeros(3)
    means, quats, sh = gaussians.means.astype(np.float64), gaussians.quats, gaussians.sh
    if any(degrees):
        means, quats, sh = turned(means, quats.astype(np.float64), sh, rotation)
    center = scale * (rotation @ far) + shift
    placed = scale * means + (0.0 if origin.recentered else center)
    x, y, z = (float(value) for value in center)
    kept = with_turned_ball(origin, rotation)
    kept = kept.scaled((0.0, 0.0, 0.0) if origin.recentered else (x, y, z), scale)
    kept = replace(kept, center=(x, y, z) if origin.recentered else (0.0, 0.0, 0.0), scale=1.0, normalized=False)
    return replace(
        gaussians,
        means=placed.astype(np.float32),
        quats=quats.astype(np.float32),
        scales=(gaussians.scales.astype(np.float64) * scale).astype(np.float32),
        sh=sh,
        origin=kept,
    )


def _inside(gaussians: Gaussians, region: Crop) -> Bool[np.ndarray, " n"]:
    points = gaussians.means.astype(np.float64)
    if gaussians.origin.recentered:
        points = points + gaussians.origin.center
    return in_region(points, region)


def in_region(points: Float64[np.ndarray, "n 3"], region: Crop) -> Bool[np.ndarray, " n"]:
    """Return which points are in a box between two corners or in a ball, borders included."""
    if region.kind == "sphere":
        *center, radius = region.numbers
        return np.linalg.norm(points - center, axis=1) <= radius
    one, other = np.array(region.numbers[:3]), np.array(region.numbers[3:])
    return ((points >= np.minimum(one, other)) & (points <= np.maximum(one, other))).all(axis=1)


def merge(parts: Sequence[Gaussians], *, report: Report = ignore) -> Gaussians:
    """Return several sets as one, with the highest of their degrees (numpy); none at all is a ValueError.

    Sets with one normalization keep it; others are put where their sources are.
    """
    if not parts:
        raise ValueError("merge needs at least one set of Gaussians")
    frames = {(part.origin.normalized, part.origin.center, part.origin.scale) for part in parts}
    if len(frames) > 1:
        if any(part.origin.normalized for part in parts):
            report("merged in the units and places of their sources: their normalizations differ")
        parts = [denormalized(part) if part.origin.normalized else part for part in parts]
    first = parts[0].origin
    base = np.asarray(first.center)
    if len({part.origin.antialiased for part in parts}) > 1:
        report("some were fitted for the antialiased mode and some were not: they are shown without it")
    shifts = [np.asarray(part.origin.center) - base if part.origin.recentered else -base * first.recentered
              for part in parts]  # fmt: skip
    degree = max(degree_of(part.sh.shape[1]) for part in parts)
    return Gaussians(
        means=np.concatenate([_shifted(part, shift) for part, shift in zip(parts, shifts, strict=True)]),
        quats=np.concatenate([part.quats for part in parts]),
        scales=np.concatenate([part.scales for part in parts]),
        opacities=np.concatenate([part.opacities for part in parts]),
        sh=np.concatenate([with_degree(part.sh, degree) for part in parts]),
        origin=_merged_origin([part.origin for part in parts]),
    )


def _shifted(part: Gaussians, shift: Float64[np.ndarray, " 3"]) -> np.ndarray:
    return (part.means.astype(np.float64) + shift).astype(np.float32) if shift.any() else part.means


def _merged_origin(origins: Sequence[Origin]) -> Origin:
    first = origins[0]
    same = all(each.ball == first.ball and each.pixel_sizes is not None for each in origins)
    sizes = [each.pixel_sizes for each in origins if each.pixel_sizes is not None]
    pixels = (min(low for low, _ in sizes), max(high for _, high in sizes)) if same else None
    return Origin(
        name=first.name,
        center=first.center,
        scale=first.scale,
        normalized=first.normalized,
        pixel_sizes=pixels,
        ball=first.ball if same else None,
        antialiased=all(each.antialiased for each in origins),
    )
