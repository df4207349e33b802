"""An atlas as a SOG, whose pixels are the cells: viewers of SOG show it, and no transport leads back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gatlas.atlas.decoding import half_turned, normalization, origin_of, unit_positions
from gatlas.atlas.spaces import STORED_FRAME
from gatlas.errors import GatlasError
from gatlas.geometry.rotations import normalize_quats
from gatlas.geometry.sh import dc_to_rgb, rgb_to_dc
from gatlas.types import LOG_SCALE_RANGE, Atlas, Gaussians

LEAST_OPACITY = 1 / 255  # of a cell that is no padding: SOG has a byte for it


def as_grid(atlas: Atlas) -> Gaussians:
    """Return the cells of an atlas row by row, padding at opacity 0 included, in the units that it was encoded from."""
    center, scale = normalization(atlas.meta)
    opacities = np.clip(atlas.opacity.reshape(-1), 0.0, 1.0)
    rotation = atlas.rotation.reshape(-1, 4).astype(np.float64)
    grid = Gaussians(
        means=(unit_positions(atlas) * scale + center).astype(np.float32),
        quats=normalize_quats(rotation).astype(np.float32),
        scales=(np.exp(np.clip(atlas.scale.reshape(-1, 3), *LOG_SCALE_RANGE)) * scale).astype(np.float32),
        opacities=np.where(opacities > 0, np.maximum(opacities, LEAST_OPACITY), 0.0).astype(np.float32),
        sh=rgb_to_dc(np.clip(atlas.color.reshape(-1, 1, 3), 0.0, 1.0)).astype(np.float32),
        origin=replace(origin_of(atlas.meta), grid=(atlas.size, atlas.size)),
    )
    return half_turned(grid) if atlas.meta.get("frame") == STORED_FRAME else grid


def from_grid(gaussians: Gaussians, meta: Mapping[str, Any]) -> Atlas:
    """Return the atlas whose cells are these Gaussians: the inverse of `as_grid`, inside the value spaces.

    A meta that does not fit them is a GatlasError.
    """
    size = meta.get("size")
    if not isinstance(size, int) or size * size != len(gaussians):
        raise GatlasError(
            f"its meta is of an atlas of {size!r:.40} cells a side, it holds {len(gaussians):,} Gaussians"
        )
    center, scale = normalization(meta)
    grid = half_turned(gaussians) if meta.get("frame") == STORED_FRAME else gaussians
    side = (size, size)
    logs = np.log(grid.scales.astype(np.float64) / scale)
    planes = {
        "color": np.clip(dc_to_rgb(grid.sh[:, 0]), 0.0, 1.0).reshape(*side, 3),
        "opacity": grid.opacities.reshape(*side, 1),
        "scale": np.clip(logs, *LOG_SCALE_RANGE).reshape(*side, 3),
        "rotation": normalize_quats(grid.quats.astype(np.float64)).reshape(*side, 4),
    }
    empty = Atlas(offset=np.zeros((*side, 3), np.float32), **{k: v.astype(np.float32) for k, v in planes.items()},
                  meta=dict(meta))  # fmt: skip
    offset = (grid.means.astype(np.float64) - center) / scale - unit_positions(empty)
    return replace(empty, offset=offset.astype(np.float32).reshape(*side, 3))
