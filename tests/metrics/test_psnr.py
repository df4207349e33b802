import numpy as np
import pytest
import torch

from gatlas.metrics import psnr
from gatlas.metrics.psnr import decibels


def as_numpy(array):
    return array


ARRAYS = pytest.mark.parametrize("array", [as_numpy, torch.from_numpy])


@ARRAYS
def test_a_tenth_off_everywhere_is_20_db(array):
    reference = np.full((2, 4, 4, 3), 0.5)
    images = reference + np.array([0.1, 0.01])[:, None, None, None]
    assert psnr(array(images), array(reference)) == pytest.approx([20.0, 40.0])


@ARRAYS
def test_equal_pictures_are_infinitely_close_up_to_a_limit(array):
    equal = array(np.ones((1, 2, 2, 3)))
    assert psnr(equal, equal)[0] == np.inf
    assert psnr(equal, equal, limit=100.0)[0] == 100.0


@ARRAYS
def test_any_axes_may_come_before_those_of_the_picture(array):
    images, references = np.random.default_rng(0).random((2, 5, 3, 6, 4, 3))
    found = psnr(array(images), array(references))
    assert found.shape == (5, 3)
    assert float(psnr(array(images[4, 1]), array(references[4, 1]))) == pytest.approx(float(found[4, 1]))
    assert float(found[0, 2]) == pytest.approx(-10 * np.log10(np.mean((images[0, 2] - references[0, 2]) ** 2)))


def test_numpy_pictures_of_float32_are_compared_in_float64():
    images = np.full((1, 64, 64, 3), 1e-4, dtype=np.float32)
    assert psnr(images, np.zeros_like(images))[0] == pytest.approx(80.0, abs=1e-6)


def test_the_psnr_of_tensors_has_a_gradient():
    images = torch.full((1, 2, 2, 3), 0.6, requires_grad=True)
    psnr(images, torch.full((1, 2, 2, 3), 0.5)).sum().backward()
    # d(-10 log10 mse) = -(10 / ln 10) 2 x 0.1 / (12 x 0.01)
    assert images.grad.flatten().tolist() == pytest.approx([-10 / np.log(10) * 0.2 / 0.12] * 12, rel=1e-4)


@pytest.mark.usefixtures("no_shape_checks")
@ARRAYS
def test_another_shape_is_refused(array):
    with pytest.raises(ValueError, match="shape"):
        psnr(array(np.ones((1, 2, 2, 3))), array(np.ones((1, 2, 3, 3))))


@pytest.mark.parametrize(("mse", "expected"), [(0.01, 20.0), (1.0, 0.0), (1e-9, 60.0), (0.0, 60.0), (np.nan, np.nan)])
def test_decibels_of_a_mean_squared_error_by_hand(mse, expected):
    assert decibels(mse, limit=60.0) == pytest.approx(expected, nan_ok=True)
