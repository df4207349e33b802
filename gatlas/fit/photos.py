"""Posed photos -> Gaussians, with the quality measured on photos that were not trained on."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from gatlas.errors import GatlasError
from gatlas.fit import hull as visual_hull
from gatlas.fit import seeds
from gatlas.fit.mesh import Fit, measure
from gatlas.fit.recount import recount
from gatlas.fit.resize import resize_views
from gatlas.fit.scene_frame import SceneFrame, frame_of_cameras, frame_of_points, into_frame
from gatlas.types import LOG_SCALE_RANGE, Gaussians, Origin, Views

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from jaxtyping import Float

    from gatlas.fit.optimize import Between, Progress, Snapshot
    from gatlas.fit.options import FitOptions

    Init = Literal["auto", "points", "hull", "random"] | Gaussians
    Cloud = tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]  # positions; sRGB in [0, 1]

INITS = ("auto", "points", "hull", "random")
HELD_OUT_EVERY = 8
OPAQUE = 0.999  # mean alpha above which photos have no silhouettes
STRAY_MISSES = 0.2  # of the photos that show a point as empty, at which it is not the object's
JUDGES = 4  # photos by which the units of a given splat are told


def fit_photos(
    views: Views,
    options: FitOptions,
    *,
    points: Cloud | None = None,
    init: Init = "auto",
    progress: Progress | None = None,
    between: Between | None = None,
    stop: Callable[[], bool] | None = None,
    resume: Snapshot | None = None,
) -> Fit:
    """Fit exactly `options.count` Gaussians to photos with known cameras.

    The subject is moved into the unit ball (`origin` leads back to the photos' own units) and the photos are reduced to
    `options.resolution` pixels on the longer side. Every eighth photo is held out, at least one; the others are all
    trained on. PSNR and SSIM count the whole picture, over white where it is transparent.

    Where the fit begins: at `points` (positions and sRGB colours, in the photos' units); on the visual hull of photos
    with transparency; at random; or at given Gaussians, whose number is made right first and which may be in the
    photos' units or in the unit ball: whichever shows the photos better. "auto" takes the first of points, hull and
    random that it can. Of opaque photos a tenth of the Gaussians begins behind the scene, as its background. The same
    input, options and seed give the same bytes on one machine. For the callbacks see `gatlas.fit.optimize.optimize`.
    """
    from gatlas.fit.optimize import optimize
    from gatlas.fit.relocate import Relocator

    if not isinstance(init, Gaussians) and init not in INITS:
        raise ValueError(f"init must be Gaussians or one of {', '.join(INITS)}, got {init!r}")
    if len(views) < 2:
        raise GatlasError(f"{len(views)} photo is too few: one is held out to measure on, so at least 2 are needed")
    rng = np.random.default_rng(options.seed)
    views = _rgba(resize_views(views, options.resolution))
    start, frame = _start(views, options.count, points, init, rng)
    views = Views(views.images, into_frame(views.cameras, frame))
    center = (float(frame.center[0]), float(frame.center[1]), float(frame.center[2]))
    start = replace(start, origin=Origin(start.origin.name, center, float(frame.radius), True))

    held_out = held_out_indices(len(views))
    training = views[np.setdiff1d(np.arange(len(views)), held_out)]
    coarse = None
    if options.coarse_iterations:
        half = max(training.cameras.width, training.cameras.height) // 2
        coarse = (resize_views(training, half), options.coarse_iterations)
    relocate = Relocator(training, options.iterations, rng)

    def each_step(step: int, parameters: dict[str, torch.Tensor], adam: torch.optim.Adam) -> None:
        relocate(step, parameters, adam)
        if between is not None:
            between(step, parameters, adam)

    gaussians = optimize(
        start,
        training,
        options.iterations,
        rng,
        coarse=coarse,
        progress=progress,
        between=each_step,
        stop=stop,
        resume=resume,
    )
    return Fit(gaussians, training, *measure(gaussians, views[held_out]))


def held_out_indices(count: int) -> np.ndarray:
    """Every eighth of `count` photos, from the fourth on; the last where there are fewer than four."""
    return np.arange(min(HELD_OUT_EVERY // 2 - 1, count - 1), count, HELD_OUT_EVERY)


def _start(
    views: Views, count: int, points: Cloud | None, init: Init, rng: np.random.Generator
) -> tuple[Gaussians, SceneFrame]:
    """The Gaussians to begin with, in the unit ball's units, and the frame that leads there."""
    if isinstance(init, Gaussians):
        return _from_gaussians(init, views, count, rng)
    looked_at = frame_of_cameras(views.cameras)
    opaque = float(views.images[..., 3].mean()) > OPAQUE
    if init == "points" and points is None:
        raise GatlasError("there are no points to begin with: use --init hull (photos with transparency) or random")
    if init == "hull" and opaque:
        raise GatlasError("the photos have no transparency, so there is no visual hull: use --init points or random")
    if init == "points" or (init == "auto" and points is not None):
        xyz, rgb = points if points is not None else (np.empty((0, 3)), np.empty((0, 3)))
        if len(xyz) == 0:
            raise GatlasError("there are no points to begin with: use --init hull (photos with transparency) or random")
        if not opaque:
            kept = visual_hull.inside_silhouettes(xyz, views, STRAY_MISSES)
            xyz, rgb = (xyz[kept], rgb[kept]) if kept.any() else (xyz, rgb)
        frame = frame_of_points(views.cameras, xyz)
        framed = Views(views.images, into_frame(views.cameras, frame))
        behind = _backdrop(framed, count, opaque, rng)
        local = (xyz - frame.center) / frame.radius
        start = seeds.point_gaussians(local, rgb, framed.cameras, count - (len(behind) if behind else 0), rng)
        return (seeds.joined(start, behind) if behind else start), frame
    if init == "hull" or (init == "auto" and not opaque):
        try:
            carved = visual_hull.carve_hull(views, looked_at)
        except GatlasError as error:
            if init == "hull":
                raise
            warnings.warn(f"{error}; the fit begins at random places", stacklevel=3)
        else:
            frame = SceneFrame(*visual_hull.hull_frame(carved))
            inward = visual_hull.Hull(
                carved.filled, (carved.corner - frame.center) / frame.radius, carved.cell / frame.radius
            )
            framed = Views(views.images, into_frame(views.cameras, frame))
            return seeds.hull_gaussians(inward, framed, count, rng), frame
    framed = Views(views.images, into_frame(views.cameras, looked_at))
    behind = _backdrop(framed, count, opaque, rng)
    start = seeds.random_gaussians(framed, count - (len(behind) if behind else 0), rng)
    return (seeds.joined(start, behind) if behind else start), looked_at


def _backdrop(views: Views, count: int, opaque: bool, rng: np.random.Generator) -> Gaussians | None:
    share = int(seeds.BACKDROP_SHARE * count)
    return seeds.backdrop_gaussians(views, share, rng) if opaque and share else None


def _from_gaussians(
    gaussians: Gaussians, views: Views, count: int, rng: np.random.Generator
) -> tuple[Gaussians, SceneFrame]:
    """Given Gaussians in the photos' own units or in the unit ball, made `count`, and the frame of the unit ball."""
    origin = gaussians.origin
    own = SceneFrame(np.zeros(3), 1.0)  # the photos' world is the Gaussians' own, as they stand
    candidates = [own]
    if origin.normalized and (origin.scale != 1.0 or any(origin.center)):
        candidates.append(SceneFrame(np.array(origin.center), origin.scale))
    judges = np.unique(np.linspace(0, len(views) - 1, min(JUDGES, len(views))).astype(int))

    def fits(frame: SceneFrame) -> float:
        return measure(gaussians, Views(views.images[judges], into_frame(views.cameras[judges], frame)))[0]

    frame = max(candidates, key=fits) if len(candidates) > 1 else own
    if frame is own and not origin.normalized:
        frame = frame_of_points(views.cameras, gaussians.means)
        low, high = np.exp(LOG_SCALE_RANGE)
        gaussians = replace(
            gaussians,
            means=((gaussians.means - frame.center) / frame.radius).astype(np.float32),
            scales=np.clip(gaussians.scales / frame.radius, low, high).astype(np.float32),
        )
    return recount(gaussians, into_frame(views.cameras, frame), count, rng), frame


def _rgba(views: Views) -> Views:
    images = np.asarray(views.images, dtype=np.float32)
    if images.shape[-1] == 4:
        return Views(images, views.cameras)
    return Views(np.concatenate([images, np.ones_like(images[..., :1])], axis=-1), views.cameras)
