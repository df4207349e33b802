"""Gaussians of a mesh without optimization: discs where its pictures have detail, within its outline.

Candidates are the surface points that the pixels of a few views meet, so that what no view sees gets no Gaussian and
the density follows the expected pixels. Near an outline a disc and the rasterizer's blur reach beyond the mesh: centers
move inwards by about a pixel, and discs whose weight falls outside shrink.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.fit.blue_noise import choose_blue_noise
from gatlas.fit.mesh import Fit, measure
from gatlas.fit.start import DETAIL_POWER, THICKNESS_SIGMA
from gatlas.geometry.cameras import camera_centers, fibonacci_views, pixel_sizes
from gatlas.geometry.rotations import quats_from_normals
from gatlas.geometry.sh import rgb_to_dc
from gatlas.meshes.colors import face_normals, unit
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import mesh_hits, render_mesh
from gatlas.meshes.sample import surface_colors
from gatlas.raster.gathering import gather
from gatlas.raster.rendering import EPS2D
from gatlas.types import LOG_SCALE_RANGE, Gaussians, Views

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Float64, Int

    from gatlas.fit.options import FitOptions
    from gatlas.types import Cameras, Mesh

POOL = 3  # candidates per Gaussian
EVEN_SHARE = 0.2  # of the density, whatever the detail
FAINTEST = 0.05  # opacity of a surface that gets Gaussians
DISC_SIGMA = 0.6  # of the spacing; wider than where an optimization closes the holes
WIDER = 0.3  # share by which discs are wider at twice the usual spacing and beyond
OPACITY = 0.97
NEIGHBORS = 25  # of a candidate, itself counted, whose distance measures the spacing: fewer vary by chance
NORMAL_REACH = 0.7  # of a usual spacing: by twice this the opposite sides of a sheet count as farther apart
AROUND = 16  # Gaussians whose normals are averaged
INWARDS = 1.2  # pixels that centers move away from the outline: there the stacked discs are half opaque
SHRINK, MOST_SHRINK = 1.5, 0.6  # share by which a disc shrinks per share of its weight beyond the outline
ROUNDS, PARTS = 2, 3  # rounds of shrinking, each in one of so many parts of the views
SMALLEST = 64  # pixels a side of the pictures
FEW = 4  # held-out views where no report is asked for


class Candidates(NamedTuple):
    """Points of the surface that pixels see, and the pictures that these make."""

    views: Views  # RGBA, one sample per pixel; alpha is the opacity of what the pixel meets
    points: Float64[np.ndarray, "n 3"]
    normals: Float64[np.ndarray, "n 3"]  # unit, towards the eye
    colors: Float[np.ndarray, "n 4"]  # straight sRGB and opacity
    pixels: Int[np.ndarray, " n"]  # index among the pixels of all views


def fit_instant(mesh: Mesh, options: FitOptions) -> Fit:
    """Return `options.count` Gaussians of a mesh without optimization. The same options and seed give the same bytes.

    PSNR and SSIM are of `options.held_out` views where a report is asked for, else of FEW views with at most 2 x 2
    samples per pixel: measuring the others takes longer than all the rest.
    """
    mesh = normalize_mesh(mesh)
    gaussians, views = instant_gaussians(mesh, options, np.random.default_rng(options.seed))
    side = options.budget.resolution
    count, supersample = options.held_out, options.supersample
    if options.report is None:
        count, supersample = min(count, FEW), min(supersample, 2)
    cameras = fibonacci_views(count, side, side, phase=0.5)
    held_out = render_mesh(mesh, cameras, supersample=supersample, shading=options.shading)
    return Fit(gaussians, views, *measure(gaussians, held_out), mesh=mesh)


def instant_gaussians(mesh: Mesh, options: FitOptions, rng: np.random.Generator) -> tuple[Gaussians, Views]:
    """Return exactly `options.count` Gaussians of a normalized mesh and the pictures that they are made from (numpy).

    They are meant for pictures of `options.budget.resolution` pixels a side, which the origin says; the pictures that
    are looked at have half of it, or all of it for a mesh that covers too few pixels. A mesh of which no view sees
    anything is a GatlasError.
    """
    _, count, resolution = options.budget
    side = max(resolution // 2, SMALLEST)
    found = _candidates(mesh, fibonacci_views(count, side, side), options)
    if len(found.points) < 2 * options.mesh_count:  # thin, or many Gaussians
        found = _candidates(mesh, fibonacci_views(count, 2 * side, 2 * side), options)
    if len(found.points) == 0:
        raise GatlasError("no point of the surface is seen from any camera: the mesh is fully transparent or too thin")
    chosen = _draw(found, POOL * options.mesh_count, rng)
    pixel = pixel_sizes(fibonacci_views(count, resolution, resolution))
    inwards = INWARDS * pixel[0]
    if options.max_offset is not None:
        inwards = min(inwards, options.max_offset - 1e-6)  # float32 rounds a position by less
    gaussians = _discs(found, chosen, options.mesh_count, inwards)
    gaussians = replace(gaussians, origin=replace(mesh.origin, pixel_sizes=pixel))
    return _within_outline(gaussians, found.views, resolution), found.views


def _candidates(mesh: Mesh, cameras: Cameras, options: FitOptions) -> Candidates:
    """The points that the pixels' centers meet, and behind translucent surfaces those that are seen through them."""
    first = mesh_hits(mesh, cameras)
    layers = [(first.faces >= 0, first.faces, first.barycentrics)]
    translucent = np.array([material.alpha_mode == "BLEND" for material in mesh.materials], dtype=bool)
    faces = np.flatnonzero(translucent[np.asarray(mesh.face_materials)])
    if len(faces):
        glass = mesh_hits(_solid(mesh, faces), cameras)
        hit_faces = np.where(glass.faces >= 0, faces[glass.faces], -1)
        in_front = (hit_faces >= 0) & (hit_faces != first.faces) & (glass.depths < first.depths)
        layers.append((in_front, hit_faces, glass.barycentrics))
    pixels = [np.flatnonzero(new) for new, _, _ in layers]
    hit = np.concatenate([hits.reshape(-1)[on] for on, (_, hits, _) in zip(pixels, layers, strict=True)])
    ab = np.concatenate([places.reshape(-1, 2)[on] for on, (_, _, places) in zip(pixels, layers, strict=True)])
    at, ab = np.concatenate(pixels), ab.astype(np.float64)
    barycentrics = np.concatenate([ab, 1 - ab.sum(axis=1, keepdims=True)], axis=1)
    colors = surface_colors(mesh, hit, barycentrics, options.shading)

    corners = np.asarray(mesh.vertices, dtype=np.float64)[np.asarray(mesh.faces)[hit]]
    points = np.einsum("nk,nki->ni", barycentrics, corners)
    normals = unit(face_normals(mesh))[hit]
    eyes = camera_centers(np.asarray(cameras.viewmats, dtype=np.float64))[at // (cameras.width * cameras.height)]
    normals[np.einsum("ni,ni->n", normals, eyes - points) < 0] *= -1

    images = np.zeros((len(cameras) * cameras.width * cameras.height, 4), dtype=np.float32)
    images[at] = colors  # the nearer layer comes last
    views = Views(images.reshape(len(cameras), cameras.height, cameras.width, 4), cameras)
    return Candidates(views, points, normals, colors, at)


def _solid(mesh: Mesh, faces: Int[np.ndarray, " k"]) -> Mesh:
    """Return some faces of a mesh, its translucent materials cut out where they are faint and solid elsewhere."""
    materials = tuple(
        replace(material, alpha_mode="MASK", alpha_cutoff=FAINTEST) if material.alpha_mode == "BLEND" else material
        for material in mesh.materials
    )
    face_materials = np.asarray(mesh.face_materials)[faces]
    return replace(mesh, faces=np.asarray(mesh.faces)[faces], face_materials=face_materials, materials=materials)


def _draw(found: Candidates, count: int, rng: np.random.Generator) -> Int[np.ndarray, " m"]:
    """Return at most `count` of the candidates in random order, more of them where the pictures have detail."""
    if len(found.points) <= count:
        return rng.permutation(len(found.points))
    squared = np.stack([_squared_laplacian(image) for image in found.views.images])
    detail = squared.reshape(-1)[found.pixels].astype(np.float64) ** (DETAIL_POWER / 2)
    weights = EVEN_SHARE + (1 - EVEN_SHARE) * detail / max(float(detail.mean()), 1e-12)
    return rng.choice(len(weights), count, replace=False, p=weights / weights.sum())


def _squared_laplacian(image: Float32[np.ndarray, "h w 4"]) -> Float32[np.ndarray, "h w"]:
    """The squared Laplacian of a picture over grey, blurred by binomials (a sigma of 0.7 pixels), summed over RGB."""
    values = image[..., :3] * image[..., 3:]
    values += 0.5 * (1 - image[..., 3:])
    values = np.pad(values, ((2, 2), (2, 2), (0, 0)), mode="edge")
    values = values[:-2] + 2 * values[1:-1] + values[2:]
    values = (values[:, :-2] + 2 * values[:, 1:-1] + values[:, 2:]) / 16
    laplacian = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:] - 4 * values[1:-1, 1:-1]
    return np.einsum("hwc,hwc->hw", laplacian, laplacian)


def _discs(found: Candidates, drawn: Int[np.ndarray, " m"], count: int, inwards: float) -> Gaussians:
    """Return `count` discs at some of the points that were drawn, moved inwards by at most `inwards` radii."""
    from scipy.spatial import KDTree

    points, normals, colors = found.points[drawn], found.normals[drawn], found.colors[drawn]
    apart = NORMAL_REACH * np.sqrt(4 * np.pi / count)  # of the spacing on the unit sphere
    places = np.concatenate([points, apart * normals], axis=1)
    neighbors = min(NEIGHBORS, len(points))
    reach = KDTree(places).query(places, k=[neighbors])[0][:, 0]
    reach = np.clip(reach, 1e-6, 8 * max(float(np.median(reach)), 1e-6))
    if len(points) < count:  # a sliver: its points are repeated
        chosen = np.sort(np.resize(np.arange(len(points)), count))
    else:
        chosen = choose_blue_noise(points, reach**-2.0, count)
    # A disc of radius `reach` holds the neighbors; of `count` points each has an area of spacing^2.
    spacing = reach[chosen] * np.sqrt(np.pi / neighbors * max(len(points) / count, 1.0))

    tree = KDTree(places[chosen])
    nearest = tree.query(places)[1]
    shares = np.maximum(np.bincount(nearest, minlength=count), 1)
    means = np.stack([np.bincount(nearest, colors[:, channel], count) for channel in range(4)], axis=1)
    rgba = means / shares[:, None]  # of the points around: of one alone a fine pattern would stay as noise
    rgba = np.where((np.bincount(nearest, minlength=count) > 0)[:, None], rgba, colors[chosen])
    offsets = _inwards(points[chosen], normals[chosen], inwards)
    sparse = np.clip(spacing / np.median(spacing) - 1, 0.0, 1.0)  # plain parts: wider discs close the gaps of chance
    scales = (spacing * (1 + WIDER * sparse))[:, None] * np.array([DISC_SIGMA, DISC_SIGMA, THICKNESS_SIGMA])
    return Gaussians(
        means=(points[chosen] - offsets).astype(np.float32),
        quats=quats_from_normals(normals[chosen]).astype(np.float32),
        scales=np.clip(scales, *np.exp(LOG_SCALE_RANGE)).astype(np.float32),
        opacities=(OPACITY * np.clip(rgba[:, 3], FAINTEST, 1.0)).astype(np.float32),
        sh=rgb_to_dc(np.clip(rgba[:, None, :3], 0.0, 1.0)).astype(np.float32),
    )


def _inwards(
    points: Float64[np.ndarray, "n 3"], normals: Float64[np.ndarray, "n 3"], length: float
) -> Float64[np.ndarray, "n 3"]:
    """Return the offsets, at most `length` long, by which centers are moved against the normals around them.

    Their mean is shorter where the surface bends. Towards an opposite side it is at most a third of the way there, so
    that the sides of a thin plate do not change places and a sheet that is seen from both sides stays.
    """
    from scipy.spatial import KDTree

    around = KDTree(points).query(points, k=min(AROUND, len(points)))[1].reshape(len(points), -1)
    offsets = length * normals[around].mean(axis=1)
    opposite = np.einsum("ni,nki->nk", normals, normals[around]) < -0.5
    depths = np.einsum("ni,nki->nk", normals, points[:, None] - points[around])
    room = np.where(opposite, np.maximum(depths, 0.0), np.inf).min(axis=1) / 3
    lengths = np.linalg.norm(offsets, axis=1)
    return offsets * np.minimum(1.0, room / np.maximum(lengths, 1e-12))[:, None]


def _within_outline(gaussians: Gaussians, views: Views, resolution: int) -> Gaussians:
    """Return the Gaussians smaller by the share of their blended weight that lies beyond the mesh's outline."""
    blur = EPS2D * (views.cameras.width / resolution) ** 2  # what it is in a picture of that resolution
    for first in range(min(ROUNDS, len(views))):
        some = views[first::PARTS]
        covered = np.ones((*some.images.shape[:3], 3), dtype=np.float32)
        covered[..., 0] = some.images[..., 3] == 0
        outside, weight, _ = gather(gaussians, some.cameras, covered, eps2d=blur).T
        share = outside / np.maximum(weight, 1e-3)
        smaller = 1 - np.clip(SHRINK * share, 0.0, MOST_SHRINK)
        scales = np.clip(gaussians.scales * smaller[:, None], *np.exp(LOG_SCALE_RANGE))
        gaussians = replace(gaussians, scales=scales.astype(np.float32))
    return gaussians
