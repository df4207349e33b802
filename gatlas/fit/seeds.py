"""Initial Gaussians for a fit of photos: exactly the requested number, in the units of the unit ball."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gatlas.fit.blue_noise import choose_blue_noise
from gatlas.fit.hull import HullSurface, hull_surface
from gatlas.fit.projection import mean_colors, pixels_at, project_points
from gatlas.fit.start import DETAIL_POWER
from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.rays import directions_through
from gatlas.geometry.rotations import quats_from_normals
from gatlas.geometry.sh import rgb_to_dc
from gatlas.types import LOG_SCALE_RANGE, Gaussians

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from gatlas.fit.hull import Hull
    from gatlas.fit.stereo import StereoCloud
    from gatlas.types import AnyCameras, AnyViews

POOL = 6  # candidates on the hull per Gaussian
DISC_SIGMA = 0.45  # of the spacing
THICKNESS_SIGMA = 0.15  # of the spacing: a hull is only near the surface
HULL_OPACITY = 0.7
SURFACE_OPACITY = 0.5  # wrong ones must be able to fade
PLAIN_SHARE = 0.15  # of the density, whatever the detail
ISOLATED = 8.0  # matched pixels: the largest spacing that a point stands for
POINT_OPACITY = 0.5
POINT_SIGMA = 0.5  # of the distance to the nearest neighbors
RANDOM_REACH = 1.25  # radii: pictures hold more along their longer side
RANDOM_OPACITY = 0.03  # nothing is known to be where they are, and many lie behind one another
RANDOM_SIGMA = 0.5  # of the mean distance between neighbors
NEIGHBORS = 3
FARTHEST = 50.0  # radii: points beyond are mistakes of the reconstruction
FARTHEST_OF_SCENE = 1000.0  # radii
FAR_SPACING = 0.1  # of the distance: points of a scene may be as far apart
BACKDROP_SHARE = 0.1  # of the count
BACKDROP_SIGMA = 0.8  # of the spacing: no gaps
BACKDROP_OPACITY = 0.95
BACKDROP_DISTANCE = 1.1  # of the farthest camera's distance from the center


def hull_gaussians(hull: Hull, views: AnyViews, count: int, rng: np.random.Generator) -> Gaussians:
    """`count` discs on the surface of a visual hull, evenly spaced, colored by the views that face them."""
    pool: HullSurface = hull_surface(hull, POOL * count, rng)
    chosen = choose_blue_noise(pool.points, np.ones(len(pool.points)), count)
    points, normals = pool.points[chosen], pool.normals[chosen]
    colors, _ = mean_colors(points, views, normals)
    spacing = np.sqrt(pool.area / count)
    scales = np.tile(spacing * np.array([DISC_SIGMA, DISC_SIGMA, THICKNESS_SIGMA]), (count, 1))
    return _gaussians(points, quats_from_normals(normals), scales, HULL_OPACITY, colors)


def point_gaussians(
    xyz: Float[np.ndarray, "n 3"],
    rgb: Float[np.ndarray, "n 3"],
    cameras: AnyCameras,
    count: int,
    rng: np.random.Generator,
    *,
    scene: bool = False,
) -> Gaussians:
    """`count` balls at points of a reconstruction, as large as the points are apart.

    Of more points a random part is taken. Of fewer, each stands for several balls, scattered about it as far as its
    neighbors are. Points that no camera shows, or that are absurdly far away, are left out where others are there. Of a
    `scene` those that are far away stay, and are as large as they are apart there.
    """
    from scipy.spatial import cKDTree

    shown = np.zeros(len(xyz), dtype=bool)
    for index in range(len(cameras)):
        shown |= project_points(xyz, cameras, index).inside
    shown &= np.linalg.norm(xyz, axis=1) < (FARTHEST_OF_SCENE if scene else FARTHEST)
    if shown.any():
        xyz, rgb = xyz[shown], rgb[shown]
    if len(xyz) > count:
        kept = np.sort(rng.choice(len(xyz), size=count, replace=False))
        xyz, rgb = xyz[kept], rgb[kept]
    reach = min(NEIGHBORS, len(xyz) - 1)
    if reach:
        apart = cKDTree(xyz).query(xyz, k=reach + 1)[0][:, 1:].mean(axis=1)
        most = 8 * np.median(apart) + 1e-4
        apart = np.clip(apart, 1e-4, np.maximum(most, FAR_SPACING * np.linalg.norm(xyz, axis=1)) if scene else most)
    else:
        apart = np.full(len(xyz), 0.1)
    copies = np.resize(np.arange(len(xyz)), count)  # every point once before any comes again
    scatter = rng.normal(size=(count, 3)) * (0.5 * apart[copies])[:, None]
    scatter[: len(xyz)] = 0.0
    crowd = np.bincount(copies, minlength=len(xyz))[copies]  # on a surface the distance shrinks with its root
    sigmas = POINT_SIGMA * apart[copies] / np.sqrt(crowd)
    quats = np.tile([1.0, 0.0, 0.0, 0.0], (count, 1))
    bounds = _bounds_at(np.linalg.norm(xyz, axis=1).max()) if scene else LOG_SCALE_RANGE
    scales = np.repeat(sigmas[:, None], 3, axis=1)
    return _gaussians(xyz[copies] + scatter, quats, scales, POINT_OPACITY, rgb[copies], bounds)


def surface_gaussians(
    cloud: StereoCloud, cameras: AnyCameras, count: int, rng: np.random.Generator, *, scene: bool = False
) -> Gaussians:
    """`count` discs on surfaces that photos agree about, denser where the photos have detail and where they are near.

    Of fewer points each stands for several, as in `point_gaussians`. Of a `scene` they are as dense in the photos
    wherever they are: what is far away has few, as large as it takes.
    """
    from scipy.spatial import cKDTree

    if len(cloud.points) <= count:
        return point_gaussians(cloud.points, cloud.rgb, cameras, count, rng, scene=scene)
    detail = cloud.detail**DETAIL_POWER
    weight = PLAIN_SHARE + (1 - PLAIN_SHARE) * detail / max(float(detail.mean()), 1e-9)
    density = weight / (cloud.pixels**2 if scene else cloud.pixels)
    chosen = choose_blue_noise(cloud.points, density, count)
    points = cloud.points[chosen]
    around = cKDTree(points).query(points, k=min(5, count))[0]
    spacing = np.sqrt((around[:, 1:] ** 2).mean(axis=1)) if count > 1 else ISOLATED * cloud.pixels[chosen]
    spacing = np.minimum(spacing, ISOLATED * cloud.pixels[chosen])[:, None]
    scales = spacing * np.array([DISC_SIGMA, DISC_SIGMA, THICKNESS_SIGMA])
    bounds = _bounds_at(np.linalg.norm(points, axis=1).max()) if scene else LOG_SCALE_RANGE
    quats = quats_from_normals(cloud.normals[chosen])
    return _gaussians(points, quats, scales, SURFACE_OPACITY, cloud.rgb[chosen], bounds)


def random_gaussians(views: AnyViews, count: int, rng: np.random.Generator, *, scene: bool = False) -> Gaussians:
    """`count` faint balls at random places that cameras show, in and just around the unit ball, in their colors.

    Of a `scene` every other one is beyond, as large as it is far away.
    """
    found: list[np.ndarray] = []
    need = min(2, len(views))
    for _ in range(20):
        points = rng.normal(size=(4 * count, 3))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        points *= RANDOM_REACH * rng.random((len(points), 1)) ** (1 / 3)
        if scene:
            points[::2] *= FARTHEST ** rng.random((len(points[::2]), 1))
        shown = sum(project_points(points, views.cameras, index).inside.astype(int) for index in range(len(views)))
        found.append(points[shown >= need])
        if sum(len(part) for part in found) >= count:
            break
    else:  # the cameras hardly overlap within the ball
        found.append(points)
    points = np.concatenate(found)[:count]
    colors, _ = mean_colors(points, views)
    sigma = RANDOM_SIGMA * RANDOM_REACH * (4 / 3 * np.pi / count) ** (1 / 3)
    quats = np.tile([1.0, 0.0, 0.0, 0.0], (count, 1))
    scales, bounds = np.full((count, 3), sigma), LOG_SCALE_RANGE
    if scene:
        away = np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1.0)
        scales, bounds = scales * away, _bounds_at(float(away.max()))
    return _gaussians(points, quats, scales, RANDOM_OPACITY, colors, bounds)


def backdrop_gaussians(
    views: AnyViews,
    count: int,
    rng: np.random.Generator,
    *,
    beyond: float = 1.0,
    gains: Float[np.ndarray, "c 3"] | None = None,
    subjects: tuple[Bool[np.ndarray, "_ _"] | None, ...] = (),
) -> Gaussians:
    """`count` discs behind the scene: on a sphere around all cameras, where their rays meet it, in the rays' colors.

    The sphere is larger than one of radius `beyond`. The colors are those of the photos over their `gains`. What the
    `subjects` of the photos hide has the color of what is seen beside them: other photos show it.

    Opaque photos show something in every pixel, also where the scene has nothing near.
    """
    from scipy.spatial import cKDTree

    if count == 0:
        empty = np.empty((0, 3))
        return _gaussians(empty, np.empty((0, 4)), empty, BACKDROP_OPACITY, empty)
    cameras = views.cameras
    eyes = camera_centers(cameras.viewmats).astype(np.float64)
    radius = BACKDROP_DISTANCE * max(float(np.linalg.norm(eyes, axis=1).max()), beyond)
    pool = POOL * count
    index = rng.integers(len(views), size=pool)
    # A little beyond the pictures' edges, so that the discs cover the edges too.
    sizes = np.array(cameras.sizes)[index]
    pixels = rng.uniform(-0.02, 1.02, size=(pool, 2)) * sizes
    rays = directions_through(pixels, cameras, index)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    along = np.einsum("ni,ni->n", rays, eyes[index])
    distance = -along + np.sqrt(along**2 + radius**2 - (eyes[index] ** 2).sum(axis=1))
    points = eyes[index] + distance[:, None] * rays
    columns, rows = (np.clip(pixels[:, i].astype(int), 0, sizes[:, i] - 1) for i in range(2))
    colors = pixels_at(views, index, rows, columns)[:, :3]
    if gains is not None:
        colors = colors / gains[index]
    chosen = choose_blue_noise(points, np.ones(pool), count)
    clear = np.flatnonzero(_beside_subjects(subjects, index, pixels / sizes))
    if len(clear):
        colors = colors[clear[cKDTree(points[clear]).query(points)[1]]]
    apart = cKDTree(points[chosen]).query(points[chosen], k=min(5, count))[0]
    spacing = np.maximum(apart[:, 1:].mean(axis=1) if count > 1 else np.full(1, radius), 1e-3)
    scales = spacing[:, None] * np.array([BACKDROP_SIGMA, BACKDROP_SIGMA, THICKNESS_SIGMA])
    quats = quats_from_normals(-points[chosen] / radius)
    return _gaussians(points[chosen], quats, scales, BACKDROP_OPACITY, colors[chosen], _bounds_at(radius))


def _bounds_at(radius: float) -> tuple[float, float]:
    """Bounds of the log-scales of Gaussians as far away as that: what is far is as large as it looks."""
    return LOG_SCALE_RANGE[0], LOG_SCALE_RANGE[1] + np.log(max(radius, 1.0))


def _beside_subjects(
    subjects: tuple[Bool[np.ndarray, "_ _"] | None, ...], index: Int[np.ndarray, " n"], places: Float[np.ndarray, "n 2"]
) -> Bool[np.ndarray, " n"]:
    """True for places (x, y; the picture is 0 to 1) of views `index` that are known not to show the subject."""
    clear = np.zeros(len(index), dtype=bool)
    for number, subject in enumerate(subjects):
        if subject is not None:
            of = index == number
            height, width = subject.shape
            columns, rows = np.clip((places[of] * (width, height)).astype(int), 0, (width - 1, height - 1)).T
            clear[of] = ~subject[rows, columns]
    return clear


def joined(first: Gaussians, second: Gaussians) -> Gaussians:
    """Both sets, the first's origin."""
    names = ("means", "quats", "scales", "opacities", "sh")
    means, quats, scales, opacities, sh = (
        np.concatenate([getattr(first, name), getattr(second, name)]) for name in names
    )
    return Gaussians(means, quats, scales, opacities, sh, first.origin)


def _gaussians(
    points: Float[np.ndarray, "n 3"],
    quats: Float[np.ndarray, "n 4"],
    scales: Float[np.ndarray, "n 3"],
    opacity: float,
    colors: Float[np.ndarray, "n 3"],
    log_scale_range: tuple[float, float] = LOG_SCALE_RANGE,
) -> Gaussians:
    return Gaussians(
        means=points.astype(np.float32),
        quats=quats.astype(np.float32),
        scales=np.clip(scales, *np.exp(log_scale_range)).astype(np.float32),
        opacities=np.full(len(points), opacity, dtype=np.float32),
        sh=rgb_to_dc(np.clip(colors, 0.0, 1.0))[:, None].astype(np.float32),
    )
