"""Outlines of a surface against those of a splat: the kernel against scipy, and balls of the wrong size."""

import numpy as np
import pytest
import trimesh
from scipy.ndimage import map_coordinates

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import fibonacci_views
from gatlas.meshes.depth_maps import pinholes
from gatlas.meshes.outline_kernels import measure_outlines
from gatlas.meshes.outlines import fit_outlines, uncolored
from gatlas.meshes.render import mesh_hits, render_mesh
from gatlas.meshes.splat_views import see_splat
from tests.helpers.discs import RADIUS, ball

CAMERAS = fibonacci_views(16, 96, 96)


@pytest.fixture(scope="module")
def views():
    return see_splat(ball(), CAMERAS)


def test_more_pixels_than_memory_holds_are_one_line():
    many = fibonacci_views(2000, 4096 * 4096, 4096)
    with pytest.raises(GatlasError, match=r"2,000 views of \d+ x 4096 pixels need .* GB of memory, more than this"):
        see_splat(ball(), many)


def covered_share(alphas):
    return float(np.mean(np.asarray(alphas) > 0.5))


@pytest.mark.parametrize("radius", [0.7, 0.76])  # the outlines have 0.727
def test_a_ball_of_the_wrong_size_gets_that_of_the_outlines_in_other_views(views, radius):
    sphere = trimesh.creation.icosphere(3, radius=radius)
    triangles = np.asarray(sphere.faces, dtype=np.int64)
    moved = fit_outlines(np.asarray(sphere.vertices), triangles, views, rounds=3)
    others = fibonacci_views(8, 96, 96, phase=0.3)
    splat = see_splat(ball(), others).pictures[..., 3] / 255
    wrong, right = (
        covered_share(render_mesh(uncolored(each, triangles), others).images[..., 3])
        for each in (np.asarray(sphere.vertices), moved)
    )
    assert abs(wrong / covered_share(splat) - 1) > 0.03
    assert abs(right / covered_share(splat) - 1) < 0.01
    assert np.ptp(np.linalg.norm(moved, axis=1)) < 0.02  # still a ball


def test_a_part_whose_outline_is_far_from_any_of_the_splat_stays(views):
    far = trimesh.creation.icosphere(2, radius=0.1)
    vertices, triangles = np.asarray(far.vertices), np.asarray(far.faces, dtype=np.int64)
    np.testing.assert_array_equal(fit_outlines(vertices, triangles, views), vertices)


def test_pictures_without_an_outline_move_nothing(views):
    opaque = views._replace(pictures=np.full_like(views.pictures, 255))
    sphere = trimesh.creation.icosphere(2, radius=RADIUS)
    vertices = np.asarray(sphere.vertices)
    np.testing.assert_array_equal(fit_outlines(vertices, np.asarray(sphere.faces, dtype=np.int64), opaque), vertices)


def test_the_kernel_measures_the_distances_that_scipy_does():
    """Of a picture that falls off smoothly, along the normals of a ball that is a little smaller."""
    cameras = fibonacci_views(1, 64, 64)
    sphere = trimesh.creation.icosphere(3, radius=0.6)
    hits = mesh_hits(uncolored(np.asarray(sphere.vertices), np.asarray(sphere.faces)), cameras)
    covered = hits.faces >= 0
    rows, columns = np.mgrid[:64, :64] + 0.5
    from_middle = np.hypot(rows - 32, columns - 32)
    outline = np.sqrt(covered.sum() / np.pi) + 1.3
    alphas = np.clip(255 * (0.5 + 0.2 * (outline - from_middle)), 0, 255).astype(np.uint8)[None]
    pixels = np.argwhere(covered & ~np.roll(covered, 1, axis=2))
    held = pinholes(cameras)
    rotation, shift = held.views[0, :, :3], held.views[0, :, 3]
    fx, fy, cx, cy = held.focals[0]
    z = hits.depths[tuple(pixels.T)].astype(np.float64)
    local = np.stack([(pixels[:, 2] + 0.5 - cx) / fx * z, (pixels[:, 1] + 0.5 - cy) / fy * z, z], axis=1)
    normals = (local - shift) @ rotation / 0.6
    distances, weights = np.empty(len(pixels)), np.empty(len(pixels))
    arrays = (pixels, normals, *held, covered, hits.depths, alphas, 0.1, distances, weights)
    measure_outlines(0, len(pixels), *arrays)

    def along(n, picture, level, low, high):
        """The crossing nearest to 0 on a fine line of samples, and the pixels per unit of length."""
        point = local[n] + np.outer(np.linspace(0, 1e-6, 2), rotation @ normals[n])
        u, v = (np.array([fx, fy])[:, None] * point[:, :2].T / point[:, 2]) + np.array([cx, cy])[:, None]
        step = np.array([np.diff(u)[0], np.diff(v)[0]]) / 1e-6
        t = np.arange(low, high, 0.01)
        du, dv = step / np.linalg.norm(step)
        at = [pixels[n, 1] + low * 0 + t * dv, pixels[n, 2] + t * du]
        values = map_coordinates(picture.astype(np.float64), at, order=1)
        falls = t[1:][(values[:-1] > level) & (values[1:] <= level)]
        return falls[np.abs(falls).argmin()] if len(falls) else None, np.linalg.norm(step)

    checked = 0
    for n in np.flatnonzero(weights > 0):
        own, scale = along(n, covered[0], 0.5, 0.0, 2.0)
        other, _ = along(n, alphas[0], 127.5, own - 4.0, own + 4.0)
        assert distances[n] == pytest.approx((other - own) / scale, abs=0.03 / scale)
        checked += 1
    assert checked > 20
    assert np.median(distances[weights > 0]) > 0


def test_a_picture_that_is_seen_face_on_says_nothing():
    cameras = fibonacci_views(1, 32, 32)
    held = pinholes(cameras)
    towards = -held.views[0, 2, :3][None]
    distances, weights = np.ones(1), np.ones(1)
    covered, depths = np.ones((1, 32, 32), dtype=bool), np.full((1, 32, 32), 2.0, dtype=np.float32)
    alphas = np.zeros((1, 32, 32), dtype=np.uint8)
    measure_outlines(0, 1, np.array([[0, 16, 16]]), towards, *held, covered, depths, alphas, 0.1, distances, weights)
    assert distances[0] == weights[0] == 0
