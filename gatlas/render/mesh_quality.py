"""The quality of a mesh of a splat: against the splat, and against the mesh that the splat was fitted to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.geometry.cameras import fibonacci_views
from gatlas.images.composite import composite
from gatlas.meshes.closest import closest_points
from gatlas.meshes.object_frame import SplatFrame, enter_frame, find_frame
from gatlas.meshes.render import mesh_depths, render_mesh, visible_from
from gatlas.meshes.watertight import is_watertight
from gatlas.metrics.psnr import psnr
from gatlas.metrics.silhouettes import silhouette_iou
from gatlas.metrics.surface_distance import distance_scores, even_points
from gatlas.raster import rasterize, straight_rgba

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64

    from gatlas.types import Cameras, Gaussians, Mesh

VIEWS, SIDE = 16, 512  # held out: between those that a mesh is made from
POINTS = 50_000  # of each surface
THRESHOLD = 0.01  # radii of the object: points that are nearer count as of the same surface
LOOKS, LOOK_SIDE = 64, 256  # views that tell which points of the reference can be seen
HIDDEN = 0.01  # radii behind what a view sees


def measure_mesh(mesh: Mesh, gaussians: Gaussians, reference: Mesh | None = None) -> dict[str, Any]:
    """Return what `gatlas mesh --report` holds of a mesh, in own units, of the Gaussians (numpy).

    "splat" and "reference" hold the IoU of silhouettes and the PSNR over white, dB, as means over views that the mesh
    was not made from. Against a reference, in own units too, there are the chamfer distance in radii of the object, and
    precision, recall and F-score at THRESHOLD; parts of either surface that cannot be seen do not count.
    """
    frame = find_frame(gaussians)
    inside = _entered(mesh, gaussians, frame)
    source = None if reference is None else _entered(reference, gaussians, frame)
    entered = enter_frame(gaussians, frame)
    cameras = fibonacci_views(VIEWS, SIDE, SIDE, phase=0.5)
    to_splat, to_source = [], []
    for i in range(VIEWS):  # one at a time, for little memory
        camera = cameras[[i]]
        shown = render_mesh(inside, camera).images
        to_splat.append(_compared(shown, straight_rgba(rasterize(entered, camera))))
        if source is not None:
            to_source.append(_compared(shown, render_mesh(source, camera).images))
    found: dict[str, Any] = {
        "triangles": len(mesh.faces),
        "vertices": len(mesh.vertices),
        "watertight": is_watertight(_welded(mesh)),
        "splat": _means(to_splat),
    }
    if source is not None:
        found["reference"] = _means(to_source) | _distances(inside, source)
    return found


def _entered(mesh: Mesh, gaussians: Gaussians, frame: SplatFrame) -> Mesh:
    """Return a mesh in own units as the Gaussians are in their frame, at the size of the unit ball."""
    origin = gaussians.origin
    vertices = (np.asarray(mesh.vertices, dtype=np.float64) - np.asarray(origin.center)) / origin.scale
    return replace(mesh, vertices=(vertices - frame.center) / frame.radius)


def _welded(mesh: Mesh) -> Any:
    """Return the faces with one vertex for each place: textures repeat those along their seams."""
    _, places = np.unique(np.asarray(mesh.vertices), axis=0, return_inverse=True)
    return places.reshape(-1)[np.asarray(mesh.faces)]


def _compared(images: Float32[np.ndarray, "1 h w 4"], others: Float32[np.ndarray, "1 h w 4"]) -> tuple[float, float]:
    """Return the IoU of the silhouettes and the PSNR over white of two straight RGBA pictures."""
    one, other = (composite(each, 1.0).astype(np.float32) for each in (images, others))
    return float(silhouette_iou(images[..., 3], others[..., 3])[0]), float(psnr(one, other)[0])


def _means(scores: list[tuple[float, float]]) -> dict[str, float]:
    iou, decibels = np.mean(scores, axis=0)
    return {"iou": float(iou), "psnr": float(decibels)}


def _distances(mesh: Mesh, reference: Mesh) -> dict[str, float]:
    """Return the scores of the distances of what is seen of either surface from all of the other; exact distances."""
    rng, cameras = np.random.default_rng(0), fibonacci_views(LOOKS, LOOK_SIDE, LOOK_SIDE)
    distances = []
    for surface, other in ((mesh, reference), (reference, mesh)):
        points = even_points(surface.vertices, surface.faces, POINTS, rng)
        seen = _seen(surface, points, cameras)
        distances.append(closest_points(other, points[seen] if seen.any() else points).distances)
    to_reference, to_mesh = distances
    return distance_scores(to_reference, to_mesh, THRESHOLD)._asdict()


def _seen(mesh: Mesh, points: Float64[np.ndarray, "n 3"], cameras: Cameras) -> Bool[np.ndarray, " n"]:
    """Return which points of the mesh a camera sees."""
    return np.asarray(visible_from(points, mesh_depths(mesh, cameras), cameras, HIDDEN).any(axis=0))
