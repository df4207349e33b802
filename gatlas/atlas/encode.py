"""Gaussians -> atlas."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas import __version__
from gatlas.atlas.plane import plane_permutation
from gatlas.atlas.spaces import FORMAT, SPACES, clamp_to_spaces
from gatlas.errors import GatlasError
from gatlas.sh import dc_to_rgb
from gatlas.transport import SPHERE_NAME, assign, fibonacci_sphere
from gatlas.types import Atlas, Gaussians

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


def encode(gaussians: Gaussians, size: int = 128, *, projection: str = "equirect", solver: str = "auction") -> Atlas:
    """Lay the Gaussians out as a `size` x `size` atlas (numpy).

    Fewer Gaussians than cells: the smallest are duplicated at opacity 0. More: the smallest by mean scale are dropped.
    Gaussians in their own units are normalised into the unit ball first, and `decode` undoes it. What was padded,
    dropped and clamped, the transport's mean squared distance and its certified gap are in `meta`.

    Xiang et al. 2025, sec. 4.1-4.2; padding and dropping follow the authors' published converter.
    """
    if size < 2:
        raise ValueError(f"size must be >= 2, got {size}")
    if len(gaussians) == 0:
        raise GatlasError("there are no Gaussians to lay out")
    count = len(gaussians)
    unit, center, scale = _into_unit_ball(gaussians)
    clamped = clamp_to_spaces(unit)
    chosen, padding = _fill(clamped.gaussians, size * size)
    filled = clamped.gaussians[chosen]

    # The exact optimum is unique up to equal costs; sorting first makes it independent of the order in the file.
    order = np.lexsort((padding, *filled.means.T[::-1]))
    filled, padding = filled[order], padding[order]
    sphere = fibonacci_sphere(size * size)
    transport = assign(filled.means, sphere, solver=solver)
    on_sphere = np.empty(size * size, dtype=np.int64)
    on_sphere[transport.targets] = np.arange(size * size)  # sphere point -> Gaussian
    cells = plane_permutation(size, projection)  # cell -> sphere point
    laid = filled[on_sphere[cells]]
    padded = padding[on_sphere[cells]]

    meta: dict[str, Any] = {
        "gatlas_atlas": FORMAT,
        "version": __version__,
        "spaces": dict(SPACES),
        "sphere": SPHERE_NAME,
        "projection": projection,
        "size": size,
        "count": count,
        "padded": int(padding.sum()),
        "dropped": max(0, count - size * size),
        "clamped": {
            "scales": clamped.scales,
            "colors": clamped.colors,
            "view_dependent": clamped.view_dependent,
        },
        "normalization": {"center": center, "scale": scale},
        "origin": asdict(gaussians.origin),
        "transport": {"solver": solver, "cost": float(transport.cost), "gap": float(transport.gap)},
    }
    side = (size, size)
    return Atlas(
        offset=(laid.means.astype(np.float64) - sphere[cells]).astype(np.float32).reshape(*side, 3),
        color=np.clip(dc_to_rgb(laid.sh[:, 0]), 0.0, 1.0).astype(np.float32).reshape(*side, 3),
        opacity=np.where(padded, 0.0, laid.opacities).astype(np.float32).reshape(*side, 1),
        scale=np.log(laid.scales.astype(np.float64)).astype(np.float32).reshape(*side, 3),
        rotation=laid.quats.astype(np.float32).reshape(*side, 4),
        meta=meta,
    )


def _into_unit_ball(gaussians: Gaussians) -> tuple[Gaussians, list[float], float]:
    """The Gaussians with their means in the unit ball, and the centre and scale that lead back.

    What `fit` wrote is normalised already, by its mesh, and stays as it is: two fits of one mesh share one frame.
    """
    if gaussians.origin.normalized:
        return gaussians, [0.0, 0.0, 0.0], 1.0
    means = gaussians.means.astype(np.float64)
    center = (means.min(axis=0) + means.max(axis=0)) / 2
    scale = float(np.linalg.norm(means - center, axis=1).max())
    if scale == 0.0:  # a single Gaussian, or all at one place
        scale = 1.0
    unit = replace(
        gaussians,
        means=((means - center) / scale).astype(np.float32),
        scales=(gaussians.scales.astype(np.float64) / scale).astype(np.float32),
    )
    return unit, center.tolist(), scale


def _fill(gaussians: Gaussians, cells: int) -> tuple[Int[np.ndarray, " cells"], Bool[np.ndarray, " cells"]]:
    """Which Gaussian fills each of `cells` places, and which of the places are padding.

    Padding copies different Gaussians, smallest first: many points at one place would carry no layout.
    """
    count = len(gaussians)
    by_size = np.argsort(gaussians.scales.mean(axis=1), kind="stable")
    if count >= cells:
        return np.sort(by_size[count - cells :]), np.zeros(cells, dtype=bool)
    copies = np.resize(by_size, cells - count)
    return np.concatenate([np.arange(count), copies]), np.arange(cells) >= count
