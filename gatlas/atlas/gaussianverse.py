"""The published layout: index maps beside a PLY, `gs2sphere` for each object and one `sphere2plane` for all.

Their loaders take `gaussians[gs2sphere][sphere2plane]`. Which way round a map goes and whether it counts the points in
stored or in sorted order is written nowhere, and a wrong guess looks like noise: so every reading is tried, and the
one whose grid neighbors are neighbors in space is taken.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.atlas.check import MOST_DISTANT, neighbor_distance
from gatlas.atlas.decoding import decode, half_turned
from gatlas.atlas.encoding import lay_out, prepare
from gatlas.atlas.plane import plane_permutation
from gatlas.atlas.spaces import MIN_OPACITY, STORED_FRAME
from gatlas.errors import GatlasError
from gatlas.transport import fibonacci_sphere
from gatlas.types import Gaussians

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.types import Atlas


class Reading(NamedTuple):
    """One way to read a pair of index maps."""

    order: str  # of the Gaussians that gs2sphere counts: "stored" or "sorted" (by x, then y, then z)
    gs2sphere: str  # "map" or "inverse"
    sphere2plane: str  # "map" or "inverse"
    locality: float  # mean distance of grid neighbors over that of random pairs; 1 is noise


def find_reading(
    means: Float[np.ndarray, "n 3"], gs2sphere: Int[np.ndarray, " n"], sphere2plane: Int[np.ndarray, " n"]
) -> Reading:
    """The most local of the eight readings. That none is local is a GatlasError."""
    _check_permutation("gs2sphere", gs2sphere, len(means))
    _check_permutation("sphere2plane", sphere2plane, len(means))
    size = round(len(means) ** 0.5)
    if size * size != len(means):
        raise GatlasError(f"{len(means)} Gaussians fill no square grid: the index maps cannot be theirs")
    shuffled = means[np.random.default_rng(0).permutation(len(means))]
    random_distance = float(np.linalg.norm(means - shuffled, axis=1).mean())
    readings = []
    for order, first, second in product(("stored", "sorted"), ("map", "inverse"), ("map", "inverse")):
        on_sphere = _in_order(means, order)[_directed(gs2sphere, first)]
        distance = neighbor_distance(means[on_sphere][_directed(sphere2plane, second)], size)
        readings.append(Reading(order, first, second, distance / max(random_distance, 1e-30)))
    best = min(readings, key=lambda reading: reading.locality)
    if best.locality > MOST_DISTANT + 2 / size:  # the smaller the grid, the farther its neighbors
        raise GatlasError(
            "the index maps do not belong to these Gaussians: in no direction and order are neighbors in the grid "
            f"nearer than random pairs (best {best.locality:.2f} of a random pair's distance)"
        )
    return best


def from_published(
    gaussians: Gaussians,
    gs2sphere: Int[np.ndarray, " n"],
    sphere2plane: Int[np.ndarray, " n"],
    *,
    projection: str = "equirect",
    frame: str = STORED_FRAME,
) -> tuple[Atlas, Reading]:
    """An atlas that keeps the published assignment to the sphere (numpy), and how the maps were read.

    The published sphere is the same Fibonacci lattice, sorted by x, then y, then z; the flattening is our own, which
    is fixed too. `gaussians` must be in the order and the axes of their file: its `frame` is "y-down", and then
    `decode` stands the object up, or "y-up".
    """
    reading = find_reading(gaussians.means, gs2sphere, sphere2plane)
    count = len(gaussians)
    published = _in_order(gaussians.means, reading.order)[_directed(gs2sphere, reading.gs2sphere)]
    prepared = prepare(gaussians, count, "duplicate")
    # `prepare` sorts, so places in the file are turned into places in its order.
    rank = np.empty(count, dtype=np.int64)
    rank[prepared.order] = np.arange(count)
    sphere = fibonacci_sphere(count)
    on_sphere = np.empty(count, dtype=np.int64)
    on_sphere[_in_order(sphere, "sorted")] = rank[published]
    cost = float(((prepared.gaussians.means[on_sphere] - sphere) ** 2).sum(axis=1).mean())
    record = {"solver": "published", "cost": cost, "gap": None}
    return lay_out(prepared, on_sphere, projection, {"transport": record, "frame": frame}), reading


class Published(NamedTuple):
    """An atlas as the published loaders want it."""

    gaussians: Gaussians  # SH degree 3, in sorted order and the atlas's axes, padding included
    gs2sphere: Int[np.ndarray, " n"]
    sphere2plane: Int[np.ndarray, " n"]


def to_published(atlas: Atlas) -> Published:
    """Gaussians and index maps with `gaussians[gs2sphere][sphere2plane]` = the atlas, row by row (numpy).

    The Gaussians are stored in sorted order, so that a reader who sorts them first is right as well.
    """
    everything = decode(replace(atlas, opacity=np.maximum(atlas.opacity, MIN_OPACITY)))
    if atlas.meta.get("frame") == STORED_FRAME:
        everything = half_turned(everything)
    rest = np.zeros((len(everything), 15, 3), dtype=np.float32)  # their loaders insist on degree 3
    everything = replace(everything, sh=np.concatenate([everything.sh, rest], axis=1))
    cells = plane_permutation(atlas.size, str(atlas.meta.get("projection")))
    sphere_order = _in_order(fibonacci_sphere(len(cells)), "sorted")  # place in sorted order -> sphere point
    sphere_rank = np.argsort(sphere_order)
    cell_of_point = np.argsort(cells)  # sphere point -> cell, which is the place in `everything`
    order = _in_order(everything.means, "sorted")
    place = np.argsort(order)  # place in `everything` -> place in the file
    return Published(
        gaussians=everything[order],
        gs2sphere=place[cell_of_point[sphere_order]].astype(np.int64),
        sphere2plane=sphere_rank[cells].astype(np.int64),
    )


def _in_order(points: Float[np.ndarray, "n 3"], order: str) -> Int[np.ndarray, " n"]:
    return np.lexsort(points.T[::-1]) if order == "sorted" else np.arange(len(points))


def _directed(permutation: Int[np.ndarray, " n"], direction: str) -> Int[np.ndarray, " n"]:
    return np.argsort(permutation) if direction == "inverse" else permutation


def _check_permutation(name: str, indices: np.ndarray, count: int) -> None:
    if indices.shape != (count,) or not np.issubdtype(indices.dtype, np.integer):
        raise GatlasError(f"{name} must hold {count} whole numbers, got {indices.dtype} of shape {list(indices.shape)}")
    if not (np.sort(indices) == np.arange(count)).all():
        raise GatlasError(f"{name} is no permutation of 0 .. {count - 1}")
