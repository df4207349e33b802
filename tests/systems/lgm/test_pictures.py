"""Photos as the network sees them, and the rays of their pixels by hand."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.geometry.cameras import intrinsics, orbit
from gatlas.systems.contract import Photo
from gatlas.systems.lgm.config import CPU
from gatlas.systems.lgm.pictures import network_views, ray_maps

CONFIG = replace(CPU, side=16, view_fov=49.1)
FOCAL = 1.0946175  # in sides: 0.5 / tan(49.1 / 2)


def photo(image, fov=49.1, azimuth=0.0, distance=1.5, K=None):
    height, width = image.shape[:2]
    camera = orbit(1, width, height, elevation=0, azimuth=azimuth, distance=distance, fov=fov)
    return Photo(f"{azimuth}", image, camera.Ks[0] if K is None else K, camera.viewmats[0])


def noise(height, width, depth=4):
    return np.random.default_rng(0).random((height, width, depth)).astype(np.float32)


def test_the_network_has_the_published_focal_length():
    views = network_views([photo(noise(16, 16))], CONFIG)
    np.testing.assert_allclose(views.cameras.Ks[0], [[16 * FOCAL, 0, 8], [0, 16 * FOCAL, 8], [0, 0, 1]], rtol=1e-6)


def test_a_photo_of_the_networks_own_camera_is_put_over_white():
    image = noise(16, 16)
    (found,) = network_views([photo(image)], CONFIG).images
    np.testing.assert_allclose(found, image[..., :3] * image[..., 3:] + 1 - image[..., 3:], atol=1e-5)


def test_a_larger_photo_is_averaged():
    image = noise(32, 32, 3)
    (found,) = network_views([photo(image)], CONFIG).images
    np.testing.assert_allclose(found, image.reshape(16, 2, 16, 2, 3).mean((1, 3)), atol=1e-5)


def test_a_narrower_photo_gets_a_white_margin_and_a_wider_one_is_cut():
    black = np.zeros((64, 64, 3), np.float32)
    narrow, wide = (network_views([photo(black, fov)], CONFIG).images[0] for fov in (30.0, 70.0))
    inside = 8 * np.tan(np.radians(15)) * 2 * FOCAL  # pixels from the middle to the edge of the photo
    x = np.abs(np.arange(16) - 7.5) + 0.5
    assert (narrow[8, x < inside] < 1e-6).all()
    assert (narrow[8, x > inside + 1] == 1).all()
    assert wide.max() < 1e-6


def test_a_photo_off_its_principal_point_and_not_square_keeps_its_rays():
    image = np.ones((40, 60, 3), np.float32)
    image[10, 50] = 0  # one black pixel, with its center at (50.5, 10.5)
    K = np.array([[48.0, 0, 33], [0, 44.0, 17], [0, 0, 1]])
    side = replace(CONFIG, side=256)
    (found,) = network_views([photo(image, K=K)], side).images
    weight = 1 - found[..., 0]
    y, x = np.mgrid[:256, :256] + 0.5
    u, v = (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()
    expected = [128 + 256 * FOCAL * (50.5 - 33) / 48, 128 + 256 * FOCAL * (10.5 - 17) / 44]
    np.testing.assert_allclose([u, v], expected, atol=0.05)


def test_rays_of_the_published_camera_are_worked_by_hand():
    viewmats = np.concatenate([orbit(1, 2, 2, elevation=0, azimuth=a, distance=1.5).viewmats for a in (0, 90)])
    maps = ray_maps(viewmats, np.tile(intrinsics(2, 2, 49.1), (2, 1, 1)), 2)
    assert maps.shape == (2, 6, 2, 2)
    step = 0.5 / (2 * FOCAL)
    direction = np.array([-step, step, -1]) / np.sqrt(1 + 2 * step * step)  # of the top left pixel: left, up, forward
    np.testing.assert_allclose(maps[0, 3:, 0, 0], direction, atol=1e-6)
    x, y, _ = direction
    np.testing.assert_allclose(maps[0, :3, 0, 0], [-1.5 * y, 1.5 * x, 0], atol=1e-6)  # (0, 0, 1.5) x d
    # From +x the camera's right is -z: the same pixel looks to (-1, step, step).
    side = np.array([-1, step, step]) / np.sqrt(1 + 2 * step * step)
    np.testing.assert_allclose(maps[1, 3:, 0, 0], side, atol=1e-6)
    np.testing.assert_allclose(maps[1, :3, 0, 0], np.cross([1.5, 0, 0], side), atol=1e-6)


def test_the_distance_of_photos_is_the_networks_unit():
    photos = [photo(noise(16, 16), azimuth=a, distance=6.0) for a in (0, 90)]
    views = network_views(photos, CONFIG)
    assert views.frame.scale == pytest.approx(0.25)
    np.testing.assert_allclose(views.cameras.viewmats[1], photos[1].viewmat, atol=1e-6)
