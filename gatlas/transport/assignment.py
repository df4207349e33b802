"""`assign`: the exact one-to-one assignment of two point sets under squared Euclidean distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

SOLVERS = ("auction", "emd")

_LARGEST = 1e150  # squares of larger coordinates overflow


@dataclass(frozen=True, eq=False)
class Assignment:
    """A one-to-one assignment and the proof of its quality."""

    targets: Int[np.ndarray, " n"]  # int64: sources[i] goes to targets[targets[i]]
    cost: float  # mean squared distance
    min_slack: float  # least reduced cost over all pairs, squared units; 0 = the prices are feasible
    gap: float  # (cost - proven lower bound) / cost; 0 = proven optimal, for the auction's rounded coordinates


def assign(
    sources: Float[np.ndarray, "n d"],
    targets: Float[np.ndarray, "n d"],
    *,
    solver: str = "auction",
    threads: int | None = None,
) -> Assignment:
    """Match sources to targets one-to-one so that the mean squared distance is least; d is 1, 2 or 3.

    `auction` is exact: coordinates are rounded to 2^-24 of each cloud's radius, then all arithmetic is on integers, and
    a pass over all n^2 pairs proves the result (`gap` 0). `emd` is `ot.emd`, for an independent check: far slower, and
    it holds the full cost matrix. Neither depends on the order of the points, except among exactly equal ones.
    `threads` (default 1) speeds up the passes over all pairs and never changes the result.
    """
    sources = _checked("sources", sources)
    targets = _checked("targets", targets)
    if sources.shape != targets.shape:
        raise ValueError(
            f"sources and targets must have the same shape, got {list(sources.shape)} and {list(targets.shape)}"
        )
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be >= 1, got {threads}")

    source_order = np.lexsort(sources.T[::-1])
    target_order = np.lexsort(targets.T[::-1])
    if solver == "emd":
        from gatlas.transport.emd import solve_emd

        sorted_matches, min_slack, mean_slack = solve_emd(sources[source_order], targets[target_order])
    else:
        from gatlas.transport.auction import solve_auction

        sorted_matches, min_slack, mean_slack = solve_auction(
            sources[source_order], targets[target_order], threads=threads or 1
        )
    matches = np.empty(len(sources), dtype=np.int64)
    matches[source_order] = target_order[sorted_matches]
    cost = float(np.square(sources - targets[matches]).sum(axis=1).mean())
    if cost > 0:
        gap = mean_slack / cost
    else:
        gap = 0.0 if mean_slack == 0 else float("inf")
    return Assignment(targets=matches, cost=cost, min_slack=min_slack, gap=gap)


def _checked(name: str, points: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] not in (1, 2, 3):
        raise ValueError(f"{name} must be [n d] with d = 1, 2 or 3, got shape {list(points.shape)}")
    if len(points) == 0:
        raise ValueError(f"{name} must hold at least one point, got none")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise ValueError(f"{name} must be finite, got {points[row].tolist()} in row {row}")
    if np.abs(points).max() > _LARGEST:
        raise ValueError(f"{name} must be at most {_LARGEST:g} in magnitude, got {np.abs(points).max():g}")
    return points
