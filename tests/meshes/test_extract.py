"""Splats to closed surfaces: of known shapes, in their own units, the same by any number of threads."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import look_at
from gatlas.meshes import fusion
from gatlas.meshes.depth_maps import map_points
from gatlas.meshes.extract import extract_surface
from gatlas.meshes.fusion import FREE_DISTANCE, FREE_WEIGHT, OFFSET, THICKNESS, fuse
from gatlas.meshes.fusion_kernels import BEHIND, IN_FRONT
from gatlas.meshes.fusion_reference import fused_reference
from gatlas.meshes.meshing import count_steps, mesh
from gatlas.meshes.object_frame import enter_frame, find_frame, views_around
from gatlas.meshes.options import MeshOptions
from gatlas.meshes.splat_views import see_splat
from gatlas.meshes.watertight import is_watertight
from gatlas.raster.threads import set_num_threads
from gatlas.types import Gaussians, Origin
from tests.helpers.discs import RADIUS, ball, discs, plate

pytest.importorskip("skimage", reason="needs the extra mesh")
SMALL = MeshOptions(views=24, resolution=96, grid=40, triangles=800)


def volume(surface):
    corners = surface.vertices.astype(np.float64)[surface.triangles]
    return float(np.einsum("ti,ti->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


@pytest.fixture(scope="module")
def ball_surface():
    return extract_surface(ball(), SMALL)


def test_a_ball_of_discs_gives_a_closed_ball_wound_outward(ball_surface):
    assert is_watertight(ball_surface.triangles)
    assert len(ball_surface.triangles) <= SMALL.triangles
    lengths = np.linalg.norm(ball_surface.vertices, axis=1)
    assert abs(lengths - RADIUS).max() < 0.03  # a voxel is 0.035
    assert volume(ball_surface) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.06)


def test_the_surface_is_in_the_units_and_the_place_of_the_splat(ball_surface):
    scene = ball()
    moved = replace(scene, means=scene.means * 200 + np.float32([5000, -300, 20]), scales=scene.scales * 200)
    found = extract_surface(moved, SMALL)
    low, high = found.vertices.min(axis=0), found.vertices.max(axis=0)
    np.testing.assert_allclose((low + high) / 2, [5000, -300, 20], atol=4)
    np.testing.assert_allclose(high - low, 2 * RADIUS * 200, rtol=0.05)


def test_floaters_that_cannot_be_seen_change_nothing_to_the_bounds(ball_surface):
    scene, rng = ball(), np.random.default_rng(0)
    dust = discs(rng.normal(size=(2000, 3)) * 30, np.tile([0.0, 0.0, 1.0], (2000, 1)), 0.5, opacity=0.0)
    fields = ("means", "quats", "scales", "opacities", "sh")
    both = Gaussians(**{name: np.concatenate([getattr(scene, name), getattr(dust, name)]) for name in fields})
    found = extract_surface(both, SMALL)
    np.testing.assert_allclose(found.vertices.max(axis=0), ball_surface.vertices.max(axis=0), atol=0.03)


def test_a_plate_without_thickness_keeps_both_sides():
    found = extract_surface(plate(), SMALL)
    assert is_watertight(found.triangles)
    low, high = found.vertices.min(axis=0), found.vertices.max(axis=0)
    np.testing.assert_allclose((high - low)[:2], 1.2, atol=0.12)
    assert 0 < (high - low)[2] < 0.12
    assert volume(found) > 0.5 * 1.2 * 1.2 * 0.035  # no holes


def test_one_gaussian_is_a_closed_surface():
    one = Gaussians(
        *(np.float32(each) for each in ([[3, 4, 5]], [[1, 0, 0, 0]], [[0.2, 0.3, 0.4]], [0.95], [[[0, 0, 0]]]))
    )
    found = extract_surface(one, SMALL)
    assert is_watertight(found.triangles)
    assert volume(found) > 0


@pytest.mark.parametrize("opacity", [0.0, 0.001])
def test_a_transparent_splat_is_one_line(opacity):
    scene = replace(ball(100), opacities=np.full(100, opacity, dtype=np.float32))
    with pytest.raises(GatlasError, match="no surface to mesh"):
        extract_surface(scene, SMALL)


def test_a_faint_splat_that_is_nowhere_half_covered_is_one_line():
    scene = replace(ball(40), opacities=np.full(40, 0.1, dtype=np.float32))
    with pytest.raises(GatlasError, match="nowhere half covered in any of 24 views"):
        extract_surface(scene, SMALL)


def test_any_number_of_threads_gives_the_same_bytes(ball_surface):
    try:
        for count in (1, 3):
            set_num_threads(count)
            found = extract_surface(ball(), SMALL)
            assert found.vertices.tobytes() == ball_surface.vertices.tobytes()
            assert found.triangles.tobytes() == ball_surface.triangles.tobytes()
    finally:
        set_num_threads(None)


@pytest.mark.parametrize("two_sheets", [True, False])
@pytest.mark.parametrize("scene", [ball, plate])
def test_the_fusion_kernel_agrees_with_plain_numpy(scene, two_sheets):
    scene = scene()
    frame = find_frame(scene)
    inside = enter_frame(scene, frame)
    cameras, eps2d = views_around(inside, 10, 48)
    maps = see_splat(inside, cameras, eps2d).maps
    grid = fuse(maps, 24, two_sheets=two_sheets)
    cells = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(1, 64, 3)
    points = grid.corner + grid.voxel * (grid.blocks[:, None] * 4 + cells + 0.5)
    thickness, front, behind, free = (each * grid.voxel for each in (THICKNESS, IN_FRONT, BEHIND, FREE_DISTANCE))
    settings = (OFFSET, thickness, front, behind, FREE_WEIGHT, free, two_sheets)
    expected = fused_reference(points.reshape(-1, 3), maps, *settings)
    difference = np.abs(grid.values.reshape(-1) - expected)
    assert (difference > 1e-6).mean() < 1e-3  # of two views that see a point equally well, rounding chooses one


@pytest.mark.parametrize(("most", "cells"), [(10**6, 40), (10, 24)])
def test_a_surface_of_many_blocks_gets_fewer_cells(monkeypatch, most, cells):
    monkeypatch.setattr(fusion, "CELLS", 40)
    monkeypatch.setattr(fusion, "FEWER_CELLS", 24)
    monkeypatch.setattr(fusion, "MOST_BLOCKS", most)
    inside = enter_frame(ball(), find_frame(ball()))
    maps = see_splat(inside, *views_around(inside, 10, 48)).maps
    chosen, expected = fuse(maps, None), fuse(maps, cells)
    assert chosen.voxel == pytest.approx(2 / cells)
    np.testing.assert_array_equal(chosen.values, expected.values)


def test_the_points_of_depth_maps_lie_on_the_surface():
    scene = enter_frame(ball(), find_frame(ball()))
    cameras, eps2d = views_around(scene, 8, 64)
    maps = see_splat(scene, cameras, eps2d).maps
    lengths = np.linalg.norm(map_points(maps, 3), axis=1)
    assert np.median(np.abs(lengths / np.median(lengths) - 1)) < 0.01


def test_a_ray_meets_the_plane_of_a_flat_gaussian():
    tilted = discs(np.array([[0.1, 0.0, 0.0]]), np.array([[0.6, 0.0, 0.8]]), 0.3, opacity=0.95)
    cameras = replace(views_around(tilted, 8, 64)[0][:1], viewmats=look_at(np.array([[0.0, 0.0, 2.6]])))
    maps = see_splat(tilted, cameras, None).maps
    points = map_points(maps, 0)
    assert len(points) > 20
    np.testing.assert_allclose((points - [0.1, 0, 0]) @ [0.6, 0.0, 0.8], 0.0, atol=1e-2)  # within its thickness
    normals = maps.normals[0][maps.normals[0, :, :, 3] == 1][:, :3] / 127
    np.testing.assert_allclose(normals.mean(axis=0), [0.6, 0.0, 0.8], atol=0.03)


def test_a_hollow_ball_with_an_opening_is_filled_where_asked():
    scene = ball()
    up = np.array([0.0, 1.0, 0.0])
    hollow = scene[np.flatnonzero(scene.means @ up < RADIUS * np.cos(0.4))]
    solid = 4 / 3 * np.pi * RADIUS**3
    options = replace(SMALL, views=96)
    assert volume(extract_surface(hollow, options)) < 0.4 * solid
    assert volume(extract_surface(hollow, replace(options, fill_holes=True))) == pytest.approx(solid, rel=0.1)


def test_what_leaves_the_grid_is_cut_and_closed():
    scene = ball()
    spike = discs(np.linspace([0, 0, 0], [3.0, 0, 0], 60), np.tile([0.0, 1.0, 0.0], (60, 1)), 0.06)
    fields = ("means", "quats", "scales", "opacities", "sh")
    both = [np.concatenate([getattr(scene, name), getattr(spike, name)]) for name in fields]
    inside = Gaussians(*both, origin=Origin(normalized=True))
    found = extract_surface(inside, SMALL)
    assert is_watertight(found.triangles)


def test_spherical_harmonics_change_nothing_to_the_surface(ball_surface):
    scene = ball()
    sh = np.random.default_rng(0).normal(size=(len(scene), 16, 3)).astype(np.float32)
    found = extract_surface(replace(scene, sh=sh), SMALL)
    assert found.vertices.tobytes() == ball_surface.vertices.tobytes()


def test_a_half_transparent_ball_is_closed_where_layers_add_up():
    found = extract_surface(replace(ball(3000), opacities=np.full(3000, 0.3, dtype=np.float32)), SMALL)
    assert is_watertight(found.triangles)
    assert np.linalg.norm(found.vertices, axis=1).max() < RADIUS + 0.05


def test_a_scene_of_a_floor_and_a_far_sky_is_closed():
    floor, rng = plate(), np.random.default_rng(0)
    sky = rng.normal(size=(20, 3))
    sky *= 300 / np.linalg.norm(sky, axis=1, keepdims=True)
    far = discs(sky, np.tile([0.0, 0.0, 1.0], (20, 1)), 5.0)
    fields = ("means", "quats", "scales", "opacities", "sh")
    scene = Gaussians(*(np.concatenate([getattr(floor, name), getattr(far, name)]) for name in fields))
    found = extract_surface(scene, replace(SMALL, views=48))
    assert is_watertight(found.triangles)
    assert volume(found) > 0


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(12))
def test_any_cloud_is_a_closed_surface_or_one_line(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 2, 7, 60, 400]))
    scales = np.exp(rng.normal(-2.5, rng.uniform(0.1, 2.5), (count, 3))) * 10 ** rng.uniform(-3, 3)
    arrays = {
        "means": rng.normal(size=(count, 3)) * rng.choice([0.0, 1e-3, 1.0, 1e4], size=3),
        "quats": rng.normal(size=(count, 4)),
        "scales": scales,
        "opacities": rng.uniform(0, 1, count) ** rng.choice([0.2, 1, 4]),
        "sh": rng.normal(size=(count, 1, 3)),
    }
    scene = Gaussians(**{name: array.astype(np.float32) for name, array in arrays.items()})
    found, message = None, ""
    try:
        found = extract_surface(scene, replace(SMALL, views=12, resolution=48, grid=24))
    except GatlasError as error:
        message = str(error)
    assert "\n" not in message
    if found is not None:
        assert is_watertight(found.triangles)
        assert np.isfinite(found.vertices).all()
        assert volume(found) > 0


@pytest.mark.parametrize(("module", "package"), [("skimage.measure", "scikit-image"), ("fast_simplification", "fast-")])
def test_a_library_that_is_missing_is_one_line_that_names_the_extra(module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(GatlasError, match=rf"meshes need {package}.*: pip install 'gatlas\[mesh\]'"):
        extract_surface(ball(), SMALL)


def test_the_steps_that_are_announced_are_taken():
    options = replace(SMALL, texture=0)
    taken = []
    mesh(ball(), options, on_step=lambda: taken.append(1))
    assert len(taken) == count_steps(options)
