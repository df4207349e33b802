"""Pictures of Gaussians and meshes from cameras."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import around, in_float32, orbit, resized
from gatlas.geometry.frames import scaled_views, unscaled_views
from gatlas.images.colors import parse_background
from gatlas.images.composite import composite
from gatlas.meshes.edits import normalize_mesh, stand_up, without_vertex_colors
from gatlas.meshes.render import render_mesh
from gatlas.meshes.shading import choose_shading
from gatlas.raster import rasterize, straight_rgba
from gatlas.raster.devices import choose_device
from gatlas.types import Gaussians, Mesh, Views

if TYPE_CHECKING:
    from gatlas.images.colors import Background
    from gatlas.meshes.shading import Shading
    from gatlas.render.options import RenderOptions
    from gatlas.types import Cameras, Origin


def render(
    subject: Gaussians | Mesh, options: RenderOptions, cameras: Cameras | None = None, *, report: Report = ignore
) -> Views:
    """Return pictures of the subject (numpy): straight RGBA where `options.background` is transparent, else RGB.

    `cameras` take the place of an orbit about the subject; the options' width and height resize them. A mesh is moved
    into the unit ball, with its vertical axis up. Without a background in the options it is white. `options.camera`
    names a file and is not read here. `report` is told the shading of a mesh where that is a choice.
    """
    if isinstance(subject, Mesh):
        subject = stand_up(subject, options.up or "y")
        subject = without_vertex_colors(subject) if options.ignore_vertex_colors else subject
    elif options.up is not None:
        raise GatlasError("up is the vertical axis of a file: Gaussians in memory are upright (see io.load_gaussians)")
    shading = choose_shading(subject, options.shading, report) if isinstance(subject, Mesh) else options.shading
    return take_views(
        subject,
        choose_cameras(subject, options, cameras),
        parse_background(options.background or "white"),
        device="cpu" if options.device == "auto" else choose_device(options.device),
        supersample=options.supersample,
        shading=shading,
    )


def choose_cameras(subject: Gaussians | Mesh, options: RenderOptions, cameras: Cameras | None) -> Cameras:
    """Return the given cameras at the size that the options ask for, or an orbit about the subject."""
    width, height = options.width, options.height
    if cameras is not None:
        cameras = cameras_in_scene(cameras, subject.origin)
        if width is None and height is None:
            return cameras
        wide = width or round(cameras.width * (height or cameras.height) / cameras.height)
        return resized(cameras, wide, height or max(1, round(cameras.height * wide / cameras.width)))
    wide = width or height or 512
    ring = orbit(options.orbit or 1, wide, height or wide, elevation=options.elevation, azimuth=options.azimuth)
    return around(subject, ring) if isinstance(subject, Gaussians) else ring


def cameras_in_scene(cameras: Cameras, origin: Origin) -> Cameras:
    """Return cameras of a file (numpy) relative to the center of the subject, as its positions are, in float32."""
    if origin.recentered:
        cameras = replace(cameras, viewmats=unscaled_views(cameras.viewmats, origin.center, 1.0))
    return in_float32(cameras)


def cameras_for_file(cameras: Cameras, origin: Origin) -> Cameras:
    """Return the cameras in the subject's own coordinates, in float64 where these are far away (numpy)."""
    if not origin.recentered:
        return cameras
    return replace(cameras, viewmats=scaled_views(cameras.viewmats, origin.center, 1.0))


def take_views(
    subject: Gaussians | Mesh,
    cameras: Cameras,
    background: Background = None,
    *,
    device: str = "cpu",
    supersample: int = 4,
    shading: Shading = "auto",
) -> Views:
    """Return pictures of the subject (numpy): RGB over `background`, or straight RGBA where it is None.

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
