"""Atlas to Gaussians."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.atlas.fitted import fitted_fields
from gatlas.atlas.plane import plane_permutation
from gatlas.atlas.spaces import STORED_FRAME
from gatlas.errors import GatlasError
from gatlas.geometry.frames import half_turn, with_turned_ball
from gatlas.geometry.rotations import normalize_quats
from gatlas.geometry.sh import rgb_to_dc
from gatlas.transport import PROJECTIONS, SPHERE_NAME, fibonacci_sphere
from gatlas.types import LOG_SCALE_RANGE, Gaussians, Origin

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Atlas


def decode(atlas: Atlas) -> Gaussians:
    """The Gaussians of an atlas, cell by cell, without its padding (numpy): the inverse of `encode`.

    Cells of opacity 0 are padding. Values that a generated atlas has outside the spaces are clamped into them.
    """
    meta = atlas.meta
    positions = unit_positions(atlas)
    center, scale = normalization(meta)

    opacities = np.clip(atlas.opacity.reshape(-1), 0.0, 1.0)
    real = opacities > 0
    if not real.any():
        raise GatlasError("every cell of the atlas is transparent: there are no Gaussians in it")
    rotation = atlas.rotation.reshape(-1, 4)[real].astype(np.float64)
    if (np.linalg.norm(rotation, axis=1) < 1e-12).any():
        raise GatlasError("the atlas has zero quaternions in its plane 'rotation': it was not written by gatlas")
    log_scales = np.clip(atlas.scale.reshape(-1, 3)[real].astype(np.float64), *LOG_SCALE_RANGE)
    color = np.clip(atlas.color.reshape(-1, 1, 3)[real], 0.0, 1.0)
    decoded = Gaussians(
        means=(positions[real] * scale + center).astype(np.float32),
        quats=normalize_quats(rotation).astype(np.float32),
        scales=(np.exp(log_scales) * scale).astype(np.float32),
        opacities=opacities[real].astype(np.float32),
        sh=rgb_to_dc(color).astype(np.float32),
        origin=origin_of(meta),
    )
    return half_turned(decoded) if meta.get("frame") == STORED_FRAME else decoded


def half_turned(gaussians: Gaussians) -> Gaussians:
    """Return the Gaussians after half a turn about z: from a published file's axes to the object's, and back."""
    means, quats, sh = half_turn(gaussians.means, gaussians.quats.astype(np.float64), gaussians.sh, "z")
    origin = with_turned_ball(gaussians.origin, np.diag([-1.0, -1.0, 1.0]))
    return replace(gaussians, means=means, quats=normalize_quats(quats).astype(np.float32), sh=sh, origin=origin)


def unit_positions(atlas: Atlas) -> Float[np.ndarray, "cells 3"]:
    """Position in the unit ball of every cell, row by row, padding included (float64)."""
    sphere_name = atlas.meta.get("sphere")
    if sphere_name != SPHERE_NAME:
        raise GatlasError(f"the atlas uses the sphere layout {sphere_name!r}; this version knows {SPHERE_NAME!r}")
    projection = atlas.meta.get("projection")
    if not isinstance(projection, str) or projection not in PROJECTIONS:
        raise GatlasError(f"the atlas uses the projection {projection!r}; this version knows {', '.join(PROJECTIONS)}")
    cells = plane_permutation(atlas.size, projection)
    return atlas.offset.reshape(-1, 3).astype(np.float64) + fibonacci_sphere(atlas.size**2)[cells]


def normalization(meta: Any) -> tuple[np.ndarray, float]:
    """Center and scale of the coordinates that `encode` was given."""
    record = meta.get("normalization", {"center": [0.0, 0.0, 0.0], "scale": 1.0})
    try:
        center, scale = np.array(record["center"], dtype=np.float64).reshape(3), float(record["scale"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise GatlasError(f"the atlas's meta has a broken 'normalization': {record!r}") from error
    if not (np.isfinite(center).all() and np.isfinite(scale) and scale > 0):
        raise GatlasError(f"the atlas's meta has a broken 'normalization': {record!r}")
    return center, scale


def origin_of(meta: Any) -> Origin:
    """Origin of the object of an atlas's meta; a broken one is a GatlasError."""
    record = meta.get("origin", {})
    try:
        x, y, z = (float(value) for value in record.get("center", (0.0, 0.0, 0.0)))
        scale = float(record.get("scale", 1.0))
        if not (np.isfinite([x, y, z, scale]).all() and scale > 0):
            raise ValueError(f"scale {scale}")
        return Origin(
            name=str(record.get("name", "")),
            center=(x, y, z),
            scale=scale,
            normalized=bool(record.get("normalized", False)),
            **fitted_fields(record),
        )
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise GatlasError(f"the atlas's meta has a broken 'origin': {record!r}") from error
