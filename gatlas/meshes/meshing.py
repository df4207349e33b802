"""Gaussians to a mesh in their object's own frame and units: surface, then colors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.config import Report, ignore
from gatlas.meshes.extract import STEPS, fused, surface_of
from gatlas.meshes.object_frame import enter_frame, find_frame, views_around
from gatlas.meshes.splat_views import see_splat
from gatlas.meshes.texture import observe, with_colors
from gatlas.raster.devices import choose_device
from gatlas.types import Origin

if TYPE_CHECKING:
    from gatlas.meshes.options import MeshOptions
    from gatlas.types import Gaussians, Mesh

WORTH = 8  # views that take about as long as a step of finding the surface


def mesh(
    gaussians: Gaussians,
    options: MeshOptions,
    *,
    report: Report = ignore,
    on_step: Callable[[], None] = lambda: None,
) -> Mesh:
    """Return a closed mesh of what Gaussians (numpy) show, with a texture or vertex colors, in the object's own units.

    Its vertices are float64, y up, as the Gaussians in memory are. `options.reference` and `options.report` name files
    and are not read here. `on_step` is called `count_steps(options)` times. Gaussians that show no surface are a
    GatlasError. The same options give the same bytes on the CPU, for any number of threads.
    """
    device = choose_device(options.device) if options.device != "auto" else "cpu"
    frame = find_frame(gaussians)
    inside = enter_frame(gaussians, frame)
    cameras, eps2d = views_around(inside, options.views, options.resolution)
    views = see_splat(inside, cameras, eps2d, backend="cuda" if device == "cuda" else "auto", on_view=on_step)

    def on_surface_step() -> None:
        for _ in range(WORTH):
            on_step()

    grid = fused(views, options, on_step=on_surface_step)
    views = views.without_normals()
    vertices, triangles = surface_of(grid, views, options, report=report, on_step=on_surface_step)
    del grid
    observations = observe(vertices, triangles, views, size=options.texture, lit=options.lit, on_view=on_step)
    del views
    found = with_colors(observations, options.texture_rounds)
    origin = gaussians.origin
    own = frame.leave(np.asarray(found.vertices)) * origin.scale + np.asarray(origin.center)
    return replace(found, vertices=own, origin=Origin(name=origin.name))


def count_steps(options: MeshOptions) -> int:
    """Return how often `mesh` calls `on_step`, at times about as long apart."""
    return 2 * options.views + WORTH * STEPS
