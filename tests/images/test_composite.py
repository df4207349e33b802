"""Pictures with alpha, by hand."""

import numpy as np
import pytest

from gatlas.images.composite import composite, coverage, masked, over, straight_alpha


def test_a_background_shows_where_the_picture_does_not():
    rgba = np.array([[1.0, 0.5, 0.0, 0.25], [0.2, 0.4, 0.6, 1.0], [0.9, 0.9, 0.9, 0.0]])
    assert np.allclose(composite(rgba, 1.0), [[1.0, 0.875, 0.75], [0.2, 0.4, 0.6], [1, 1, 1]])
    assert np.allclose(composite(rgba, np.array([0.0, 0.0, 0.4]))[0], [0.25, 0.125, 0.3])


def test_tensors_are_laid_over_a_background_alike():
    torch = pytest.importorskip("torch")
    rgba = np.random.default_rng(0).random((2, 3, 4))
    assert np.allclose(composite(torch.from_numpy(rgba), 0.3).numpy(), composite(rgba, 0.3))


def test_straight_alpha_undoes_black_behind():
    rgba = np.random.default_rng(0).uniform(0.1, 1, (5, 4, 4))
    rgba[0, 0] = 0.0
    assert np.allclose(straight_alpha(composite(rgba, 0.0), rgba[..., 3:]), rgba)


def test_a_picture_without_alpha_hides_its_background():
    rgb = np.random.default_rng(0).random((2, 3, 3))
    assert composite(rgb, 1.0) is rgb


def test_rendered_colors_are_over_a_background_as_straight_ones_are():
    rgba = np.random.default_rng(0).random((2, 3, 4))
    assert np.allclose(over(rgba[..., :3] * rgba[..., 3:], rgba[..., 3:], 0.3), composite(rgba, 0.3))


def test_a_mask_multiplies_alpha():
    mask = np.array([[0.0, 0.5]])
    assert masked(np.full((1, 2, 3), 0.25), mask).tolist() == [[[0.25, 0.25, 0.25, 0], [0.25, 0.25, 0.25, 0.5]]]
    assert masked(np.full((1, 2, 4), 0.25), mask)[..., 3].tolist() == [[0, 0.125]]


def test_a_mask_is_how_white_and_opaque_a_picture_is():
    assert coverage(np.array([[[1.0, 1, 1], [0, 0, 0], [0, 0.3, 0.6]]])).tolist() == [[1, 0, pytest.approx(0.3)]]
    assert coverage(np.array([[[1.0, 1, 1, 0.25]]])).tolist() == [[0.25]]
