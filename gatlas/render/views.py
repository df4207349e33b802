"""Pictures of Gaussians and meshes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.images.composite import composite
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.raster import rasterize, straight_rgba
from gatlas.types import Gaussians, Mesh, Views

if TYPE_CHECKING:
    from gatlas.images.colors import Background
    from gatlas.meshes.colors import Shading
    from gatlas.types import Cameras


def take_views(
    subject: Gaussians | Mesh,
    cameras: Cameras,
    background: Background = None,
    *,
    device: str = "cpu",
    supersample: int = 4,
    shading: Shading = "auto",
) -> Views:
    """Pictures of the subject (numpy): RGB over `background`, or straight RGBA where it is None.

    A mesh is moved into the unit ball first, as `fit` does, so that both are seen by the same cameras. Gaussians are
    rendered on `device`, "cpu" or "cuda"; meshes always on the CPU.
    """
    if isinstance(subject, Mesh):
        rgba = render_mesh(normalize_mesh(subject), cameras, supersample=supersample, shading=shading).images
    else:
        rgba = straight_rgba(rasterize(subject, cameras, backend="cuda" if device == "cuda" else "cpu"))
    if background is None:
        return Views(rgba, cameras)
    return Views(composite(rgba, np.asarray(background, dtype=np.float32)), cameras)
