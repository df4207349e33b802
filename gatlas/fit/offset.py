"""A bound on the distance of the Gaussians' centers from the surface of the mesh that is fitted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from gatlas.meshes.closest import closest_points, surround

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

    from gatlas.fit.adam import Adam
    from gatlas.types import Gaussians, Mesh

# Radii: a center that is moved back ends this much inside the bound; rounding a position of up to 2 to float32 is less.
INSIDE = 5e-7
EVERY = 10  # steps: in between a center leaves the bound by less than ten of Adam's steps


class OffsetBound:
    """Between the steps of an optimization: moves centers that are too far from the surface back to the bound.

    `mesh` is in the unit ball, `limit` in its radii. A center moves towards its closest point of the surface; the
    moments of Adam stay. That happens every EVERY steps; `applied` brings the result of the last ones within the bound.
    Only those centers are measured again that have moved by more than was left of the bound when they were measured
    last, which finds the same ones as measuring all: a resumed fit is the undisturbed one.
    """

    def __init__(self, mesh: Mesh, limit: float) -> None:
        if not limit > INSIDE:
            raise ValueError(f"limit must be above {INSIDE} radii, got {limit}")
        self._tree, self._limit = surround(mesh), limit
        self._measured: torch.Tensor | None = None  # [n 3] where each center was when it was measured
        self._left: torch.Tensor | None = None  # [n] the way from there that cannot lead out of the bound

    def __call__(self, step: int, parameters: dict[str, torch.Tensor], adam: Adam) -> None:
        if step % EVERY:
            return
        means = parameters["means"].detach()
        rows = self._doubtful(means)
        if len(rows) == 0:
            return
        placed, left = self._within(means[rows].cpu().numpy())
        with torch.no_grad():
            means[rows] = torch.from_numpy(placed).to(means.device)
        if self._measured is None or self._left is None or len(self._left) != len(means):
            self._measured, self._left = means.clone(), torch.zeros(len(means), device=means.device)
        self._measured[rows] = means[rows]
        self._left[rows] = torch.from_numpy(left).to(means.device)

    def applied(self, gaussians: Gaussians) -> Gaussians:
        """Return the Gaussians (numpy) with all centers within the bound; those that are stay where they are."""
        placed, _ = self._within(np.asarray(gaussians.means, dtype=np.float32))
        return replace(gaussians, means=placed)

    def _doubtful(self, means: torch.Tensor) -> Int[torch.Tensor, " k"]:
        """Return the rows that may be out of the bound."""
        if self._measured is None or self._left is None or len(self._left) != len(means):
            return torch.arange(len(means), device=means.device)
        return torch.nonzero(torch.linalg.vector_norm(means - self._measured, dim=1) >= self._left)[:, 0]

    def _within(
        self, means: Float32[np.ndarray, "n 3"]
    ) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, " n"]]:
        """Return the centers brought within the bound, and the way from there that cannot lead out of it."""
        distances, points, _ = closest_points(self._tree, means)
        placed = means.copy()
        out = distances > self._limit
        offsets = means[out].astype(np.float64) - points[out]
        placed[out] = points[out] + offsets * ((self._limit - INSIDE) / distances[out, None])
        # Less than the difference, as both are rounded; a center at the bound is always measured again.
        left = np.where(out, 0.0, np.maximum(self._limit - distances, 0.0) * (1 - 1e-5) - 2 * INSIDE)
        return placed, left.astype(np.float32)
