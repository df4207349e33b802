"""Gaussians to a closed surface of triangles: median depths of many views, fused in a sparse grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.config import ignore
from gatlas.errors import GatlasError
from gatlas.meshes.depth_maps import render_depth_maps
from gatlas.meshes.fusion import fuse
from gatlas.meshes.isosurface import compacted, march, simplified, smoothed, without_specks
from gatlas.meshes.object_frame import enter_frame, find_frame, views_around
from gatlas.meshes.watertight import closed, is_watertight

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32

    from gatlas.config import Report
    from gatlas.meshes.options import MeshOptions
    from gatlas.types import Gaussians


class ExtractedSurface(NamedTuple):
    """A closed surface in the frame and units of the Gaussians; each edge is in two triangles."""

    vertices: Float32[np.ndarray, "v 3"]
    triangles: Int32[np.ndarray, "t 3"]  # counter-clockwise from outside


def extract_surface(gaussians: Gaussians, options: MeshOptions, *, report: Report = ignore) -> ExtractedSurface:
    """Return the surface that Gaussians (numpy) show from all around, with at most `options.triangles` triangles.

    It is where the views lose half of their light. What no view sees is inside. Gaussians that show no surface are a
    GatlasError. The result does not depend on the number of threads.
    """
    frame = find_frame(gaussians)
    inside = enter_frame(gaussians, frame)
    cameras, eps2d = views_around(inside, options.views, options.resolution)
    maps = render_depth_maps(inside, cameras, eps2d)
    if not maps.depths.any():
        name = gaussians.origin.name or "the splat"
        raise GatlasError(f"{name}: is nowhere half covered in any of {options.views} views: no surface to mesh")
    grid = fuse(maps, options.grid, fill_holes=options.fill_holes)
    del maps
    vertices, triangles = without_specks(*march(grid))
    vertices = smoothed(vertices, triangles, options.smooth)
    report(f"surface: {len(triangles):,} triangles before they are simplified")
    vertices, triangles = closed(*simplified(vertices, triangles, options.triangles))
    vertices, triangles = compacted(vertices, triangles)
    if not is_watertight(triangles):
        raise GatlasError("the surface could not be closed: try another --grid or --triangles")
    return ExtractedSurface(frame.leave(vertices).astype(np.float32), triangles.astype(np.int32))
