"""The fused SSIM against a plain torch one with its gradient, and against kornia."""

import numpy as np
import pytest
import torch

from gatlas.metrics import ssim_cpu
from gatlas.metrics.ssim import agreement, ssim
from gatlas.raster.threads import set_num_threads


def pictures(shape, seed=0, noise=0.05):
    """Smooth random pictures and a noisy copy, float64."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((shape[0], 3, 6, 6), generator=generator, dtype=torch.float64)
    smooth = torch.nn.functional.interpolate(coarse, shape[1:3], mode="bilinear").permute(0, 2, 3, 1).contiguous()
    noisy = (smooth + noise * torch.randn(shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    return noisy, smooth


def slow_ssim(a, b):
    """Wang et al. 2004, eq. 13, with an 11 x 11 convolution padded with zeros."""
    offsets = torch.arange(11, dtype=a.dtype) - 5
    taps = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    taps = taps / taps.sum()
    kernel = (taps[:, None] * taps).expand(3, 1, 11, 11)

    def blur(image):
        return torch.nn.functional.conv2d(image, kernel, padding=5, groups=3)

    a, b = a.permute(0, 3, 1, 2), b.permute(0, 3, 1, 2)
    mean_a, mean_b = blur(a), blur(b)
    variances = blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    structure = (2 * covariance + 0.03**2) / (variances + 0.03**2)
    return ((2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2) * structure).mean()


@pytest.mark.parametrize("shape", [(2, 37, 50, 3), (1, 64, 64, 3), (1, 5, 3, 3), (1, 1, 1, 3)])
def test_value_and_gradient_agree_with_a_plain_convolution(shape):
    a, b = pictures(shape)
    a.requires_grad_()
    expected = slow_ssim(a, b)
    (expected_gradient,) = torch.autograd.grad(expected, a)
    single = a.detach().float().requires_grad_()
    value = ssim(single, b.float())
    (gradient,) = torch.autograd.grad(value, single)
    np.testing.assert_allclose(value.item(), expected.item(), rtol=1e-6)
    assert (gradient - expected_gradient).norm() < 1e-5 * expected_gradient.norm()


@pytest.mark.parametrize(
    "unequal",
    [[(20, 30, 40, 90)], [(0, 1, 0, 1)], [(59, 60, 119, 120)], [(5, 9, 30, 33), (40, 44, 90, 91)], []],
    ids=["middle", "first corner", "last corner", "two", "nowhere"],
)
def test_pictures_that_are_equal_in_parts_agree_with_a_plain_convolution(unequal):
    """Windows in which nothing differs are left out: they count 1 and have no gradient."""
    _, b = pictures((1, 60, 120, 3))
    noisy, _ = pictures((1, 60, 120, 3), seed=1)
    a = b.clone()
    for top, bottom, left, right in unequal:
        a[:, top:bottom, left:right] = noisy[:, top:bottom, left:right]
    a.requires_grad_()
    expected = slow_ssim(a, b)
    (expected_gradient,) = torch.autograd.grad(expected, a)
    single = a.detach().float().requires_grad_()
    value = ssim(single, b.float())
    (gradient,) = torch.autograd.grad(value, single)
    np.testing.assert_allclose(value.item(), expected.item(), rtol=1e-6)
    assert (gradient - expected_gradient).norm() <= 1e-4 * expected_gradient.norm() + 1e-12


@pytest.mark.parametrize(("absolute", "squared"), [(0.7, 0.0), (0.0, 8.0), (0.7, 8.0)])
def test_the_mean_differences_and_their_gradients_are_those_of_plain_torch(absolute, squared):
    a, b = (image.float() for image in pictures((2, 37, 50, 3)))
    a[:, :20] = b[:, :20]
    a.requires_grad_()
    plain = absolute * (a - b).abs().mean() + squared * (a - b).square().mean() + 0.2 * (1 - ssim(a, b))
    means = agreement(a, b)
    fused = absolute * means.absolute + squared * means.squared + 0.2 * (1 - means.similarity)
    np.testing.assert_allclose(fused.item(), plain.item(), rtol=1e-6)
    (expected,), (gradient,) = torch.autograd.grad(plain, a), torch.autograd.grad(fused, a)
    np.testing.assert_allclose(gradient, expected, rtol=2e-6, atol=1e-10)


@pytest.mark.parametrize("place", [(30, 40), (0, 0), (69, 89)], ids=["middle", "first corner", "last corner"])
def test_scratch_memory_is_not_read_where_it_was_not_written(monkeypatch, place):
    """Only what the windows reach is written of it."""
    _, b = pictures((1, 70, 90, 3))
    a = b.clone()
    a[:, place[0], place[1]] += 0.1
    results = []
    for left_over in (0.0, np.nan):
        monkeypatch.setattr(ssim_cpu, "aligned", lambda *shape: np.full(shape, left_over, np.float32))  # noqa: B023
        single = a.float().requires_grad_()
        means = agreement(single, b.float())
        results.append([*means, *torch.autograd.grad(means.similarity, single)])
    for zero, nothing in zip(*results, strict=True):
        assert torch.isfinite(nothing).all()
        assert torch.equal(zero, nothing)


def test_the_gradient_scales_with_the_loss():
    a, b = (image.float() for image in pictures((2, 12, 13, 3)))
    a.requires_grad_()
    (once,) = torch.autograd.grad(ssim(a, b), a)
    (thrice,) = torch.autograd.grad(3 * (1 - ssim(a, b)), a)
    np.testing.assert_allclose(thrice, -3 * once, rtol=1e-5, atol=1e-9)


def test_away_from_the_border_it_is_kornias():
    kornia = pytest.importorskip("kornia.metrics")
    # A black frame as wide as the window's reach makes zero padding and reflection the same.
    a, b = (torch.nn.functional.pad(image, (0, 0, 12, 12, 12, 12)) for image in pictures((1, 30, 40, 3)))
    expected = kornia.ssim(a.permute(0, 3, 1, 2), b.permute(0, 3, 1, 2), window_size=11, eps=0.0).mean()
    np.testing.assert_allclose(ssim(a.numpy(), b.numpy()), expected.item(), atol=1e-6)


def test_numpy_gives_a_float_and_the_same_value():
    a, b = (image.float() for image in pictures((2, 20, 30, 3)))
    value = ssim(a.numpy(), b.numpy())
    assert isinstance(value, float)
    np.testing.assert_allclose(value, ssim(a, b).item(), rtol=1e-6)


def test_equal_pictures_have_similarity_one():
    a, _ = pictures((1, 20, 30, 3))
    np.testing.assert_allclose(ssim(a.numpy(), a.numpy()), 1.0, rtol=1e-6)


def test_results_do_not_depend_on_the_number_of_threads():
    results = []
    for threads in (1, 3):
        set_num_threads(threads)
        try:
            a, b = (image.float() for image in pictures((1, 41, 30, 3)))
            a.requires_grad_()
            value = ssim(a, b)
            results.append((value.item(), torch.autograd.grad(value, a)[0]))
        finally:
            set_num_threads(None)
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_asking_for_a_gradient_to_the_second_is_an_error():
    a, b = pictures((1, 5, 5, 3))
    with pytest.raises(ValueError, match="no gradient to images_b"):
        ssim(a, b.requires_grad_())


@pytest.mark.usefixtures("no_shape_checks")
@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 4, 4, 4), (0, 4, 4, 3)])
def test_wrong_shapes_are_value_errors(shape):
    with pytest.raises(ValueError, match=r"images_a must have shape \[c h w 3\]"):
        ssim(np.zeros(shape), np.zeros(shape))


@pytest.mark.usefixtures("no_shape_checks")
def test_unequal_shapes_are_a_value_error():
    with pytest.raises(ValueError, match="images_b must have the shape of images_a"):
        ssim(np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 5, 3)))
