"""A rectangle of a picture at another size: exact averages, and transparency outside."""

import numpy as np
import pytest

from gatlas.images.window import window


def noise(height=6, width=8, depth=4, seed=0):
    return np.random.default_rng(seed).random((height, width, depth)).astype(np.float32)


def test_the_whole_picture_at_its_own_size_is_itself():
    picture = noise()
    np.testing.assert_allclose(window(picture, (0, 0, 8, 6), 8, 6), picture, atol=1e-6)
    opaque = window(picture[..., :3], (0, 0, 8, 6), 8, 6)
    np.testing.assert_allclose(opaque[..., :3], picture[..., :3], atol=1e-6)
    assert (opaque[..., 3] == 1).all()


def test_half_the_size_is_the_mean_of_four_pixels_with_colors_weighed_by_alpha():
    picture = noise()
    found = window(picture, (0, 0, 8, 6), 4, 3)
    corner = picture[2:4, 4:6].reshape(4, 4)
    alpha = corner[:, 3].mean()
    np.testing.assert_allclose(found[1, 2, 3], alpha, atol=1e-6)
    np.testing.assert_allclose(found[1, 2, :3], (corner[:, :3] * corner[:, 3:]).mean(0) / alpha, atol=1e-6)


def test_what_is_outside_the_picture_is_transparent():
    found = window(noise()[..., :3], (-4, -3, 4, 3), 8, 6)
    assert (found[:3] == 0).all()
    assert (found[:, :4] == 0).all()
    assert (found[3:, 4:, 3] == 1).all()


def test_a_pixel_that_lies_half_outside_has_half_the_alpha():
    found = window(np.full((2, 2, 3), 0.25, np.float32), (-0.5, 0, 1.5, 2), 2, 2)
    np.testing.assert_allclose(found[:, 0], [[0.25, 0.25, 0.25, 0.5]] * 2, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], [[0.25, 0.25, 0.25, 1.0]] * 2, atol=1e-6)


def test_an_enlarged_picture_is_interpolated_and_opaque_up_to_its_edges():
    ramp = np.broadcast_to(np.arange(4, dtype=np.float32)[None, :, None] / 4, (2, 4, 3))
    found = window(ramp, (0, 0, 4, 2), 16, 8)
    expected = np.clip((np.arange(16) + 0.5) / 4 - 0.5, 0, 3) / 4
    np.testing.assert_allclose(found[3, :, 0], expected, atol=1e-6)
    assert (found[..., 3] == 1).all()


def test_an_empty_box_is_refused():
    with pytest.raises(ValueError, match="right > left"):
        window(noise(), (1, 0, 1, 2), 2, 2)
