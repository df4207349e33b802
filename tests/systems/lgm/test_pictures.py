"""Photos as the network sees them, and the rays of their pixels by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import intrinsics, orbit
from gatlas.systems.contract import Photo
from gatlas.systems.lgm import create
from gatlas.systems.lgm.config import CPU, TINY
from gatlas.systems.lgm.pictures import badly_shown, network_views
from gatlas.systems.lgm.view_loss import posed_inputs

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


def test_opaque_photos_over_white_have_the_alphas_of_transparent_ones():
    image = np.full((16, 16, 4), 0.2, np.float32)
    image[..., 3] = [0.0] * 5 + [0.3] + [1.0] * 10
    opaque = image[..., :3] * image[..., 3:] + 1 - image[..., 3:]
    opaque[:, 10:, 0] = 0.9  # another color: no outline
    for each in (image, opaque):
        np.testing.assert_allclose(network_views([photo(each)], CONFIG).alphas[0], image[..., 3], atol=1e-5)


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
    K = intrinsics(2, 2, 49.1) / np.array([[2], [2], [1.0]])
    arrays = np.ones((2, 2, 2, 4)), viewmats, np.tile(K, (2, 1, 1))
    maps = posed_inputs(*(torch.from_numpy(each.astype(np.float32))[None] for each in arrays), TINY)[0, :, 3:].numpy()
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


def square(start, stop, side=100, depth=4):
    """A gray square on nothing, or on white."""
    image = np.full((side, side, depth), 1.0 if depth == 3 else 0.0, np.float32)
    image[start:stop, start:stop] = [0.5, 0.5, 0.5, 1.0][:depth]
    return image


@pytest.mark.parametrize("depth", [3, 4])
def test_the_share_of_an_object_that_is_cut_off_is_told(depth):
    assert badly_shown([photo(square(5, 95, depth=depth))], CONFIG) == []
    # The network's view is the middle 62.5 pixels of a picture whose focal length is 62.5 % of its own.
    fov = 2 * np.degrees(np.arctan(np.tan(np.radians(49.1 / 2)) / 0.62))
    (told,) = badly_shown([photo(square(40, 60)), photo(square(10, 90, depth=depth), fov, 90)], CONFIG)
    assert told.startswith(f"90: {100 * (1 - 62**2 / 80**2):.0f}% of the object lies outside")


@pytest.mark.parametrize("depth", [3, 4])
def test_an_object_too_small_to_be_seen_is_told(depth):
    (told,) = badly_shown([photo(square(40, 60, depth=depth), fov=2)], CONFIG)
    assert told.startswith(f"0.0: the object fills {20 * np.tan(np.radians(1)) / np.tan(np.radians(49.1 / 2)):.2g}% of")
    assert badly_shown([photo(square(40, 60), fov=2), photo(square(5, 95), azimuth=90)], CONFIG) == []


@pytest.mark.parametrize("depth", [3, 4])
def test_an_object_that_is_not_in_the_networks_view_is_refused(depth):
    shown = photo(square(40, 60))
    beside_it = intrinsics(100, 100, 49.1)
    beside_it[0, 2] = -500
    beside = photo(square(40, 60, depth=depth), azimuth=90, K=beside_it)
    with pytest.raises(GatlasError, match=r"^90.0: the object is outside the network's field of view"):
        badly_shown([shown, beside._replace(name="90.0")], CONFIG)
    with pytest.raises(GatlasError, match=r"^empty: shows nothing"):
        badly_shown([shown, photo(square(0, 0, depth=depth))._replace(name="empty")], CONFIG)


def test_half_precision_of_the_network_does_not_round_the_rays_and_the_hull():
    photos = [photo(square(30, 70), azimuth=a) for a in (0, 90, 180, 270)]
    system, views = create(CONFIG), network_views(photos, CONFIG)
    exact = system.inputs_of(views)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(system.inputs_of(views), exact, atol=0, rtol=0)
    assert (exact[0, :, 10] < 0).any()
