"""Rays by hand and by projecting them back; encodings by their definitions."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.geometry.cameras import camera_centers, look_at, orbit
from gatlas.geometry.rays import directions_of, directions_through, pixel_rays, plucker, posenc_nerf, rays
from gatlas.types import Cameras

torch = pytest.importorskip("torch")

CAMERAS = orbit(3, 7, 5, elevation=30.0, azimuth=17.0)


def as_tensors(cameras):
    viewmats, Ks = (torch.from_numpy(array.astype(np.float64)) for array in (cameras.viewmats, cameras.Ks))
    return replace(cameras, viewmats=viewmats, Ks=Ks)


def project(cameras, c, points):
    local = points @ cameras.viewmats[c, :3, :3].T + cameras.viewmats[c, :3, 3]
    pixels = local @ cameras.Ks[c].T
    return pixels[..., :2] / pixels[..., 2:], local[..., 2]


def test_every_ray_projects_back_to_the_center_of_its_pixel():
    origins, directions = rays(CAMERAS)
    wanted = np.stack(np.meshgrid(np.arange(7) + 0.5, np.arange(5) + 0.5), axis=-1)
    for c in range(3):
        pixels, depths = project(CAMERAS, c, origins[c] + 1.7 * directions[c])
        np.testing.assert_allclose(pixels, wanted, atol=1e-4)
        assert (depths > 0).all()
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0)


def test_the_ray_of_a_camera_at_the_origin_is_worked_out_by_hand():
    one = Cameras(np.eye(4)[None], np.array([[[2.0, 0, 1], [0, 2, 1], [0, 0, 1]]]), 2, 2)
    origins, directions = rays(one)
    assert not origins.any()
    np.testing.assert_allclose(directions[0, 1, 0], np.array([-0.25, 0.25, 1]) / np.sqrt(1.125))
    assert pixel_rays(one.Ks, 2, 2)[0, 1, 0].tolist() == [-0.25, 0.25, 1]


def test_tensors_give_the_rays_of_arrays():
    for array, tensor in zip(rays(CAMERAS), rays(as_tensors(CAMERAS)), strict=True):
        np.testing.assert_allclose(tensor.numpy(), array, atol=1e-6)


def test_intrinsics_divided_by_the_size_give_the_same_rays():
    size = np.array([[7.0], [5.0], [1.0]])
    Ks = torch.from_numpy(CAMERAS.Ks.astype(np.float64))
    shares = pixel_rays((Ks / torch.from_numpy(size))[None], 7, 5, normalized=True)[0]
    np.testing.assert_allclose(shares.numpy(), pixel_rays(Ks, 7, 5).numpy(), atol=1e-12)


def test_the_rays_of_the_pixel_centers_are_those_of_all_pixels():
    centers = np.stack(np.meshgrid(np.arange(7) + 0.5, np.arange(5) + 0.5), axis=-1).reshape(-1, 2)
    K = CAMERAS.Ks[0].astype(np.float64)
    np.testing.assert_allclose(directions_of(centers, K).reshape(5, 7, 3), pixel_rays(K, 7, 5), atol=1e-12)


def test_chosen_pixels_lie_on_their_rays_one_deep():
    rng = np.random.default_rng(0)
    index, pixels = rng.integers(3, size=20), rng.uniform(0, 5, size=(20, 2))
    points = camera_centers(CAMERAS.viewmats.astype(np.float64))[index] + directions_through(pixels, CAMERAS, index)
    for i, c in enumerate(index):
        found, depth = project(CAMERAS, c, points[i])
        np.testing.assert_allclose(found, pixels[i], atol=1e-4)
        assert depth == pytest.approx(1.0, abs=1e-5)


def test_plucker_coordinates_are_worked_out_by_hand():
    line = plucker(np.array([0.0, 0, 2]), np.array([1.0, 0, 0]))
    assert line.tolist() == [0, 2, 0, 1, 0, 0]  # z x x = y


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_plucker_coordinates_are_those_of_the_line(kind):
    """Any point of the line gives them, the moment is across it, and both give back its point nearest the origin."""
    rng = np.random.default_rng(0)
    points, directions = rng.normal(size=(4, 1, 3)), rng.normal(size=(4, 6, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    found = np.asarray(plucker(kind(points), kind(directions)))
    assert found.shape == (4, 6, 6)
    np.testing.assert_allclose(found[..., :3], np.cross(points, directions))
    np.testing.assert_allclose(found, plucker(points + 3 * directions, directions), atol=1e-12)
    nearest = np.cross(directions, found[..., :3])
    offset = points - nearest
    np.testing.assert_allclose(np.cross(offset, directions), 0, atol=1e-12)
    np.testing.assert_allclose((nearest * directions).sum(axis=-1), 0, atol=1e-12)


def test_the_rays_of_a_camera_on_the_axis_have_moments_across_it():
    eye = Cameras(look_at(np.array([[0.0, 0, 2]])), np.array([[[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]]), 1, 1)
    origins, directions = rays(eye)
    line = plucker(origins[:, None, None], directions)
    np.testing.assert_allclose(line[0, 0, 0], [0, 0, 0, 0, 0, -1], atol=1e-12)  # through the origin: no moment


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_the_nerf_encoding_is_values_sines_and_cosines_octave_by_octave(kind):
    values = np.array([[0.3, -1.2, 2.0], [0.0, 0.5, np.pi / 4]])
    found = np.asarray(posenc_nerf(kind(values), 2))
    assert found.shape == (2, 15)
    x = values[0]
    np.testing.assert_allclose(found[0], [*x, *np.sin(x), *np.sin(2 * x), *np.cos(x), *np.cos(2 * x)])
    np.testing.assert_allclose(found[1, [5, 8, 11, 14]], [np.sqrt(0.5), 1, np.sqrt(0.5), 0], atol=1e-12)


def test_the_encodings_of_3dim_have_144_channels():
    ray = np.zeros((2, 4, 4, 3))
    assert posenc_nerf(ray, 15).shape[-1] + posenc_nerf(ray, 8).shape[-1] == 144
    assert np.array_equal(posenc_nerf(ray, 0), ray)
