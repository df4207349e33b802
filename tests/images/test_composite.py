"""Pictures with alpha, by hand."""

import numpy as np
import pytest

from gatlas.images.composite import composite, straight_alpha


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
