"""Initial Gaussians that make a smooth atlas: each at the middle of the part of the surface that belongs to its cell.

Where a Gaussian of `surface_gaussians` lies within its neighborhood is chance, and so is noise to a network that learns
atlases. Here it follows from the surface alone: exact transport of several samples of the surface onto the sphere of
the atlas gives each point of the sphere a part of the surface, and Lloyd's relaxation evens the parts out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.fit.start import discs, visible_surface
from gatlas.meshes.closest import closest_points, surround
from gatlas.meshes.colors import face_normals, unit
from gatlas.transport import assign, fibonacci_sphere

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.fit.start import VisibleSurface
    from gatlas.meshes.shading import Shading
    from gatlas.types import Gaussians, Mesh, Views

POINTS = 1 << 15  # of all samples together, within SAMPLES: few Gaussians can afford more of them
SAMPLES = (4, 16)  # fewest and most
ROUNDS = 20  # of the relaxation: 10 leave 0.1 dB
AGREEING = 0.3  # length of a part's mean normal, below which that of the face counts: the part is of two sides


class Parts(NamedTuple):
    """The mean of each Gaussian's part of the surface."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]  # shorter than 1 where the part bends
    colors: Float[np.ndarray, "n 4"]
    density: Float[np.ndarray, " n"]


def even_gaussians(
    mesh: Mesh, views: Views, count: int, rng: np.random.Generator, shading: Shading = "auto"
) -> Gaussians:
    """Return exactly `count` discs on what the views see of a normalized mesh, in the order of the sphere (numpy).

    Their density is that of `surface_gaussians`. The i-th belongs to the i-th point of `fibonacci_sphere(count)`.
    """
    samples = int(np.clip(POINTS // count, *SAMPLES))
    surface = visible_surface(mesh, views, count, rng, shading, pool=2 * samples)
    tree, normals = surround(mesh), unit(face_normals(mesh))
    parts = _transported(surface, count, samples, rng)
    nearest = closest_points(tree, parts.points)
    for _ in range(ROUNDS):
        parts = _relaxed(surface, parts._replace(points=nearest.points))
        nearest = closest_points(tree, parts.points)
    length = np.linalg.norm(parts.normals, axis=1, keepdims=True)
    facing = np.where(length > AGREEING, parts.normals / np.maximum(length, AGREEING), normals[nearest.faces])
    relative = parts.density / surface.density.mean()
    gaussians = discs(nearest.points, facing, parts.colors, relative, surface.area / count)
    return replace(gaussians, origin=mesh.origin)


def _transported(surface: VisibleSurface, count: int, samples: int, rng: np.random.Generator) -> Parts:
    """Return the means over several samples of what exact transport gives to each point of the sphere.

    The samples have no point in common, and are drawn in proportion to the density.
    """
    if samples * count > len(surface.points):  # nearly all is hidden
        samples = 1
    # Efraimidis and Spirakis 2006: the largest of u^(1 / weight) are a weighted sample without replacement.
    keys = np.log(rng.random(len(surface.points))) / surface.density
    chosen = rng.permutation(np.argpartition(-keys, samples * count - 1)[: samples * count])
    sphere = fibonacci_sphere(count)
    own = np.empty((samples, count), dtype=np.int64)
    for row, sample in zip(own, chosen.reshape(samples, count), strict=True):
        row[assign(surface.points[sample], sphere).targets] = sample
    return Parts(*(getattr(surface, name)[own].mean(axis=0) for name in Parts._fields))


def _relaxed(surface: VisibleSurface, parts: Parts) -> Parts:
    """Return the means of the points that are nearest to each part's own; a part without any stays (Lloyd 1982)."""
    from scipy.spatial import KDTree

    count = len(parts.points)
    own = KDTree(parts.points).query(surface.points)[1]
    weights = np.bincount(own, surface.density, minlength=count)
    empty = weights == 0

    def mean(field: np.ndarray, before: np.ndarray) -> np.ndarray:
        columns = field.reshape(len(own), -1).T
        sums = np.stack([np.bincount(own, surface.density * column, minlength=count) for column in columns], axis=-1)
        means = sums / np.where(empty, 1.0, weights)[:, None]
        return np.where(empty[:, None], before.reshape(means.shape), means).reshape(before.shape)

    return Parts(*(mean(getattr(surface, name), getattr(parts, name)) for name in Parts._fields))
