"""Gaussians or a mesh beside others, or beside views: pictures of both, and the error between."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import in_float32
from gatlas.geometry.frames import scaled_views, unscaled_views
from gatlas.images.colormap import viridis
from gatlas.images.colors import parse_background
from gatlas.images.composite import composite
from gatlas.images.legend import caption_row, color_bar, stacked
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.shading import choose_shading
from gatlas.metrics.psnr import psnr
from gatlas.render.maps import LABELS, Maps, map_range
from gatlas.render.views import cameras_in_scene, choose_cameras, prepared, take_views
from gatlas.types import Gaussians, Mesh, MixedViews, Views

if TYPE_CHECKING:
    from jaxtyping import Float32

    from gatlas.render.options import RenderOptions
    from gatlas.types import AnyCameras, AnyViews, Origin, SomeCameras

MOST_PSNR = 100.0  # dB, of equal pictures


class PictureComparison(NamedTuple):
    """Pictures of two from the same cameras, RGB over the background."""

    images: tuple[Float32[np.ndarray, "h w 3"], ...]
    others: tuple[Float32[np.ndarray, "h w 3"], ...]
    errors: Maps
    psnr: float  # dB, the mean over the cameras, each at most MOST_PSNR


def compare(
    subject: Gaussians | Mesh,
    other: Gaussians | Mesh | AnyViews,
    options: RenderOptions,
    cameras: AnyCameras | None = None,
    *,
    report: Report = ignore,
) -> PictureComparison:
    """Return pictures of both from the cameras of `gatlas.render.render`, or from those of views (numpy).

    Two that are in the unit ball are compared there; else both are brought to one frame by what their origins hold of
    their own units. Cameras of views are those of `options.camera`: in the units of a splat, or in the unit ball of a
    mesh.
    """
    if isinstance(other, Views | MixedViews) and cameras is not None:
        raise ValueError("views have cameras of their own: cameras must be None")
    subject, shading, device = prepared(subject, options, report)
    subject = normalize_mesh(subject) if isinstance(subject, Mesh) else subject
    background = parse_background(options.background or "white") or (1.0, 1.0, 1.0)
    paper = np.array(background, dtype=np.float32)
    if isinstance(other, Views | MixedViews):
        chosen = cameras_in_scene(other.cameras, subject.origin)
        others = [composite(np.asarray(image, dtype=np.float32), paper) for image in other.images]
    else:
        chosen = choose_cameras(subject, options, cameras)
        other = normalize_mesh(other) if isinstance(other, Mesh) else other
        look = choose_shading(other, options.shading, report) if isinstance(other, Mesh) else options.shading
        seen = _moved(chosen, subject.origin, other.origin)
        others = list(
            take_views(other, seen, background, device=device, supersample=options.supersample, shading=look).images
        )
    images = list(
        take_views(subject, chosen, background, device=device, supersample=options.supersample, shading=shading).images
    )
    pairs = list(zip(images, others, strict=True))
    errors = tuple(np.sqrt(((one - two) ** 2).mean(axis=-1)).astype(np.float32) for one, two in pairs)
    agreement = float(np.mean([psnr(one, two, limit=MOST_PSNR) for one, two in pairs]))
    return PictureComparison(tuple(images), tuple(others), Maps("error", errors, chosen), agreement)


def _moved(cameras: SomeCameras, origin: Origin, other: Origin) -> SomeCameras:
    """Return cameras about one subject as they stand about another."""
    if origin.normalized and other.normalized:
        return cameras
    own = scaled_views(cameras.viewmats, origin.center, origin.scale)
    return in_float32(replace(cameras, viewmats=unscaled_views(own, other.center, other.scale)))


def comparison_sheet(comparison: PictureComparison, names: tuple[str, str]) -> Float32[np.ndarray, "h w 3"]:
    """Return a row of both pictures and their error for each camera, with captions and a color bar."""
    low, high = map_range(comparison.errors)
    errors = [viridis(each / high) for each in comparison.errors.values]
    rows = [
        np.concatenate(row, axis=1).astype(np.float32)
        for row in zip(comparison.images, comparison.others, errors, strict=True)
    ]
    if len({row.shape for row in rows}) > 1:
        raise GatlasError("the cameras have pictures of several sizes: compare those of one size at a time")
    width = rows[0].shape[1]
    return stacked(caption_row(width, [*names, "error"]), *rows, color_bar(width, low, high, LABELS["error"]))
