"""Gray pictures are known as such, and Gaussians turn gray by their luma."""

import numpy as np

from gatlas.geometry.sh import dc_to_rgb, rgb_to_dc
from gatlas.images.gray import is_gray, to_gray
from gatlas.types import Gaussians


def test_a_picture_is_gray_up_to_the_noise_of_a_jpeg():
    rng = np.random.default_rng(0)
    gray = np.repeat(rng.random((40, 50, 1)), 3, axis=-1)
    assert is_gray(gray + rng.uniform(-0.009, 0.009, gray.shape))
    gray[:10, :10, 0] += 0.1
    assert not is_gray(gray)


def test_gaussians_in_gray_have_the_luma_of_their_colors():
    rgb = np.array([[1.0, 0.0, 0.0], [0.2, 0.4, 0.6]])
    gaussians = Gaussians(np.zeros((2, 3)), np.ones((2, 4)), np.ones((2, 3)), np.ones(2), rgb_to_dc(rgb)[:, None])
    luma = 0.299 * rgb[:, 0] + 0.587 * rgb[:, 1] + 0.114 * rgb[:, 2]
    np.testing.assert_allclose(dc_to_rgb(to_gray(gaussians).sh[:, 0]), np.repeat(luma[:, None], 3, axis=1), atol=1e-6)
