"""Generated planes to an atlas that every verb accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas import __version__
from gatlas.atlas.fitted import check_fitted, fitted_fields
from gatlas.atlas.spaces import FORMAT, SPACES
from gatlas.atlas.statistics import unstack
from gatlas.errors import GatlasError
from gatlas.geometry.rotations import normalize_quats
from gatlas.systems.gaussian_atlas.gaussians import sphere_points
from gatlas.transport import SPHERE_NAME
from gatlas.types import LOG_SCALE_RANGE, Atlas, Origin

if TYPE_CHECKING:
    from jaxtyping import Float

# Fainter cells are padding: the network learns padding as opacity 0 and predicts it with a little noise.
MIN_OPACITY = 0.05


def generated_atlas(
    planes: Float[np.ndarray, "h h 14"], layout: Mapping[str, Any], name: str, record: Mapping[str, Any]
) -> Atlas:
    """Return the atlas of raw planes from a network: every value inside its space, unit quaternions with w >= 0.

    Positions outside the unit ball are moved onto it, and cells fainter than MIN_OPACITY become padding (0).
    `layout` has the "projection" and "frame" of the training set, and the pixels and the mode that it was fitted to;
    `record` describes how the sample was made.
    """
    if not np.isfinite(planes).all():
        raise GatlasError(
            f"sample {name}: the network gave values that are not finite: its training diverged, or --dtype fp32 helps"
        )
    size = planes.shape[0]
    offset, color, opacity, scale, rotation = np.split(planes.astype(np.float64), [3, 6, 7, 10], axis=-1)
    projection = str(layout["projection"])
    sphere = sphere_points(size, projection)
    position = offset + sphere
    position = position / np.maximum(np.linalg.norm(position, axis=-1, keepdims=True), 1.0)
    opacity = np.clip(opacity, 0.0, 1.0)
    opacity[opacity < MIN_OPACITY] = 0.0
    zero = np.linalg.norm(rotation, axis=-1, keepdims=True) < 1e-12
    rotation = normalize_quats(np.where(zero, [1.0, 0.0, 0.0, 0.0], rotation))
    inside_scale, inside_color = np.clip(scale, *LOG_SCALE_RANGE), np.clip(color, 0.0, 1.0)
    real = int((opacity > 0).sum())
    meta = {
        "gatlas_atlas": FORMAT,
        "version": __version__,
        "spaces": dict(SPACES),
        "sphere": SPHERE_NAME,
        "projection": projection,
        "size": size,
        "count": real,
        "padded": size * size - real,
        "dropped": 0,
        "split": 0,
        "clamped": {
            "scales": int((inside_scale != scale).any(axis=-1).sum()),
            "colors": int((inside_color != color).any(axis=-1).sum()),
            "view_dependent": 0,
        },
        "normalization": {"center": [0.0, 0.0, 0.0], "scale": 1.0},
        "origin": _origin(name, layout).as_record(),
        "sample": dict(record),
    }
    if layout.get("frame") is not None:
        meta["frame"] = layout["frame"]
    parts = [position - sphere, inside_color, opacity, inside_scale, rotation]
    return unstack(np.concatenate(parts, axis=-1).astype(np.float32), meta)


def _origin(name: str, layout: Mapping[str, Any]) -> Origin:
    check_fitted(layout, "the statistics")
    return Origin(name=name, normalized=True, **fitted_fields(layout))
