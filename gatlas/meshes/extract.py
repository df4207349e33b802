"""Gaussians to a closed surface of triangles: median depths of many views, fused in a grid, and their outlines."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.config import ignore
from gatlas.errors import GatlasError
from gatlas.meshes.fusion import SHARES, fuse
from gatlas.meshes.isosurface import compacted, march, simplified, smoothed, without_specks
from gatlas.meshes.object_frame import enter_frame, find_frame, views_around
from gatlas.meshes.outlines import ROUNDS, fit_outlines
from gatlas.meshes.splat_views import see_splat
from gatlas.meshes.watertight import closed, is_watertight

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float32, Float64, Int32, Int64

    from gatlas.config import Report
    from gatlas.meshes.fusion import SparseGrid
    from gatlas.meshes.options import MeshOptions
    from gatlas.meshes.splat_views import SplatViews
    from gatlas.types import Gaussians

STEPS = SHARES + 1 + ROUNDS  # of finding the surface that are reported
ATTEMPTS = 4  # of simplifying to fewer triangles, where closing the surface adds some


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
    views = see_splat(inside, *views_around(inside, options.views, options.resolution))
    vertices, triangles = surface_of(fused(views, options), views, options, report=report)
    return ExtractedSurface(frame.leave(vertices).astype(np.float32), triangles.astype(np.int32))


def fused(views: SplatViews, options: MeshOptions, *, on_step: Callable[[], None] = lambda: None) -> SparseGrid:
    """Return the signed distance to what cameras have seen; `on_step` is called SHARES times."""
    if not views.maps.depths.any():
        raise GatlasError(f"the splat is nowhere half covered in any of {len(views.cameras)} views: no surface to mesh")
    return fuse(views.maps, options.grid, fill_holes=options.fill_holes, on_share=on_step)


def surface_of(
    grid: SparseGrid,
    views: SplatViews,
    options: MeshOptions,
    *,
    report: Report = ignore,
    on_step: Callable[[], None] = lambda: None,
) -> tuple[Float64[np.ndarray, "v 3"], Int64[np.ndarray, "t 3"]]:
    """Return `extract_surface` in units of the ball, of the grid that is `fused` from views.

    The views' normals are not needed any more. `on_step` is called STEPS - SHARES times.
    """
    vertices, triangles = finish_surface(grid, options.smooth, options.triangles, report=report)
    on_step()
    return fit_outlines(vertices, triangles, views, on_round=on_step), triangles


def finish_surface(
    grid: SparseGrid, smooth: int, count: int, *, report: Report = ignore
) -> tuple[Float64[np.ndarray, "v 3"], Int64[np.ndarray, "t 3"]]:
    """Return the closed surface of a grid, in units of the ball: smoothed, with at most `count` triangles."""
    vertices, triangles = without_specks(*march(grid))
    if len(triangles) == 0:
        raise GatlasError("the views of the splat show no closed surface: it is too thin or too transparent to mesh")
    vertices = smoothed(vertices, triangles, smooth)
    report(f"surface: {len(triangles):,} triangles before they are simplified")
    vertices, triangles = vertices.astype(np.float32), triangles.astype(np.int32)  # as simplifying them takes them
    aim = count
    for _ in range(ATTEMPTS):
        found = compacted(*closed(*simplified(vertices, triangles, aim)))
        if len(found[1]) <= count:
            break
        aim = max(aim - max(len(found[1]) - count, 2), 4)  # closing it has added some
    if not is_watertight(found[1]):
        raise GatlasError("the surface could not be closed: try another --grid or --triangles")
    return found
