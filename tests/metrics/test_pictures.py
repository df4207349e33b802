"""PSNR and SSIM against scikit-image, depth errors by hand."""

import numpy as np
import pytest

from gatlas.metrics.depths import depth_error
from gatlas.metrics.pictures import compare_pictures


@pytest.fixture(scope="module")
def pair():
    """A picture and a noisy copy with a black rim, beyond which all implementations see black."""
    rng = np.random.default_rng(0)
    image, noise = np.zeros((48, 40, 3), dtype=np.float32), np.zeros((48, 40, 3), dtype=np.float32)
    image[12:-12, 12:-12] = rng.random((24, 16, 3))
    noise[12:-12, 12:-12] = rng.normal(scale=0.1, size=(24, 16, 3))
    return (image + noise).clip(0, 1), image


def test_psnr_is_that_of_scikit_image(pair):
    metrics = pytest.importorskip("skimage.metrics")
    expected = metrics.peak_signal_noise_ratio(pair[1].astype(float), pair[0].astype(float), data_range=1.0)
    assert compare_pictures(*pair).psnr == pytest.approx(expected, rel=1e-9)


def test_ssim_is_that_of_scikit_image(pair):
    metrics = pytest.importorskip("skimage.metrics")
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    one, other = (each.astype(float) for each in pair)
    _, values = metrics.structural_similarity(one, other, channel_axis=-1, full=True, **settings)
    assert compare_pictures(*pair).ssim == pytest.approx(values.mean(), abs=1e-5)


def test_equal_pictures_are_at_the_limit(pair):
    assert compare_pictures(pair[0], pair[0], limit=100.0) == (100.0, 1.0)


def test_depth_errors_by_hand():
    depths = np.array([[1.0, 2.0, 0.0, np.inf], [3.0, 0.0, 5.0, 0.0]])
    truth = np.array([[1.5, 2.0, 4.0, 0.0], [0.0, 0.0, 9.0, np.inf]])
    # both: 0.5, 0, 4 (at most 1 in the union); only one: two pixels.
    assert depth_error(depths, truth, limit=1.0).common == pytest.approx(4.5 / 3)
    assert depth_error(depths, truth, limit=1.0).union == pytest.approx((0.5 + 0 + 1 + 2) / 5)


def test_depths_of_nothing_agree_and_have_no_common_error():
    found = depth_error(np.zeros((2, 2)), np.full((2, 2), np.inf), limit=1.0)
    assert found.union == 0
    assert np.isnan(found.common)
