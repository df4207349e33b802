"""Fidelity of splats and meshes: perfect where nothing differs, worse the more is wrong."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.fit.quality import picture_quality
from gatlas.fit.start import surface_gaussians
from gatlas.geometry.cameras import fibonacci_views
from gatlas.geometry.frames import scaled_views
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.raster import rasterize, straight_rgba
from gatlas.score.fidelity import MOST_PSNR, score_fidelity
from gatlas.score.options import FidelityOptions
from gatlas.types import Gaussians, Views
from tests.helpers.meshes import textured_tetrahedron

OPTIONS = FidelityOptions(reference="x", views=4, resolution=64, points=2000)
HIGH = ("psnr", "ssim", "iou", "f_score")
LOW = ("depth_error", "chamfer")


@cache
def splat_of_the_tetrahedron():
    """Gaussians on its surface, in its unit ball."""
    mesh = normalize_mesh(textured_tetrahedron())
    views = render_mesh(mesh, fibonacci_views(8, 64, 64))
    return surface_gaussians(mesh, views, 2000, np.random.default_rng(0), "auto")


def figures(subject, reference=None, **changes):
    reference = textured_tetrahedron() if reference is None else reference
    return score_fidelity(subject, reference, replace(OPTIONS, **changes)).figures()


def joined(one, other):
    arrays = {
        name: np.concatenate([getattr(one, name), getattr(other, name)])
        for name in ("means", "quats", "scales", "opacities", "sh")
    }
    return Gaussians(**arrays, origin=one.origin)


def test_a_mesh_is_perfect_against_itself():
    found = figures(textured_tetrahedron())
    assert found["psnr"] == MOST_PSNR
    for name in ("ssim", "iou", "precision", "recall", "f_score", "normal_consistency"):
        assert found[name] == pytest.approx(1, abs=1e-9), name
    for name in ("depth_error", "depth_error_common", "chamfer"):
        assert found[name] == 0, name


def test_a_mesh_in_other_units_and_place_is_the_same_only_as_its_reference_is():
    mesh = textured_tetrahedron()
    moved = replace(mesh, vertices=mesh.vertices * 20 + 3)
    assert figures(moved, moved)["f_score"] == pytest.approx(1)
    assert figures(moved, mesh)["iou"] < 0.5


def test_a_splat_against_its_own_views_is_perfect():
    splat = splat_of_the_tetrahedron()
    cameras = fibonacci_views(3, 48, 48)
    views = Views(straight_rgba(rasterize(splat, cameras)), cameras)
    found = figures(replace(splat, origin=replace(splat.origin, center=(0.0, 0.0, 0.0), scale=1.0)), views)
    assert found["psnr"] > 90
    assert found["iou"] == 1
    assert found["chamfer"] is found["depth_error"] is None


def test_pictures_agree_with_what_fit_and_prune_report():
    splat, mesh = splat_of_the_tetrahedron(), textured_tetrahedron()
    psnr, ssim = picture_quality(splat, mesh, views=4, resolution=64)
    found = figures(splat)
    assert found["psnr"] == psnr
    assert found["ssim"] == ssim


def test_the_surface_of_a_splat_lies_on_its_mesh():
    found = figures(splat_of_the_tetrahedron(), resolution=128)
    assert found["chamfer"] < 0.02
    assert found["normal_consistency"] > 0.8
    assert found["depth_error_common"] < 0.03


def noisy(splat, amount):
    noise = np.random.default_rng(0).normal(size=splat.means.shape)
    return replace(splat, means=(splat.means + amount * noise).astype(np.float32))


def blurred(splat, amount):
    return replace(splat, scales=splat.scales + np.float32(amount))


def with_floaters(splat, amount):
    rng = np.random.default_rng(1)
    stray = splat[: round(300 * amount)]
    places = rng.normal(size=stray.means.shape)
    places *= 0.95 / np.linalg.norm(places, axis=1, keepdims=True)
    large = replace(stray, means=places.astype(np.float32), scales=np.full_like(stray.scales, 0.04))
    return joined(splat, replace(large, opacities=np.ones_like(large.opacities)))


def without_part(splat, amount):
    return splat[splat.means[:, 1] <= np.quantile(splat.means[:, 1], 1 - amount)]


@pytest.mark.parametrize(
    ("spoil", "amounts"),
    [
        (noisy, (0.0, 0.05, 0.1, 0.2)),
        (blurred, (0.0, 0.02, 0.05, 0.1)),
        (with_floaters, (0.0, 0.05, 0.2, 1.0)),
        (without_part, (0.0, 0.2, 0.4, 0.6)),
    ],
)
def test_every_figure_falls_the_more_is_wrong(spoil, amounts):
    found = [figures(spoil(splat_of_the_tetrahedron(), amount)) for amount in amounts]
    for name in HIGH:
        assert (np.diff([each[name] for each in found]) < 0).all(), (name, [each[name] for each in found])
    for name in LOW:
        assert (np.diff([each[name] for each in found]) > 0).all(), (name, [each[name] for each in found])


def test_opaque_photos_have_no_silhouette():
    splat = splat_of_the_tetrahedron()
    cameras = fibonacci_views(2, 32, 32)
    opaque = Views(np.full((2, 32, 32, 3), 0.5, dtype=np.float32), cameras)
    assert figures(splat, opaque)["iou"] is None


def test_held_out_takes_the_photos_that_fit_leaves_out():
    splat = splat_of_the_tetrahedron()
    views = Views(np.random.default_rng(0).random((12, 32, 32, 3)).astype(np.float32), fibonacci_views(12, 32, 32))
    every = score_fidelity(splat, views, OPTIONS).views
    held_out = score_fidelity(splat, views, replace(OPTIONS, held_out=True)).views
    assert len(every) == 12
    assert held_out == (every[3], every[11])


def test_a_mesh_without_an_area_is_one_line():
    mesh = textured_tetrahedron()
    line = replace(mesh, vertices=mesh.vertices * [1, 0, 0])
    with pytest.raises(GatlasError, match="no triangles with an area"):
        figures(line)


@pytest.mark.parametrize("units", ["own", "ball"])
def test_cameras_in_own_units_and_in_those_of_the_unit_ball_are_told_apart(units):
    splat = splat_of_the_tetrahedron()
    splat = replace(splat, origin=replace(splat.origin, center=(0.5, -2.0, 1.0), scale=3.0, normalized=True))
    cameras = fibonacci_views(5, 48, 48)
    images = straight_rgba(rasterize(splat, cameras))
    if units == "own":
        cameras = replace(cameras, viewmats=scaled_views(cameras.viewmats, (0.5, -2.0, 1.0), 3.0).astype(np.float32))
    said = []
    found = score_fidelity(splat, Views(images, cameras), OPTIONS, report=said.append)
    assert found.units == units
    assert found.figures()["psnr"] > 50
    assert "--units" in said[0]
    other = {"own": "ball", "ball": "own"}[units]
    assert score_fidelity(splat, Views(images, cameras), replace(OPTIONS, units=other)).figures()["psnr"] < 30
