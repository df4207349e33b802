"""The share of Gaussians that are faint, and their distances from the surface that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.meshes.closest import closest_points

if TYPE_CHECKING:
    from gatlas.types import Gaussians, Mesh

FAINT = 0.05  # opacity below which a Gaussian is faint
FAR = 0.01  # radii of the unit ball from the surface beyond which a center is far


def cleanness(gaussians: Gaussians, mesh: Mesh | None = None) -> dict[str, float]:
    """Return what a fit's report holds under `clean` (numpy): shares in 0..1 and distances of centers from the surface.

    `faint_share` of the Gaussians have an opacity below FAINT. With the mesh, normalized as the Gaussians are:
    `offset_p99` and `offset_max`, the 99th percentile and the greatest of the distances in radii of the unit ball, the
    same in the object's own units, and `far_share`, farther than FAR radii. A center inside the body counts like one
    outside. Exact, of float64.
    """
    measured = {"faint_share": float(np.mean(gaussians.opacities < FAINT))}
    if mesh is None:
        return measured
    offsets = closest_points(mesh, gaussians.means).distances
    p99, greatest = float(np.quantile(offsets, 0.99)), float(offsets.max())
    scale = gaussians.origin.scale
    return {
        **measured,
        "offset_p99": p99,
        "offset_max": greatest,
        "offset_p99_own_units": p99 * scale,
        "offset_max_own_units": greatest * scale,
        "far_share": float(np.mean(offsets > FAR)),
    }
