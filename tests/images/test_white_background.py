import numpy as np
import pytest

from gatlas.images.composite import composite
from gatlas.images.white_background import cut_from_white


def disc(color, side=32, radius=9.3):
    """An antialiased disc over white, and its coverage."""
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    cover = np.clip(radius - np.hypot(x, y) + 0.5, 0, 1)[..., None]
    return (cover * np.float32(color) + 1 - cover).astype(np.float32), cover[..., 0].astype(np.float32)


@pytest.mark.parametrize("color", [(0.1, 0.2, 0.6), (0.9, 0.1, 0.1), (0.0, 0.0, 0.0)])
def test_a_disc_gets_its_coverage_for_alpha_and_its_color(color):
    picture, cover = disc(color)
    cut = cut_from_white(picture)
    np.testing.assert_allclose(cut[..., 3], cover, atol=0.04)
    shown = cover > 0.1
    np.testing.assert_allclose(cut[shown][:, :3], np.broadcast_to(color, (shown.sum(), 3)), atol=0.05)


def test_over_white_it_is_the_picture_again():
    picture = disc((0.5, 0.3, 0.1))[0]
    picture[12:20, 12:20] = np.random.default_rng(0).random((8, 8, 3))
    np.testing.assert_allclose(composite(cut_from_white(picture), 1.0), picture, atol=0.031)  # the white of 0.97
    inner = picture.min(axis=-1) < 0.97
    np.testing.assert_allclose(composite(cut_from_white(picture), 1.0)[inner], picture[inner], atol=1e-5)


def test_white_inside_the_object_stays():
    picture = disc((0.1, 0.1, 0.1))[0]
    picture[14:18, 14:18] = 1.0
    assert cut_from_white(picture)[14:18, 14:18, 3].min() == 1


def test_a_picture_without_white_edges_stays_opaque():
    noise = 0.9 * np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    cut = cut_from_white(noise)
    assert cut[..., 3].min() == 1
    np.testing.assert_array_equal(cut[..., :3], noise)


def test_a_white_picture_is_transparent():
    assert cut_from_white(np.ones((16, 16, 3), dtype=np.float32))[..., 3].max() == 0
