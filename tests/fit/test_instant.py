"""Gaussians of a mesh without optimization."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.fit import FitOptions, fit
from gatlas.fit.fitting import check_fit
from gatlas.fit.instant import instant_gaussians
from gatlas.fit.mesh import measure
from gatlas.fit.start import surface_gaussians
from gatlas.geometry.cameras import fibonacci_views
from gatlas.geometry.sh import dc_to_rgb
from gatlas.meshes.closest import closest_points
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import render_mesh
from gatlas.raster import rasterize, visibility
from gatlas.raster.gathering import gather
from gatlas.types import Gaussians, Material, Mesh
from tests.fit.test_fit import textured_box

TINY = FitOptions(count=600, profile="instant", views=8, resolution=128, held_out=2, shading="unlit")


@pytest.fixture(scope="module")
def fitted():
    return fit(textured_box(), TINY)


def triangles(vertices, faces, colors, **material):
    """A mesh of one material with linear vertex colors, opaque where they have three channels."""
    colors = np.asarray(colors, dtype=np.float32)
    if colors.shape[1] == 3:
        colors = np.column_stack([colors, np.ones(len(colors))])
    return Mesh(
        vertices=np.asarray(vertices, dtype=np.float64),
        faces=np.asarray(faces),
        face_materials=np.zeros(len(faces), dtype=int),
        uvs=np.zeros((len(vertices), 2)),
        colors=colors,
        materials=(Material(**material),),
    )


def square(z, half, color):
    corners = [[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]]
    return corners, [[0, 1, 2], [0, 2, 3]], [color] * 4


def joined(*parts, **material):
    vertices, faces, colors = [], [], []
    for corners, triangles_, values in parts:
        faces += (np.asarray(triangles_) + len(vertices)).tolist()
        vertices += corners
        colors += values
    return triangles(vertices, faces, colors, **material)


def test_the_count_is_exact_and_the_seed_gives_the_same_bytes(fitted):
    again = fit(textured_box(), TINY)
    other = fit(textured_box(), replace(TINY, seed=1))
    assert len(fitted.gaussians) == 600
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert getattr(again.gaussians, name).tobytes() == getattr(fitted.gaussians, name).tobytes()
    assert other.gaussians.means.tobytes() != fitted.gaussians.means.tobytes()


def test_it_is_closer_to_the_mesh_than_the_start_of_a_fit():
    mesh = normalize_mesh(textured_box())
    cameras = fibonacci_views(8, 128, 128)
    start = surface_gaussians(mesh, render_mesh(mesh, cameras), 600, np.random.default_rng(0), "unlit")
    held_out = render_mesh(mesh, fibonacci_views(3, 128, 128, phase=0.5))
    instant, _ = instant_gaussians(mesh, TINY, np.random.default_rng(0))
    assert measure(instant, held_out)[0] > measure(start, held_out)[0] + 1.0


def test_the_origin_holds_the_pixels_of_the_resolution(fitted):
    smallest, largest = fitted.gaussians.origin.pixel_sizes
    pixel = 2.6 * np.tan(np.radians(23.5)) / 64  # distance over focal length of a view of 128 pixels
    assert [smallest, largest] == pytest.approx([pixel, pixel], rel=1e-5)


def test_the_centers_lie_inside_within_the_bound():
    mesh = normalize_mesh(textured_box())
    half = np.array([1.0, 0.6, 0.8]) / mesh.origin.scale
    free, _ = instant_gaussians(mesh, TINY, np.random.default_rng(0))
    assert (np.abs(free.means) < half + 1e-6).all()
    assert closest_points(mesh, free.means).distances.max() > 0.004
    bound, _ = instant_gaussians(mesh, replace(TINY, max_offset=0.004), np.random.default_rng(0))
    assert closest_points(mesh, bound.means).distances.max() <= 0.004


def test_a_surface_that_no_view_sees_gets_no_gaussian():
    mesh = textured_box()
    inner = textured_box(half=(0.98, 0.58, 0.78))  # 1/50 behind the outer one
    both = replace(
        mesh,
        vertices=np.concatenate([mesh.vertices, inner.vertices]),
        faces=np.concatenate([mesh.faces, inner.faces + len(mesh.vertices)]),
        face_materials=np.zeros(24, dtype=np.int32),
        uvs=np.concatenate([mesh.uvs, inner.uvs]),
        colors=np.concatenate([mesh.colors, np.full((24, 4), [0, 1, 0, 1], dtype=np.float32)]),
    )
    found, _ = instant_gaussians(normalize_mesh(both), TINY, np.random.default_rng(0))
    rgb = dc_to_rgb(found.sh[:, 0])
    assert not ((rgb[:, 1] > rgb[:, 0] + 0.1) & (rgb[:, 1] > rgb[:, 2] + 0.1)).any()  # green times texture


def test_a_single_sheet_stays_where_it_is_and_shows_from_both_sides():
    sheet = triangles(*square(0.0, 1.0, [0.2, 0.5, 0.1]))
    found, _ = instant_gaussians(normalize_mesh(sheet), TINY, np.random.default_rng(0))
    assert (np.abs(found.means[:, 2]) < 1e-6).mean() > 0.9  # in a closed body, 0.02
    alphas = rasterize(found, fibonacci_views(2, 64, 64)).alphas
    expected = render_mesh(normalize_mesh(sheet), fibonacci_views(2, 64, 64)).images[..., 3]
    assert alphas.sum() == pytest.approx(expected.sum(), rel=0.1)


def test_the_two_sides_of_a_thin_plate_keep_their_colors():
    plate = joined(square(0.01, 1.0, [1.0, 0.0, 0.0]), square(-0.01, 1.0, [0.0, 0.0, 1.0]))
    found, _ = instant_gaussians(normalize_mesh(plate), TINY, np.random.default_rng(0))
    rgb = dc_to_rgb(found.sh[:, 0])
    mixed = np.minimum(rgb[:, 0], rgb[:, 2]) > 0.01
    assert mixed.mean() < 0.2
    assert ((rgb[:, 0] > 0.5) == (found.means[:, 2] > 0))[~mixed].mean() > 0.95


def test_what_is_seen_through_glass_and_the_glass_get_gaussians():
    glass = (*square(0.3, 1.0, [0.0, 0.0, 1.0, 0.3])[:2], [[0.0, 0.0, 1.0, 0.3]] * 4)
    wall = (*square(-0.3, 1.0, [1.0, 0.0, 0.0, 1.0])[:2], [[1.0, 0.0, 0.0, 1.0]] * 4)
    found, _ = instant_gaussians(
        normalize_mesh(joined(glass, wall, alpha_mode="BLEND")), TINY, np.random.default_rng(0)
    )
    blue = dc_to_rgb(found.sh[:, 0])[:, 2] > 0.5
    assert 0.2 < blue.mean() < 0.8
    assert found.opacities[blue] == pytest.approx(0.97 * 0.3, abs=0.01)
    assert found.opacities[~blue] == pytest.approx(0.97, abs=0.01)


def test_a_needle_gets_the_count_too():
    needle = triangles([[0, -1, 0], [0.03, 1, 0], [0, 1, 0.03]], [[0, 1, 2]], [[1, 0, 0]] * 3)
    options = replace(TINY, count=3000)
    found, _ = instant_gaussians(normalize_mesh(needle), options, np.random.default_rng(0))
    assert len(found) == 3000
    assert np.isfinite(found.scales).all()
    assert np.isfinite(found.means).all()


def test_a_mesh_that_is_fully_transparent_is_refused():
    ghost = triangles(*square(0.0, 1.0, [1.0, 1.0, 1.0]), alpha_mode="BLEND", factor=(1.0, 1.0, 1.0, 0.0))
    with pytest.raises(GatlasError, match="fully transparent"):
        instant_gaussians(normalize_mesh(ghost), TINY, np.random.default_rng(0))


def test_with_a_report_all_held_out_views_are_measured():
    options = replace(TINY, held_out=6)
    few, all_of_them = fit(textured_box(), options), fit(textured_box(), replace(options, report="r.json"))
    assert few.gaussians.means.tobytes() == all_of_them.gaussians.means.tobytes()
    held_out = render_mesh(all_of_them.mesh, fibonacci_views(6, 128, 128, phase=0.5), supersample=4, shading="unlit")
    assert all_of_them.psnr == pytest.approx(measure(few.gaussians, held_out)[0])
    assert few.psnr != all_of_them.psnr


@pytest.mark.parametrize(
    ("given", "photos", "message"),
    [
        ({"iterations": 5}, False, "--iterations"),
        ({"resume": "x.npz"}, False, "--resume"),
        ({"preview": "x.png"}, False, "--preview"),
        ({"model": "scaffold"}, False, "--model scaffold"),
        ({"init": "x.ply"}, False, "--init x.ply"),
        ({"init": "even"}, False, "--init even"),
        ({"device": "cuda"}, False, "--device cuda"),
        ({"lambda_lpips": 0.0}, False, "--lambda-lpips"),
        ({"antialiased": True}, False, "--antialiased"),
        ({}, True, "is for meshes"),
    ],
)
def test_options_of_an_optimization_are_refused(given, photos, message):
    with pytest.raises(GatlasError, match=f"--profile instant.*{message}"):
        check_fit(FitOptions(profile="instant", **given), photos=photos)


def test_torch_is_never_imported(tmp_path):
    code = f"""
import sys
from gatlas.cli.fit import run
from gatlas.fit import FitOptions
options = FitOptions(count=100, profile="instant", views=4, resolution=64)
run("examples/rocket.glb", {str(tmp_path / "x.ply")!r}, options, force=False)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_gathered_ones_are_the_visibility_and_a_picture_its_share():
    rng = np.random.default_rng(3)
    gaussians = Gaussians(
        means=rng.uniform(-0.5, 0.5, (30, 3)).astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (30, 1)),
        scales=np.full((30, 3), 0.1, dtype=np.float32),
        opacities=np.full(30, 0.6, dtype=np.float32),
        sh=np.zeros((30, 1, 3), dtype=np.float32),
    )
    cameras = fibonacci_views(3, 32, 32)
    images = np.ones((3, 32, 32, 3), dtype=np.float32)
    images[..., 1] = rng.random((3, 32, 32))
    ones, weighted, _ = gather(gaussians, cameras, images).T
    np.testing.assert_allclose(ones, visibility(gaussians, cameras).sum(axis=0), rtol=1e-4)
    # The transpose of blending: <picture, blended> = <gathered, colors>, of any colors.
    colored = replace(gaussians, sh=rng.uniform(-0.5, 0.5, (30, 1, 3)).astype(np.float32))
    blended = rasterize(colored, cameras).colors[..., 1]
    expected = (weighted * dc_to_rgb(colored.sh[:, 0, 1])).sum()
    assert (images[..., 1] * blended).sum() == pytest.approx(expected, rel=1e-4)
