"""Mesh -> views -> Gaussians, with the quality measured on views that were not trained on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.fit.even import even_gaussians
from gatlas.fit.lod import in_levels, marked, shown_at
from gatlas.fit.set_count import set_count
from gatlas.fit.start import surface_gaussians
from gatlas.geometry.cameras import fibonacci_views, pixel_sizes
from gatlas.geometry.frames import unscaled
from gatlas.geometry.sh import with_degree
from gatlas.images.composite import composite
from gatlas.images.pyramid import halve
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.metrics.pictures import compare_pictures
from gatlas.raster import rasterize
from gatlas.raster.flat_color import with_flat_color
from gatlas.types import LOG_SCALE_RANGE

if TYPE_CHECKING:
    from gatlas.fit.backgrounds import FittedBackground
    from gatlas.fit.exposure import FittedExposure
    from gatlas.fit.options import FitOptions
    from gatlas.types import AnyCameras, AnyViews, Gaussians, Mesh

SUPERSAMPLE = 4
LONG = 2_500  # steps, from which on a fit has the recipe of long ones
FINER = 4  # pixels of an antialiased splat to one of its fit: there is little blur in pictures of up to twice its size


class LevelQuality(NamedTuple):
    """The quality of one level, as `measure` gives it."""

    number: int  # of Gaussians
    psnr: float  # dB
    ssim: float


class Fit(NamedTuple):
    gaussians: Gaussians  # in the unit ball; origin leads back to the mesh's own units
    views: AnyViews  # the training pictures
    psnr: float  # dB over white, mean over the held-out views
    ssim: float  # over white, mean over the held-out views
    mesh: Mesh | None = None  # what was fitted, in the unit ball; None of photos
    exposure: FittedExposure | None = None  # of photos
    levels: tuple[LevelQuality, ...] = ()  # of `FitOptions.levels`, the smallest first
    background: FittedBackground | None = None  # of photos


def fit_mesh(mesh: Mesh, options: FitOptions, *, start: Gaussians | None = None, **running: Any) -> Fit:
    """Fit exactly `options.count` Gaussians to a mesh. The same options and seed give the same bytes on one CPU.

    The mesh is moved into the unit ball. Training views are a Fibonacci lattice of directions; the held-out views are
    another lattice, between them. `start` begins at given Gaussians, in the mesh's own units or its unit ball, instead
    of the surface; their number is made right first. For the callbacks see `gatlas.fit.optimize.optimize`.
    """
    from gatlas.fit.offset import OffsetBound
    from gatlas.fit.optimize import in_turn, optimize

    rng = np.random.default_rng(options.seed)
    mesh = normalize_mesh(mesh)
    iterations, count, side = budget = options.budget
    look: dict[str, Any] = {"supersample": options.supersample, "shading": options.shading}
    views = render_mesh(mesh, fibonacci_views(count, side, side), **look)
    if start is None:
        begin = even_gaussians if options.init == "even" else surface_gaussians
        start = begin(mesh, views, options.mesh_count, rng, options.shading)
    else:
        start = in_unit_ball_of(mesh, start, flat=options.sh_degree == 0)
        start = set_count(start, views.cameras, options.mesh_count, rng)
    start = replace(start, sh=with_degree(start.sh, options.sh_degree))
    start = for_training(start, options.antialiased)
    if options.antialiased:
        start = fitted_below(start, views.cameras)
    levels = options.levels
    if levels:
        start = in_levels(start, levels, options.lod_growth)
        running["shown"] = partial(shown_at, iterations=iterations, levels=levels, growth=options.lod_growth)
    bound = None if options.max_offset is None else OffsetBound(mesh, options.max_offset)
    if bound is not None:
        start = bound.applied(start)
        running["on_parameters"] = in_turn(bound, running.get("on_parameters"))
    coarse = (halve(views), budget.coarse_iterations) if budget.coarse_iterations else None
    gaussians = optimize(start, views, iterations, rng, coarse=coarse, **_recipe(iterations), **running)
    if not options.antialiased:
        gaussians = fitted_to(gaussians, views.cameras)
    if bound is not None:
        gaussians = bound.applied(gaussians)
    gaussians = marked(gaussians, levels, options.lod_growth)
    held_out = render_mesh(mesh, fibonacci_views(options.held_out, side, side, phase=0.5), **look)
    quality = measure(gaussians, held_out)
    return Fit(gaussians, views, *quality, mesh=mesh, levels=measure_levels(gaussians, held_out, quality))


def _recipe(iterations: int) -> dict[str, Any]:
    """Return the error of the last steps, and Adam's betas.

    Pictures of a mesh have no outliers: late errors count squared, as in PSNR, and Adam needs little memory. At 1,200
    steps FlightHelmet gains 0.4 dB by it, Knight 0.2; with these betas photos lose (templeRing: 0.1). At 4,000 steps
    simple objects, whose errors are small, lose: beside the similarity the squared error of 46 dB pulls at nothing
    (MeshoptCubeTest: 0.9 dB), and little memory is noise.
    """
    from gatlas.fit.optimize import LateError

    if iterations < LONG:
        return {"late": LateError("squared", 0.5), "betas": (0.8, 0.99)}
    return {"late": LateError("root", 0.75), "betas": (0.9, 0.999)}


def for_training(gaussians: Gaussians, antialiased: bool) -> Gaussians:
    """Return the Gaussians for a fit in that mode, with the rasterizer's own blur at every pixel size."""
    origin = replace(gaussians.origin, pixel_sizes=None, ball=None, antialiased=antialiased)
    return replace(gaussians, origin=origin)


def fitted_to(gaussians: Gaussians, *cameras: AnyCameras) -> Gaussians:
    """Return the Gaussians, in the unit ball, with the pixel sizes of the cameras that they were fitted to."""
    return replace(gaussians, origin=replace(gaussians.origin, pixel_sizes=pixel_sizes(*cameras), ball=None))


def fitted_below(gaussians: Gaussians, cameras: AnyCameras) -> Gaussians:
    """Return the antialiased Gaussians, in the unit ball, for pixels FINER times as fine as the cameras' finest.

    In the cameras' own pixels the rasterizer's blur is then its least, and little more in those of pictures twice as
    large. What a wider one adds, a fit sharpens away, which suits one size of pixels only.
    """
    finest = pixel_sizes(cameras)[0] / FINER
    return replace(gaussians, origin=replace(gaussians.origin, pixel_sizes=(finest, finest), ball=None))


def in_unit_ball_of(mesh: Mesh, gaussians: Gaussians, *, flat: bool = False) -> Gaussians:
    """Given Gaussians, in own units or the unit ball, in a normalized mesh's frame; `flat` takes one color of each.

    The mode and the pixels that they were fitted to stay.
    """
    origin = mesh.origin
    if not gaussians.origin.normalized:
        x, y, z = (float(value) for value in np.subtract(origin.center, gaussians.origin.center))
        gaussians = unscaled(gaussians, (x, y, z), origin.scale)
    scales = np.clip(gaussians.scales, *np.exp(LOG_SCALE_RANGE)).astype(np.float32)
    fitted = gaussians.origin
    origin = replace(origin, pixel_sizes=fitted.pixel_sizes, ball=fitted.ball, antialiased=fitted.antialiased)
    sh = with_flat_color(gaussians).sh if flat else gaussians.sh
    return replace(gaussians, scales=scales, sh=sh, origin=origin)


def measure(gaussians: Gaussians, views: AnyViews) -> tuple[float, float]:
    """PSNR in dB and SSIM of the Gaussians against RGBA views, over white: means over the views (numpy)."""
    white = np.ones(3, dtype=np.float32)
    found = []
    for i in range(len(views)):
        reference = composite(views[i].images, 1.0).astype(np.float32)
        image = np.clip(rasterize(gaussians, views.cameras[i], background=white).colors, 0.0, 1.0)
        found.append(compare_pictures(image[0], reference[0]))
    decibels, similarity = zip(*found, strict=True)
    return float(np.mean(decibels)), float(np.mean(similarity))


def measure_levels(gaussians: Gaussians, views: AnyViews, full: tuple[float, float]) -> tuple[LevelQuality, ...]:
    """The quality of every level that the origin names; `full` is that of all Gaussians, which is known already."""
    smaller = [LevelQuality(n, *measure(gaussians.level(n), views)) for n in gaussians.origin.levels[:-1]]
    return (*smaller, LevelQuality(len(gaussians), *full)) if gaussians.origin.levels else ()
