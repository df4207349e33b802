"""Sets of point clouds against each other: distances, coverage, MMD and 1-NNA (Yang et al. 2019, PointFlow)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Float64


def chamfer_distance(points: Float[np.ndarray, "n 3"], others: Float[np.ndarray, "m 3"]) -> float:
    """Return the mean distance from each point to the nearest of the other set, averaged over both directions."""
    return float(pairwise_chamfer([points], [others])[0, 0])


def pairwise_chamfer(
    clouds: Sequence[Float[np.ndarray, "_ 3"]],
    others: Sequence[Float[np.ndarray, "_ 3"]] | None = None,
    *,
    on_row: Callable[[], None] = lambda: None,
) -> Float64[np.ndarray, "n m"]:
    """Return the chamfer distance (not squared) of each cloud from each of the others; None: from each other.

    `on_row` is called after each cloud. A cloud without points is a ValueError.
    """
    from scipy.spatial import cKDTree

    if any(len(cloud) == 0 for cloud in (*clouds, *(others or ()))):
        raise ValueError("every cloud needs points")
    trees = [cKDTree(cloud) for cloud in clouds]
    other_trees = trees if others is None else [cKDTree(cloud) for cloud in others]
    found = np.zeros((len(trees), len(other_trees)))
    for i, tree in enumerate(trees):
        for j in range(i + 1 if others is None else 0, len(other_trees)):
            there, back = other_trees[j].query(tree.data)[0], tree.query(other_trees[j].data)[0]
            found[i, j] = (there.mean() + back.mean()) / 2
        on_row()
    return found + found.T if others is None else found


def wasserstein_distance(points: Float[np.ndarray, "n 3"], others: Float[np.ndarray, "m 3"]) -> float:
    """Return the Wasserstein-2 distance of two clouds, each of mass 1: the root of the least mean squared transport.

    Exact: clouds of one count by the auction, of different counts by POT's network simplex.
    """
    from gatlas.transport import assign
    from gatlas.transport.emd import mean_transport_cost

    if len(points) == 0 or len(others) == 0:
        raise ValueError("every cloud needs points")
    if len(points) == len(others):
        return assign(points, others).cost ** 0.5
    return mean_transport_cost(np.asarray(points, dtype=np.float64), np.asarray(others, dtype=np.float64)) ** 0.5


def pairwise_wasserstein(
    clouds: Sequence[Float[np.ndarray, "_ 3"]],
    others: Sequence[Float[np.ndarray, "_ 3"]] | None = None,
    *,
    on_row: Callable[[], None] = lambda: None,
) -> Float64[np.ndarray, "n m"]:
    """Return the Wasserstein-2 distance of each cloud from each of the others, as `pairwise_chamfer` does."""
    columns = clouds if others is None else others
    found = np.zeros((len(clouds), len(columns)))
    for i, cloud in enumerate(clouds):
        for j in range(i + 1 if others is None else 0, len(columns)):
            found[i, j] = wasserstein_distance(cloud, columns[j])
        on_row()
    return found + found.T if others is None else found


DISTANCES = {"chamfer": pairwise_chamfer, "wasserstein": pairwise_wasserstein}


class SetDistances(NamedTuple):
    """Agreement of a set of samples with a reference set."""

    coverage: float  # share of the reference that is the nearest of some sample
    mmd: float  # minimum matching distance: mean over the reference of the distance to the nearest sample
    one_nna: float  # accuracy of a nearest-neighbor classifier: 1/2 where the sets are alike


def set_distances(
    across: Float[np.ndarray, "n m"], samples: Float[np.ndarray, "n n"], references: Float[np.ndarray, "m m"]
) -> SetDistances:
    """Return the measures from distances of samples to references, and within both.

    An object whose nearest of either set is as near counts a half to the accuracy. Samples that copy their references
    take it below 1/2, to 0.
    """
    n, m = across.shape
    if n == 0 or m == 0:
        raise ValueError(f"both sets need objects, got {n} and {m}")
    coverage = len(np.unique(across.argmin(axis=1))) / m
    inside_samples = samples + np.diag(np.full(n, np.inf))
    inside_references = references + np.diag(np.full(m, np.inf))
    own = np.concatenate([inside_samples.min(axis=1), inside_references.min(axis=1)])
    other = np.concatenate([across.min(axis=1), across.min(axis=0)])
    right = (own < other) + 0.5 * (own == other)
    return SetDistances(coverage, float(across.min(axis=0).mean()), float(right.mean()))
