"""Distances between two surfaces that are given by points: chamfer distance, F-score, and how well normals agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int


class SurfaceDistance(NamedTuple):
    """Distances of the points of a surface from those of its reference, and the other way."""

    chamfer: float  # mean of the two mean distances, units of the points
    precision: float  # share of the points within the threshold of the reference
    recall: float  # share of the reference's points within the threshold of the surface
    f_score: float  # harmonic mean of the two (Tatarchenko et al. 2019)


def surface_distance(
    points: Float[np.ndarray, "n 3"], reference: Float[np.ndarray, "m 3"], threshold: float
) -> SurfaceDistance:
    """Return the distances between points of a surface and of its reference (numpy).

    Each point counts with its distance to the nearest of the other set, so the points must be closer together than the
    `threshold`. No points on either side, or a threshold that is not positive, are a ValueError.
    """
    from scipy.spatial import cKDTree

    if len(points) == 0 or len(reference) == 0:
        raise ValueError(f"both surfaces need points, got {len(points)} and {len(reference)}")
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    return distance_scores(cKDTree(reference).query(points)[0], cKDTree(points).query(reference)[0], threshold)


def distance_scores(
    to_reference: Float[np.ndarray, " n"], to_surface: Float[np.ndarray, " m"], threshold: float
) -> SurfaceDistance:
    """Return the scores of distances of a surface's points from its reference, and of the reference's from it."""
    precision = float((to_reference <= threshold).mean())
    recall = float((to_surface <= threshold).mean())
    total = precision + recall
    chamfer = float(0.5 * (to_reference.mean() + to_surface.mean()))
    return SurfaceDistance(chamfer, precision, recall, 2 * precision * recall / total if total > 0 else 0.0)


def even_points(
    vertices: Float[np.ndarray, "v 3"], triangles: Int[np.ndarray, "t 3"], count: int, rng: np.random.Generator
) -> Float64[np.ndarray, "n 3"]:
    """Return random points of triangles, as many to each unit of area: stratified along the list of triangles."""
    return even_samples(vertices, triangles, count, rng)[0]


def even_samples(
    vertices: Float[np.ndarray, "v 3"], triangles: Int[np.ndarray, "t 3"], count: int, rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "n 3"], Int[np.ndarray, " n"]]:
    """Return the points of `even_points` and the triangle of each."""
    corners = np.asarray(vertices, dtype=np.float64)[triangles]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    ends = np.cumsum(areas)
    if len(ends) == 0 or not ends[-1] > 0:
        raise ValueError("points need triangles with an area")
    places = (np.arange(count) + rng.random(count)) / count * ends[-1]
    numbers = np.minimum(np.searchsorted(ends, places), len(ends) - 1)
    chosen = corners[numbers]
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - u, u * (1 - v), u * v], axis=1)
    return (weights[:, :, None] * chosen).sum(axis=1), numbers


def normal_consistency(normals: Float[np.ndarray, "n 3"], others: Float[np.ndarray, "n 3"]) -> float:
    """Return the mean absolute cosine between unit normals and those of the nearest points (Mescheder et al. 2019).

    A normal and its opposite are the same: surfaces that are seen from both sides have no outside.
    """
    if len(normals) == 0:
        raise ValueError("normals must not be empty")
    return float(np.abs((normals * others).sum(axis=1)).mean())
