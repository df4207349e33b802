"""Surfaces that are compared: the triangles of a mesh, or what views see of a splat."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.meshes.closest import closest_points, surround
from gatlas.meshes.depth_maps import map_points, render_depth_maps
from gatlas.meshes.render import mesh_depths, visible_from
from gatlas.metrics.surface_distance import distance_scores, even_samples, normal_consistency

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

    from gatlas.meshes.closest import Surroundings
    from gatlas.meshes.depth_maps import DepthMaps
    from gatlas.types import Cameras, Gaussians, Mesh

HIDDEN = 0.01  # radii behind what a view sees: points farther behind are not seen
ROUNDING = 1e-12  # radii: distances below are 0
HALF_DIAGONAL = 0.5**0.5  # pixels
STEEPEST = 0.3  # cosine to the ray: discs of surfaces that are seen at a flatter angle grow no more


class SurfaceScores(NamedTuple):
    """Distances of a surface from its reference and back, radii of the object, and how their normals agree."""

    chamfer: float  # mean of the two mean distances
    precision: float  # share of the surface within the threshold of the reference
    recall: float  # share of the reference within the threshold of the surface
    f_score: float  # harmonic mean of the two
    normal_consistency: float  # mean absolute cosine of the normals of nearest points, mean of both ways


class ComparedSurface:
    """A surface: its depths in views, points of what these see, and the nearest points of all of it."""

    depths: Float32[np.ndarray, "c h w"]  # z in each camera; 0 or infinite where nothing is
    points: Float64[np.ndarray, "n 3"]
    normals: Float64[np.ndarray, "n 3"]  # unit; of either side

    def nearest(
        self, points: Float64[np.ndarray, "m 3"]
    ) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, "m 3"]]:
        """Return the distance of each point from the surface, and the normal at the nearest place."""
        raise NotImplementedError


class MeshSurface(ComparedSurface):
    """The triangles of a mesh in the unit ball; of its points those that a view sees. Distances are exact."""

    def __init__(self, mesh: Mesh, cameras: Cameras, count: int, rng: np.random.Generator) -> None:
        self.depths = mesh_depths(mesh, cameras)
        corners = np.asarray(mesh.vertices, dtype=np.float64)[np.asarray(mesh.faces)]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self._normals = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), np.finfo(float).tiny)
        if not np.linalg.norm(across, axis=1).sum() > 0:
            raise GatlasError(f"{mesh.origin.name or 'the mesh'}: has no triangles with an area")
        self._tree: Surroundings = surround(mesh)
        points, faces = even_samples(mesh.vertices, np.asarray(mesh.faces), count, rng)
        seen = visible_from(points, self.depths, cameras, HIDDEN).any(axis=0)
        seen = seen if seen.any() else ~seen
        self.points, self.normals = points[seen], self._normals[faces[seen]]

    def nearest(
        self, points: Float64[np.ndarray, "m 3"]
    ) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, "m 3"]]:
        """Return the distance of each point from the triangles, and the normal of the nearest one."""
        found = closest_points(self._tree, points)
        return np.where(found.distances < ROUNDING, 0.0, found.distances), self._normals[found.faces]


class SplatSurface(ComparedSurface):
    """The surface of a splat in the unit ball that views see: where half of the light of each pixel is gone.

    Each pixel stands for a disc of its size on the surface, and distances are to the disc of the nearest pixel.
    """

    def __init__(self, gaussians: Gaussians, cameras: Cameras, count: int, rng: np.random.Generator) -> None:
        from scipy.spatial import cKDTree

        maps = render_depth_maps(gaussians, cameras, None)
        self.depths = maps.depths
        self._points = np.concatenate([map_points(maps, i) for i in range(len(cameras))])
        self._normals = np.concatenate([each[depth > 0] for each, depth in zip(maps.normals, maps.depths, strict=True)])
        self._radii = np.concatenate([_disc_radii(maps, i) for i in range(len(cameras))])
        chosen = np.sort(rng.permutation(len(self._points))[:count])
        self.points, self.normals = self._points[chosen], _unit(self._normals[chosen])
        self._tree = cKDTree(self._points) if len(self._points) else None

    def nearest(
        self, points: Float64[np.ndarray, "m 3"]
    ) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, "m 3"]]:
        """Return the distance of each point from the disc of the nearest pixel, and the normal there."""
        if self._tree is None:
            raise ValueError("a splat that no view sees has no surface")
        distances, indices = self._tree.query(points)
        normals = _unit(self._normals[indices])
        above = np.abs(((points - self._points[indices]) * normals).sum(axis=1))
        aside = np.sqrt(np.maximum(distances**2 - above**2, 0.0))
        return np.hypot(above, np.maximum(aside - self._radii[indices], 0.0)), normals


def _disc_radii(maps: DepthMaps, view: int) -> Float64[np.ndarray, " n"]:
    """Return the radius of the disc that each pixel of a view with a surface stands for: half of its diagonal there."""
    seen = maps.depths[view] > 0
    rows, columns = np.nonzero(seen)
    fx, fy, cx, cy = maps.pinholes.focals[view]
    rays = np.stack([(columns + 0.5 - cx) / fx, (rows + 0.5 - cy) / fy, np.ones(len(rows))], axis=-1)
    rays = rays @ maps.pinholes.views[view, :, :3]
    cosines = np.abs((rays * _unit(maps.normals[view][seen])).sum(axis=1)) / np.linalg.norm(rays, axis=1)
    return HALF_DIAGONAL * maps.depths[view][seen] / fx / np.maximum(cosines, STEEPEST)


def _unit(normals: np.ndarray) -> Float64[np.ndarray, "n 3"]:
    """Return unit normals of those that are stored times 127; zeros where there is none."""
    vectors = normals[:, :3].astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1.0)


def compare_surfaces(surface: ComparedSurface, reference: ComparedSurface, threshold: float) -> SurfaceScores | None:
    """Return the distances of what is seen of each surface from all of the other; None where nothing is seen."""
    if not (len(surface.points) and len(reference.points)):
        return None
    to_reference, reference_normals = reference.nearest(surface.points)
    to_surface, surface_normals = surface.nearest(reference.points)
    agreed = (
        normal_consistency(surface.normals, reference_normals),
        normal_consistency(reference.normals, surface_normals),
    )
    return SurfaceScores(*distance_scores(to_reference, to_surface, threshold), float(np.mean(agreed)))


def make_surface(subject: Gaussians | Mesh, cameras: Cameras, count: int, rng: np.random.Generator) -> ComparedSurface:
    """Return the surface of a splat or a mesh in the unit ball, with at most `count` points of what the cameras see."""
    from gatlas.types import Mesh

    kind = MeshSurface if isinstance(subject, Mesh) else SplatSurface
    return kind(subject, cameras, count, rng)  # type: ignore[arg-type]
