"""Posed photos -> Gaussians, with the quality measured on photos that were not trained on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.fit.lod import in_levels, marked, shown_at
from gatlas.fit.mesh import Fit, fitted_to, for_training, measure, measure_levels
from gatlas.fit.photo_budget import is_opaque, with_count
from gatlas.fit.photo_start import INITS, start_photos
from gatlas.fit.scene_frame import views_into_frame
from gatlas.geometry.sh import with_degree
from gatlas.images.resize import map_views, resize_views
from gatlas.types import Gaussians, MixedViews, Views

if TYPE_CHECKING:
    from jaxtyping import Int

    from gatlas.fit.backgrounds import PhotoBackgrounds
    from gatlas.fit.optimize import OnParameters
    from gatlas.fit.options import FitOptions
    from gatlas.fit.photo_start import Cloud, Init
    from gatlas.types import AnyViews

HELD_OUT_EVERY = 8


def fit_photos(
    views: AnyViews,
    options: FitOptions,
    *,
    points: Cloud | None = None,
    init: Init = "auto",
    scaffold: bool = False,
    held_out: Int[np.ndarray, " h"] | None = None,
    on_parameters: OnParameters | None = None,
    **running: Any,
) -> Fit:
    """Fit exactly `options.count` Gaussians, or as many as the photos can fill, to photos with known cameras.

    The subject is moved into the unit ball (`origin` leads back to the photos' own units) and the photos are reduced to
    `options.resolution` pixels on the longer side. Every eighth photo is held out, at least one, or those whose indices
    `held_out` are given; the others are all trained on. PSNR and SSIM count the whole picture, over white where it is
    transparent.

    Where the fit begins: at `points` (positions and sRGB colors, in the photos' units); on the visual hull of photos
    with transparency; on the surfaces that opaque photos agree about ("stereo"); at random; or at given Gaussians,
    whose number is made right first and which may be in the photos' units or in the unit ball: whichever shows the
    photos better. "auto" takes the hull of photos with transparency if there are no points, stereo of opaque ones, and
    else what is there. Of opaque photos some Gaussians begin behind the scene, as its background. `scaffold`
    fits the paper's anchors and networks instead of the Gaussians themselves, and ends at or under the count. The same
    input, options and seed give the same bytes on one CPU. For `on_parameters` and `running` (device, loss,
    on_step, stopping) see `gatlas.fit.optimize.optimize`.
    """
    from gatlas.fit.backgrounds import fitted_background, measure_over
    from gatlas.fit.exposure import PhotoExposures, fitted_exposure
    from gatlas.fit.optimize import in_turn, optimize
    from gatlas.fit.relocate import Relocator
    from gatlas.fit.scaffold import CAP, optimize_scaffold

    if not isinstance(init, Gaussians) and init not in INITS:
        raise ValueError(f"init must be Gaussians or one of {', '.join(INITS)}, got {init!r}")
    if len(views) < 2:
        raise GatlasError(f"{len(views)} photo is too few: one is held out to measure on, so at least 2 are needed")

    # Start and frame
    budget, count = options.budget, with_count(options, views).mesh_count
    rng = np.random.default_rng(options.seed)
    views = rgba_views(resize_views(views, budget.resolution))
    held_out = held_out_indices(len(views)) if held_out is None else held_out
    trained_on = np.setdiff1d(np.arange(len(views)), held_out)
    if options.scene and not is_opaque(views):
        raise GatlasError("--scene is for photos that show all that is around: these have transparency or masks")
    backgrounds = _backgrounds(views[trained_on], options)
    flat, scene = options.sh_degree == 0, options.scene
    begun = start_photos(views, trained_on, count, points, init, rng, flat=flat, scene=scene, backgrounds=backgrounds)
    start = replace(begun.gaussians, sh=with_degree(begun.gaussians.sh, options.sh_degree))
    start, views = for_training(start, options.antialiased), views_into_frame(views, begun.frame)

    # Training and held-out photos
    training = views[trained_on]
    coarse = None
    if budget.coarse_iterations:
        coarse = (halved(training), budget.coarse_iterations)
    exposures = PhotoExposures(len(training), begun.gains) if options.exposure != "off" else None
    levels = options.levels
    if levels:
        start = in_levels(start, levels, options.lod_growth)
        running["shown"] = partial(shown_at, iterations=budget.iterations, levels=levels, growth=options.lod_growth)
    relocate = None
    if not begun.on_surfaces and backgrounds is None:  # else it moves what is right: -0.9 dB on templeRing
        mode, first = options.antialiased, levels[-2] if levels else 0
        relocate = Relocator(training, budget.iterations, rng, exposures, antialiased=mode, first=first)

    # Optimization
    if scaffold:
        limit = min(count, CAP)
        gaussians = optimize_scaffold(start, training, budget.iterations, rng, limit=limit, coarse=coarse, **running)
        gaussians = fitted_to(gaussians, training.cameras)
        return Fit(gaussians, training, *measure(gaussians, views[held_out]))
    running["on_parameters"] = in_turn(relocate, on_parameters)
    running |= {"exposures": exposures, "backgrounds": backgrounds}
    gaussians = optimize(start, training, budget.iterations, rng, coarse=coarse, **running)
    gaussians = marked(fitted_to(gaussians, training.cameras), levels, options.lod_growth)
    if backgrounds is None:
        behind, colors, quality = None, None, measure(gaussians, views[held_out])
    else:
        behind = fitted_background(gaussians, views, held_out, backgrounds)
        colors = behind.colors
        quality = measure_over(gaussians, views[held_out], colors[held_out])
    found = None if exposures is None else fitted_exposure(gaussians, views, held_out, exposures, colors)
    ladder = measure_levels(gaussians, views[held_out], quality)
    return Fit(gaussians, training, *quality, exposure=found, levels=ladder, background=behind)


def _backgrounds(views: AnyViews, options: FitOptions) -> PhotoBackgrounds | None:
    """Return the colors behind the training photos, where they are asked for and the photos have them."""
    from gatlas.fit.backgrounds import ALIKE, SAME, PhotoBackgrounds

    if options.background == "none":
        return None
    if not is_opaque(views):
        raise GatlasError("--background is for photos that show it: these have transparency or masks")
    found = PhotoBackgrounds(views, shared=options.background == "scene")
    if not found.plain:
        each = "a photo's border" if options.background == "view" else "the photos' borders"
        raise GatlasError(
            f"--background {options.background}: the photos have no one color behind what they show: less than "
            f"{SAME:.0%} of {each} is within {ALIKE:g} of its median"
        )
    return found


def held_out_indices(count: int) -> np.ndarray:
    """Every eighth of `count` photos, from the fourth on; the last where there are fewer than four."""
    return np.arange(min(HELD_OUT_EVERY // 2 - 1, count - 1), count, HELD_OUT_EVERY)


def halved(views: AnyViews) -> AnyViews:
    """The views with the longer side of each half as long."""
    if isinstance(views, Views):
        return resize_views(views, max(views.cameras.width, views.cameras.height) // 2)
    return map_views(views, halved)


def rgba_views(views: AnyViews) -> AnyViews:
    """The views with an alpha channel, opaque where they had none (float32)."""
    if isinstance(views, MixedViews):
        return map_views(views, rgba_views)
    images = np.asarray(views.images, dtype=np.float32)
    if images.shape[-1] == 4:
        return Views(images, views.cameras)
    return Views(np.concatenate([images, np.ones_like(images[..., :1])], axis=-1), views.cameras)
