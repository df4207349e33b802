"""Gaussians to a mesh in their object's own frame and units: surface, then colors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.config import Report, ignore
from gatlas.meshes.extract import extract_surface
from gatlas.meshes.object_frame import enter_frame, find_frame, views_around
from gatlas.meshes.texture import colored
from gatlas.raster.devices import choose_device
from gatlas.types import Origin

if TYPE_CHECKING:
    from gatlas.meshes.options import MeshOptions
    from gatlas.types import Gaussians, Mesh


def mesh(
    gaussians: Gaussians,
    options: MeshOptions,
    *,
    report: Report = ignore,
    on_view: Callable[[int], None] = lambda done: None,
) -> Mesh:
    """Return a closed mesh of what Gaussians (numpy) show, with a texture or vertex colors, in the object's own units.

    Its vertices are float64, y up, as the Gaussians in memory are. `options.reference` and `options.report` name files
    and are not read here. `on_view` is called with the number of views that have colored the surface. Gaussians that
    show no surface are a GatlasError. The same options give the same bytes on the CPU, for any number of threads.
    """
    device = choose_device(options.device) if options.device != "auto" else "cpu"
    surface = extract_surface(gaussians, options, report=report)
    frame = find_frame(gaussians)
    inside = enter_frame(gaussians, frame)
    cameras, eps2d = views_around(inside, options.views, options.resolution)
    found = colored(
        (surface.vertices.astype(np.float64) - frame.center) / frame.radius,
        surface.triangles,
        inside,
        cameras,
        size=options.texture,
        rounds=options.texture_rounds,
        eps2d=eps2d,
        lit=options.lit,
        backend="cuda" if device == "cuda" else "auto",
        on_view=on_view,
    )
    origin = gaussians.origin
    own = frame.leave(np.asarray(found.vertices)) * origin.scale + np.asarray(origin.center)
    return replace(found, vertices=own, origin=Origin(name=origin.name))
