"""The choice of where a fit of photos begins, and of the ball that becomes the unit ball."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.fit import seeds
from gatlas.fit.hull import Hull, carve_hull, hull_frame, inside_silhouettes
from gatlas.fit.mesh import measure
from gatlas.fit.photo_budget import is_opaque
from gatlas.fit.scene_frame import SceneFrame, frame_of_cameras, frame_of_points, views_into_frame
from gatlas.fit.set_count import set_count
from gatlas.fit.stereo import find_surfaces
from gatlas.raster.flat_color import with_flat_color
from gatlas.types import LOG_SCALE_RANGE, Gaussians, Origin

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.fit.backgrounds import PhotoBackgrounds
    from gatlas.fit.stereo import StereoSurfaces
    from gatlas.types import AnyViews

    Init = Literal["auto", "points", "hull", "stereo", "random"] | Gaussians
    Cloud = tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]  # positions; sRGB in [0, 1]

INITS = ("auto", "points", "hull", "stereo", "random")
FEWEST = 500  # points of surfaces that a fit begins on
STEREO_POOL = 8, 4 * FEWEST  # points of surfaces that are looked for: for each Gaussian, and at least
BEHIND_SURFACES = 0.04  # of the count, where surfaces were found
STRAY_SURFACES = 0.005  # of the points of surfaces, the farthest, that the background does not stand behind
STRAY_MISSES = 0.2  # of the photos that show a point, saying that it is empty: above it the point is not the object's
UNIT_TEST_VIEWS = 4  # photos that decide the units of a given splat


class PhotoStart(NamedTuple):
    """The place where a fit of photos begins."""

    gaussians: Gaussians  # in the unit ball; the origin leads back
    frame: SceneFrame  # the ball in the photos' units
    on_surfaces: bool = False  # they are where the photos agree, and need not be moved elsewhere
    gains: Float[np.ndarray, "t 3"] | None = None  # of the colors of the training photos, where they are known


def start_photos(
    views: AnyViews,
    trained_on: Int[np.ndarray, " t"],
    count: int,
    points: Cloud | None,
    init: Init,
    rng: np.random.Generator,
    *,
    flat: bool = True,
    scene: bool = False,
    backgrounds: PhotoBackgrounds | None = None,
) -> PhotoStart:
    """Return `count` Gaussians for RGBA views, and the ball that becomes the unit ball.

    With `flat` given Gaussians lose view-dependent color, see `gatlas.raster.flat_color`. Of a `scene` what is far
    beyond the ball gets few Gaussians, as large as it takes. With the colors of `backgrounds` nothing begins there.
    See `gatlas.fit.photos.fit_photos` for `points` and `init`. Surfaces are found in the views `trained_on` only. What
    the photos lack for `init` is a GatlasError.
    """
    if isinstance(init, Gaussians):
        return PhotoStart(*_from_gaussians(init, views, count, rng, flat))
    opaque = is_opaque(views)
    backdrop = opaque and backgrounds is None
    cloud = points if points is not None and len(points[0]) else None
    if init == "points" and cloud is None:
        raise GatlasError("there are no points to begin with: use --init hull (photos with transparency) or random")
    if init == "hull" and opaque:
        raise GatlasError("the photos have no transparency, so there is no visual hull: use --init stereo or random")
    if init == "stereo" or (init == "auto" and opaque):
        frame = frame_of_cameras(views.cameras) if cloud is None else frame_of_points(views.cameras, cloud[0])
        framed = views_into_frame(views[trained_on], frame)
        per_gaussian, least = STEREO_POOL
        found = find_surfaces(framed, max(per_gaussian * count, least), rng)
        if backgrounds is not None:
            from gatlas.fit.backgrounds import is_background

            kept = ~is_background(found.cloud.points, found.cloud.rgb, backgrounds)
            found = found._replace(cloud=type(found.cloud)(*(column[kept] for column in found.cloud)))
        if len(found.cloud.points) >= FEWEST:
            start = _from_stereo(found, framed, count, backdrop, frame, rng, scene)
            return PhotoStart(start, frame, on_surfaces=True, gains=found.gains)
        lack = "the photos overlap too little to find surfaces in them"
        if init == "stereo":
            raise GatlasError(f"{lack}: use --init points, hull or random")
        warnings.warn(f"{lack}; the fit begins at {'random places' if cloud is None else 'points'}", stacklevel=3)
    if cloud is not None and init in ("auto", "points"):
        return PhotoStart(*_from_points(cloud, views, count, opaque, rng, scene, backdrop))
    frame = frame_of_cameras(views.cameras)
    if init == "hull" or (init == "auto" and not opaque):
        try:
            hull = carve_hull(views, frame)
        except GatlasError as error:
            if init == "hull":
                raise
            warnings.warn(f"{error}; the fit begins at random places", stacklevel=3)
        else:
            return PhotoStart(*_from_hull(hull, views, count, rng))
    framed = views_into_frame(views, frame)
    behind = _backdrop(framed, count, backdrop, rng)
    start = seeds.random_gaussians(framed, count - len(behind), rng, scene=scene)
    return PhotoStart(_with(start, behind, frame), frame)


def _from_stereo(
    found: StereoSurfaces,
    views: AnyViews,
    count: int,
    opaque: bool,
    frame: SceneFrame,
    rng: np.random.Generator,
    scene: bool,
) -> Gaussians:
    farthest = float(np.quantile(np.linalg.norm(found.cloud.points, axis=1), 1 - STRAY_SURFACES))
    share = int(BEHIND_SURFACES * count) if opaque else 0
    behind = seeds.backdrop_gaussians(views, share, rng, beyond=farthest, gains=found.gains, subjects=found.subjects)
    start = seeds.surface_gaussians(found.cloud, views.cameras, count - len(behind), rng, scene=scene)
    return _with(start, behind, frame)


def _from_points(
    cloud: Cloud, views: AnyViews, count: int, opaque: bool, rng: np.random.Generator, scene: bool, backdrop: bool
) -> tuple[Gaussians, SceneFrame]:
    xyz, rgb = cloud
    if not opaque:
        kept = inside_silhouettes(xyz, views, STRAY_MISSES)
        xyz, rgb = (xyz[kept], rgb[kept]) if kept.any() else (xyz, rgb)
    frame = frame_of_points(views.cameras, xyz)
    framed = views_into_frame(views, frame)
    behind = _backdrop(framed, count, backdrop, rng)
    local = (xyz - frame.center) / frame.radius
    start = seeds.point_gaussians(local, rgb, framed.cameras, count - len(behind), rng, scene=scene)
    return _with(start, behind, frame), frame


def _from_hull(hull: Hull, views: AnyViews, count: int, rng: np.random.Generator) -> tuple[Gaussians, SceneFrame]:
    frame = hull_frame(hull)
    framed = views_into_frame(views, frame)
    local = Hull(hull.filled, (hull.corner - frame.center) / frame.radius, hull.cell / frame.radius)
    return replace(seeds.hull_gaussians(local, framed, count, rng), origin=_origin(frame)), frame


def _from_gaussians(
    gaussians: Gaussians, views: AnyViews, count: int, rng: np.random.Generator, flat: bool
) -> tuple[Gaussians, SceneFrame]:
    """Given Gaussians, made `count`: of a splat that is in the unit ball, the photos' world may be that ball or not."""
    origin = gaussians.origin
    if origin.normalized:
        unit, own = SceneFrame(np.zeros(3), 1.0), SceneFrame(np.array(origin.center), origin.scale)
        judges = np.unique(np.linspace(0, len(views) - 1, min(UNIT_TEST_VIEWS, len(views))).astype(int))

        def likeness(frame: SceneFrame) -> float:
            return measure(gaussians, views_into_frame(views[judges], frame))[0]

        frame = own if likeness(own) >= likeness(unit) else unit
        start = gaussians
    else:
        own_means = gaussians.means + np.array(origin.center)
        frame = frame_of_points(views.cameras, own_means)
        fitted = origin.scaled(tuple((origin.center - frame.center) / frame.radius), 1 / frame.radius)
        placed = replace(_origin(frame, origin.name), pixel_sizes=fitted.pixel_sizes, ball=fitted.ball)
        start = replace(
            gaussians,
            means=((own_means - frame.center) / frame.radius).astype(np.float32),
            scales=np.clip(gaussians.scales / frame.radius, *np.exp(LOG_SCALE_RANGE)).astype(np.float32),
            origin=replace(placed, antialiased=origin.antialiased),
        )
    cameras = views_into_frame(views, frame).cameras
    return set_count(with_flat_color(start, cameras) if flat else start, cameras, count, rng), frame


def _backdrop(views: AnyViews, count: int, opaque: bool, rng: np.random.Generator) -> Gaussians:
    """The background that opaque photos show; none of it where they are transparent."""
    return seeds.backdrop_gaussians(views, int(seeds.BACKDROP_SHARE * count) if opaque else 0, rng)


def _with(start: Gaussians, behind: Gaussians, frame: SceneFrame) -> Gaussians:
    return replace(seeds.joined(start, behind), origin=_origin(frame))


def _origin(frame: SceneFrame, name: str = "") -> Origin:
    x, y, z = (float(value) for value in frame.center)
    return Origin(name, (x, y, z), float(frame.radius), normalized=True)
