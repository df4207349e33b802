"""The loss of a fit, by hand."""

import numpy as np
import pytest
import torch

from gatlas.fit.losses import LossWeights, picture_loss
from gatlas.metrics.ssim import ssim


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    image, target = rng.random((2, 1, 12, 16, 3), dtype=np.float32)
    return torch.tensor(image, requires_grad=True), torch.tensor(target)


def test_it_is_the_weighted_sum_of_the_absolute_error_and_of_the_dissimilarity(pictures):
    image, target = (each.detach().numpy() for each in pictures)
    expected = 0.8 * np.abs(image - target).mean() + 0.2 * (1 - ssim(image, target))
    assert float(picture_loss(*pictures).loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_squared_takes_ten_times_the_squared_error_instead_and_so_does_its_gradient(pictures):
    image, target = pictures
    weights = LossWeights(rgb=0.5, ssim=0.0)
    loss = picture_loss(image, target, weights, error="squared").loss
    loss.backward()
    error = (image - target).detach().numpy()
    assert float(loss.detach()) == pytest.approx(0.5 * 10 * np.square(error).mean(), rel=1e-5)
    np.testing.assert_allclose(image.grad.numpy(), 0.5 * 10 * 2 * error / error.size, rtol=1e-4, atol=1e-7)


def test_root_takes_a_quarter_of_the_root_of_the_squared_error_and_equal_pictures_have_a_gradient(pictures):
    image, target = pictures
    weights = LossWeights(rgb=0.5, ssim=0.0)
    loss = picture_loss(image, target, weights, error="root").loss
    loss.backward()
    error = (image - target).detach().numpy()
    root = np.sqrt(np.square(error).mean())
    assert float(loss.detach()) == pytest.approx(0.5 * 0.25 * root, rel=1e-5)
    np.testing.assert_allclose(image.grad.numpy(), 0.5 * 0.25 * error / error.size / root, rtol=1e-4, atol=1e-9)
    equal = target.clone().requires_grad_()
    picture_loss(equal, target, weights, error="root").loss.backward()
    assert not equal.grad.any()
