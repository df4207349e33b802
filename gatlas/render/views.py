"""Pictures of Gaussians and meshes from cameras."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import around, fibonacci_views, in_float32, orbit, resized
from gatlas.geometry.frames import scaled_views, unscaled_views
from gatlas.images.colors import parse_background
from gatlas.images.composite import composite
from gatlas.meshes.edits import normalize_mesh, stand_up, without_vertex_colors
from gatlas.meshes.render import render_mesh
from gatlas.meshes.shading import choose_shading
from gatlas.raster import rasterize, straight_rgba
from gatlas.raster.devices import choose_device
from gatlas.types import Cameras, Gaussians, Mesh, MixedCameras, MixedViews, Views, join_cameras

if TYPE_CHECKING:
    from gatlas.images.colors import Background
    from gatlas.meshes.shading import Shading
    from gatlas.render.options import RenderOptions
    from gatlas.types import AnyCameras, AnyViews, Origin, SomeCameras


def render(
    subject: Gaussians | Mesh, options: RenderOptions, cameras: AnyCameras | None = None, *, report: Report = ignore
) -> AnyViews:
    """Return pictures of the subject (numpy): straight RGBA where `options.background` is transparent, else RGB.

    `cameras` take the place of an orbit about the subject; the options' width and height resize them. A mesh is moved
    into the unit ball, with its vertical axis up. Without a background in the options it is white. `options.camera`
    names a file and is not read here. `report` is told the shading of a mesh where that is a choice.
    """
    subject, shading, device = prepared(subject, options, report)
    return take_views(
        subject,
        choose_cameras(subject, options, cameras),
        parse_background(options.background or "white"),
        device=device,
        supersample=options.supersample,
        shading=shading,
    )


def prepared(
    subject: Gaussians | Mesh, options: RenderOptions, report: Report
) -> tuple[Gaussians | Mesh, Shading, str]:
    """Return the subject as it is shown, the shading of a mesh and the device that Gaussians are rendered on."""
    if isinstance(subject, Mesh):
        subject = stand_up(subject, options.up or "y")
        subject = without_vertex_colors(subject) if options.ignore_vertex_colors else subject
    elif options.up is not None:
        raise GatlasError("up is the vertical axis of a file: Gaussians in memory are upright (see io.load_gaussians)")
    shading = choose_shading(subject, options.shading, report) if isinstance(subject, Mesh) else options.shading
    return subject, shading, "cpu" if options.device == "auto" else choose_device(options.device)


def choose_cameras(subject: Gaussians | Mesh, options: RenderOptions, cameras: AnyCameras | None) -> AnyCameras:
    """Return the given cameras at the size that the options ask for, or an orbit or a sphere about the subject."""
    width, height = options.width, options.height
    if cameras is not None:
        cameras = cameras_in_scene(cameras, subject.origin)
        return cameras if width is None and height is None else _at_size(cameras, width, height)
    wide = width or height or 512
    size = wide, height or wide
    placed = []
    if options.orbit or not options.sphere:
        placed.append(orbit(options.orbit or 1, *size, elevation=options.elevation, azimuth=options.azimuth))
    if options.sphere:
        placed.append(fibonacci_views(options.sphere, *size, phase=options.azimuth / 360.0))
    viewmats, Ks = (np.concatenate([getattr(each, name) for each in placed]) for name in ("viewmats", "Ks"))
    cameras = Cameras(viewmats, Ks, *size)
    return around(subject, cameras) if isinstance(subject, Gaussians) else cameras


def _at_size(cameras: AnyCameras, width: int | None, height: int | None) -> AnyCameras:
    """The cameras with pictures of that width or height, or both; a side that is not given follows the other."""
    if isinstance(cameras, MixedCameras):
        changed = [_at_size(camera, width, height) for camera in cameras]
        Ks = np.concatenate([each.Ks for each in changed])
        return join_cameras(cameras.viewmats, Ks, [size for each in changed for size in each.sizes])
    wide = width or round(cameras.width * (height or cameras.height) / cameras.height)
    return resized(cameras, wide, height or max(1, round(cameras.height * wide / cameras.width)))


def cameras_in_scene(cameras: SomeCameras, origin: Origin) -> SomeCameras:
    """Return cameras of a file (numpy) relative to the center of the subject, as its positions are, in float32."""
    if origin.recentered:
        cameras = replace(cameras, viewmats=unscaled_views(cameras.viewmats, origin.center, 1.0))
    return in_float32(cameras)


def views_for_file(views: AnyViews, origin: Origin) -> AnyViews:
    """Return views with their cameras in the subject's own coordinates, in float64 where these are far away (numpy)."""
    if isinstance(views, MixedViews):
        return MixedViews(views.images, cameras_for_file(views.cameras, origin))
    return Views(views.images, cameras_for_file(views.cameras, origin))


def cameras_for_file(cameras: SomeCameras, origin: Origin) -> SomeCameras:
    """Return cameras in the subject's own coordinates, in float64 where these are far away (numpy)."""
    if not origin.recentered:
        return cameras
    return replace(cameras, viewmats=scaled_views(cameras.viewmats, origin.center, 1.0))


def take_views(
    subject: Gaussians | Mesh,
    cameras: AnyCameras,
    background: Background = None,
    *,
    device: str = "cpu",
    supersample: int = 4,
    shading: Shading = "auto",
) -> AnyViews:
    """Return pictures of the subject (numpy): RGB over `background`, or straight RGBA where it is None.

    A mesh is moved into the unit ball first, as `fit` does, so that both are seen by the same cameras. Gaussians are
    rendered on `device`, "cpu" or "cuda"; meshes always on the CPU.
    """
    if isinstance(cameras, MixedCameras):
        look: dict[str, Any] = {"device": device, "supersample": supersample, "shading": shading}
        views = [take_views(subject, camera, background, **look) for camera in cameras]
        return MixedViews(tuple(view.images[0] for view in views), cameras)
    if isinstance(subject, Mesh):
        rgba = render_mesh(normalize_mesh(subject), cameras, supersample=supersample, shading=shading).images
    else:
        rgba = straight_rgba(rasterize(subject, cameras, backend="cuda" if device == "cuda" else "cpu"))
    if background is None:
        return Views(rgba, cameras)
    return Views(composite(rgba, np.asarray(background, dtype=np.float32)), cameras)
