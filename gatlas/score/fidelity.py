"""Fidelity of a splat or a mesh to the mesh, or to the views, that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.config import Report, ignore
from gatlas.fit.photos import held_out_indices, rgba_views
from gatlas.fit.quality import SUPERSAMPLE, in_one_frame
from gatlas.fit.scene_frame import SceneFrame, views_into_frame
from gatlas.geometry.cameras import fibonacci_views
from gatlas.images.composite import composite
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.metrics.depths import depth_error
from gatlas.metrics.pictures import compare_pictures
from gatlas.metrics.psnr import psnr
from gatlas.metrics.silhouettes import silhouette_iou
from gatlas.raster import rasterize
from gatlas.score.surfaces import SurfaceScores, compare_surfaces, make_surface
from gatlas.types import Gaussians, Mesh, MixedViews, Views

if TYPE_CHECKING:
    from jaxtyping import Float32

    from gatlas.metrics.lpips import Lpips
    from gatlas.score.options import FidelityOptions
    from gatlas.types import AnyViews, Cameras

    Distance = Callable[[Any, Any], float]

PHASE = 0.5  # of the lattice of views: between those that a fit trains on
SIDE = 256  # pixels, unless the options say otherwise
AT_ONCE = 16  # views of a mesh
FEW = 3  # views that decide which units cameras have
MOST_PSNR = 100.0  # dB, of equal pictures
FARTHEST = 1.0  # radii: error of a depth where only one of the surfaces is


class ViewFidelity(NamedTuple):
    """Agreement of one view; None: not measured."""

    psnr: float  # dB over white, at most MOST_PSNR
    ssim: float
    lpips: float | None
    iou: float | None  # of silhouettes; None where the reference is opaque
    depth_error: float | None  # radii of the object; see `gatlas.metrics.depths`
    depth_error_common: float | None


class Fidelity(NamedTuple):
    """Agreement of an object with its reference."""

    views: tuple[ViewFidelity, ...]
    surface: SurfaceScores | None  # against a mesh
    units: str | None = None  # of the cameras of given views: "own" or "ball"

    def figures(self) -> dict[str, float | None]:
        """Return the figures by name: means over the views, then those of the surface; None: not measured."""
        found: dict[str, float | None] = {}
        for name in ViewFidelity._fields:
            values = [value for view in self.views if (value := getattr(view, name)) is not None]
            found[name] = float(np.mean(values)) if values else None
        surface = dict.fromkeys(SurfaceScores._fields) if self.surface is None else self.surface._asdict()
        return {**found, **surface}

    def to_json(self) -> dict[str, Any]:
        """Return the figures, and those of every view."""
        return {**self.figures(), "camera_units": self.units, "views": [view._asdict() for view in self.views]}


def score_fidelity(
    subject: Gaussians | Mesh,
    reference: Mesh | AnyViews,
    options: FidelityOptions,
    *,
    lpips: Lpips | None = None,
    report: Report = ignore,
) -> Fidelity:
    """Return how well Gaussians or a mesh, in own units, agree with a mesh or views in own units (numpy).

    Against a mesh the views are `options.views` of a lattice between those that a fit trains on; of given views all are
    taken, or with `options.held_out` those that a fit holds out. One picture is rendered at a time.
    """
    distance = None if lpips is None else _distance(lpips)
    if isinstance(reference, Views | MixedViews):
        chosen = held_out_indices(len(reference)) if options.held_out else np.arange(len(reference))
        units, shown, views = _among_views(subject, reference[chosen], options, report)
        found = tuple(
            _compare(next(_pictures(shown, each.cameras)), each.images[0], distance) for each in _singles(views)
        )
        return Fidelity(found, None, units)
    shown, mesh = _beside_mesh(subject, reference)
    cameras = score_cameras(options)
    rng = np.random.default_rng(options.seed)
    surface, wanted = (make_surface(each, cameras, options.points, rng) for each in (shown, mesh))
    pictures = zip(_pictures(shown, cameras), _rgba(mesh, cameras), surface.depths, wanted.depths, strict=True)
    found = tuple(_compare(picture, rgba, distance, depths) for picture, rgba, *depths in pictures)
    return Fidelity(found, compare_surfaces(surface, wanted, options.threshold))


def score_cameras(options: FidelityOptions) -> Cameras:
    """Return the cameras around a reference mesh."""
    side = options.resolution or SIDE
    return fibonacci_views(options.views, side, side, phase=PHASE)


def _beside_mesh(subject: Gaussians | Mesh, reference: Mesh) -> tuple[Gaussians | Mesh, Mesh]:
    """Return both in the unit ball of the reference."""
    if isinstance(subject, Mesh):
        mesh = normalize_mesh(reference)
        return _moved(subject, np.asarray(mesh.origin.center), mesh.origin.scale), mesh
    shown, wanted, _, _ = in_one_frame(subject, reference)
    assert isinstance(wanted, Mesh)
    return shown, wanted


def _among_views(
    subject: Gaussians | Mesh, reference: AnyViews, options: FidelityOptions, report: Report
) -> tuple[str, Gaussians | Mesh, AnyViews]:
    """Return the units of the cameras, the object in its unit ball, and the views around it, RGBA.

    Photos have the object's own units, and views that were rendered of an object in the unit ball have that one's.
    Where these are not the same and the options do not say which, the one that fits a few views better is taken.
    """
    if isinstance(subject, Mesh):
        mesh = normalize_mesh(subject)
        frame = SceneFrame(np.asarray(mesh.origin.center), mesh.origin.scale)
        own: tuple[Gaussians | Mesh, AnyViews] = mesh, rgba_views(views_into_frame(reference, frame))
        origin = mesh.origin
    else:
        shown, views, _, _ = in_one_frame(subject, reference)
        assert isinstance(views, Views | MixedViews)
        own, origin = (shown, views), subject.origin
    ball = own[0], rgba_views(reference)
    if not origin.normalized or (origin.scale == 1 and not any(origin.center)):
        return ("own", *own)
    if options.units != "auto":
        return (options.units, *(own if options.units == "own" else ball))
    few = np.unique(np.linspace(0, len(reference) - 1, FEW).round().astype(int))
    in_own, in_ball = (_mean_psnr(shown, views[few]) for shown, views in (own, ball))
    units = "own" if in_own >= in_ball else "ball"
    named = {"own": "the object's own units", "ball": "units of the unit ball, as positions in its file"}
    other = "ball" if units == "own" else "own"
    report(f"the cameras are taken to be in {named[units]}, which fits better: --units {other} takes the others")
    return (units, *(own if units == "own" else ball))


def _singles(views: AnyViews) -> Iterator[Views]:
    return (views[i] for i in range(len(views)))


def _mean_psnr(subject: Gaussians | Mesh, views: AnyViews) -> float:
    """Return the mean PSNR of pictures of the object over white."""
    found = []
    for each in _singles(views):
        image, _ = next(_pictures(subject, each.cameras))
        found.append(float(psnr(image, composite(each.images[0], 1.0), limit=MOST_PSNR)))
    return float(np.mean(found))


def _moved(mesh: Mesh, center: np.ndarray, scale: float) -> Mesh:
    """Return a mesh, by its own units, in the ball of that center and radius."""
    own = np.asarray(mesh.vertices, dtype=np.float64) * mesh.origin.scale + np.asarray(mesh.origin.center)
    return replace(mesh, vertices=(own - center) / scale)


def _pictures(subject: Gaussians | Mesh, cameras: Cameras) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the RGB picture over white of each camera, and its alpha."""
    if isinstance(subject, Mesh):
        for image in _rgba(subject, cameras):
            yield composite(image, 1.0).astype(np.float32), image[..., 3]
        return
    for camera in cameras:
        rendering = rasterize(subject, camera, background=np.ones(3, dtype=np.float32))
        yield np.clip(rendering.colors[0], 0.0, 1.0), rendering.alphas[0, ..., 0]


def _rgba(mesh: Mesh, cameras: Cameras) -> Iterator[Float32[np.ndarray, "h w 4"]]:
    """Yield the straight RGBA picture of each camera, a few rendered at once: each rendering prepares the mesh anew."""
    for first in range(0, len(cameras), AT_ONCE):
        yield from render_mesh(mesh, cameras[first : first + AT_ONCE], supersample=SUPERSAMPLE).images


def _compare(
    picture: tuple[np.ndarray, np.ndarray],
    reference: Float32[np.ndarray, "h w 4"],
    distance: Distance | None,
    depths: Sequence[np.ndarray] | None = None,
) -> ViewFidelity:
    (image, alpha), wanted = picture, composite(reference, 1.0).astype(np.float32)
    quality = compare_pictures(image, wanted, limit=MOST_PSNR)
    opaque = bool((reference[..., 3] == 1).all())
    iou = None if opaque else float(silhouette_iou(alpha, reference[..., 3]))
    perceived = None if distance is None else distance(image, wanted)
    errors: Iterator[float | None] = iter((None, None))
    if depths is not None:
        errors = (None if np.isnan(each) else each for each in depth_error(depths[0], depths[1], limit=FARTHEST))
    return ViewFidelity(*quality, perceived, iou, *errors)


def _distance(network: Lpips) -> Distance:
    """Return LPIPS of two pictures as a function of arrays."""
    import torch

    def distance(image: np.ndarray, reference: np.ndarray) -> float:
        one, other = (torch.from_numpy(np.ascontiguousarray(each))[None] for each in (image, reference))
        return float(network(one, other)[0])

    return distance
