"""Films of Gaussians and meshes: a turntable, or the way of given cameras."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import around, orbit, resized
from gatlas.images.colors import parse_background
from gatlas.images.srgb import to_bytes
from gatlas.io.films import Film
from gatlas.render.flight import flight, joined_at_size
from gatlas.render.views import cameras_in_scene, prepared, take_views
from gatlas.types import Cameras, Gaussians, Mesh

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from gatlas.render.options import RenderOptions
    from gatlas.types import AnyCameras

SECONDS, FPS = 4.0, 30
MOST_FRAMES = 100_000
PIXELS_AT_ONCE = 1 << 21  # rendered in one call: what is prepared of a mesh serves several frames


def render_film(
    subject: Gaussians | Mesh,
    options: RenderOptions,
    path: AnyCameras | None = None,
    *,
    even: bool = False,
    report: Report = ignore,
) -> Film:
    """Return a film of the subject (numpy), whose frames are rendered as they are asked for.

    It turns about the subject once, at the options' elevation, and repeats without a seam. `path` are cameras that it
    follows instead, one a frame or, where `options.seconds` is given, evenly spaced keys between which it moves
    smoothly; those of several sizes are all shown at the first one's. Frames are straight RGBA where
    `options.background` is transparent, else RGB. With `even`, sides that are odd get one more pixel.
    """
    subject, shading, device = prepared(subject, options, report)
    cameras = film_cameras(subject, options, path)
    if even and (cameras.width % 2 or cameras.height % 2):
        wider = replace(cameras, width=cameras.width + cameras.width % 2, height=cameras.height + cameras.height % 2)
        report(f"films of this format have even sides: {wider.width} x {wider.height}")
        cameras = wider
    background = parse_background(options.background or "white")
    batch = max(1, min(16, PIXELS_AT_ONCE // (cameras.width * cameras.height)))

    def frames() -> Iterator[UInt8[np.ndarray, "h w d"]]:
        for first in range(0, len(cameras), batch):
            part = cameras[first : first + batch]
            views = take_views(
                subject, part, background, device=device, supersample=options.supersample, shading=shading
            )
            yield from to_bytes(np.asarray(views.images))

    return Film(frames(), len(cameras), cameras.width, cameras.height, options.fps or FPS)


def film_cameras(subject: Gaussians | Mesh, options: RenderOptions, path: AnyCameras | None) -> Cameras:
    """Return the camera of each frame, all of one size."""
    fps, width, height = options.fps or FPS, options.width, options.height
    if path is not None and options.seconds is None:
        return _joined(subject, path, width, height)
    count = max(1, round((options.seconds or SECONDS) * fps))
    if count > MOST_FRAMES:
        raise GatlasError(f"--seconds and --fps make {count:,} frames: at most {MOST_FRAMES:,} are rendered")
    if path is not None:
        return flight(_joined(subject, path, width, height), count)
    wide = width or height or 512
    cameras = orbit(count, wide, height or wide, elevation=options.elevation, azimuth=options.azimuth)
    return around(subject, cameras) if isinstance(subject, Gaussians) else cameras


def _joined(subject: Gaussians | Mesh, path: AnyCameras, width: int | None, height: int | None) -> Cameras:
    cameras = joined_at_size(cameras_in_scene(path, subject.origin))
    if width is None and height is None:
        return cameras
    wide = width or max(1, round(cameras.width * (height or 0) / cameras.height))
    return resized(cameras, wide, height or max(1, round(cameras.height * wide / cameras.width)))
