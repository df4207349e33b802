"""NoPoSplat's recipe: its structure term window by window, its steps towards a known camera."""

import numpy as np
import pytest

from gatlas.images.composite import composite
from gatlas.pose.refine_published import refine_published, structure_similarity
from tests.helpers.blobs import SIDE, K, camera_at, errors, lump, perturbed, photo_of

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("one_thread")


def test_structure_is_the_correlation_in_every_window():
    rng = np.random.default_rng(0)
    first, noise = rng.random((2, 9, 9, 3))
    second = 0.6 * first + 0.4 * noise
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line)[..., None] / line.sum() ** 2
    terms = []
    padded = [np.pad(each, [(5, 5), (5, 5), (0, 0)]) for each in (first, second)]
    for row, column in np.ndindex(9, 9):
        a, b = (each[row : row + 11, column : column + 11] for each in padded)
        a, b = (each - (window * each).sum(axis=(0, 1)) for each in (a, b))
        deviations = [np.sqrt((window * each**2).sum(axis=(0, 1))) for each in (a, b)]
        covariance = (window * a * b).sum(axis=(0, 1))
        terms.append(np.minimum((covariance + 0.00045) / (deviations[0] * deviations[1] + 0.00045), 0.98))
    assert float(structure_similarity(torch.from_numpy(first), torch.from_numpy(second))) == pytest.approx(
        np.mean(terms)
    )


def test_equal_pictures_have_the_most_structure_there_is():
    picture = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(structure_similarity(picture, picture)) == pytest.approx(0.98)
    inside = structure_similarity(
        picture, 0.3 * picture + 0.2
    )  # less exposure is no other structure, but for C3 and the edge
    assert float(inside) > 0.9


def test_a_flat_picture_gives_finite_gradients():
    flat = torch.full((16, 16, 3), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(structure_similarity(flat, torch.rand(16, 16, 3)), flat)
    assert torch.isfinite(gradient).all()


def test_the_recipe_leads_towards_the_camera():
    gaussians, truth = lump(), camera_at(40.0)
    photo = composite(photo_of(gaussians, truth), 0.0)
    start = perturbed(truth, 1.5, 1.0, np.random.default_rng(0))
    found = refine_published(gaussians, photo, start, K, steps=120)
    assert found.failure == ""
    assert found.steps == 120
    assert found.loss_after < found.loss_before
    before, after = errors(start, truth), errors(found.viewmat, truth)
    assert after[0] < 0.8 * before[0]  # it ends on its last step, which is 0.3 degrees long
    assert after[1] < before[1]


def test_the_background_is_the_border_s_and_the_picture_may_be_worked_on_smaller():
    gaussians, truth, lens = lump(), camera_at(40.0, distance=4.0), K * [[2.0], [2.0], [1.0]]
    photo = composite(photo_of(gaussians, truth, lens, 2 * SIDE), 1.0).astype(np.float32)
    start = perturbed(truth, 1.5, 1.0, np.random.default_rng(0))
    told = refine_published(gaussians, photo, start, lens, background=(1.0, 1.0, 1.0), side=SIDE, steps=60)
    found = refine_published(gaussians, photo, start, lens, side=SIDE, steps=60)
    assert found.failure == told.failure == ""
    np.testing.assert_allclose(found.viewmat, told.viewmat, atol=1e-6)
    np.testing.assert_array_equal(found.K, lens)
    assert errors(found.viewmat, truth)[0] < 0.9 * errors(start, truth)[0]
    full = refine_published(gaussians, photo, start, lens, steps=1)
    half = refine_published(gaussians, photo, start, lens, side=SIDE, steps=1)
    assert full.loss_before != half.loss_before


def test_a_camera_that_the_picture_does_not_bear_out_is_a_failure():
    gaussians, truth = lump(), camera_at(40.0)
    photo = composite(photo_of(gaussians, truth), 1.0).astype(np.float32)
    start = perturbed(truth, 6.0, 4.0, np.random.default_rng(0))
    wrong = refine_published(gaussians, photo, start, K, background=(0.0, 0.0, 0.0), steps=3)
    assert "of the photo there, less than 75%" in wrong.failure
    assert np.isnan(wrong.viewmat).all()


def test_what_it_cannot_refine_is_a_failure_without_a_camera():
    gaussians, truth = lump(), camera_at(40.0)
    photo = composite(photo_of(gaussians, truth), 0.0)
    away = refine_published(gaussians, photo, np.diag([-1.0, 1.0, -1.0, 1.0]) @ truth, K)
    spoiled = refine_published(gaussians, np.full_like(photo, np.nan), truth, K)
    assert (away.failure, spoiled.failure[-15:]) == ("the Gaussians left the picture", "NaN or infinite")
    assert np.isnan(away.viewmat).all()
    assert np.isnan(spoiled.viewmat).all()
    with pytest.raises(ValueError, match="steps must be >= 1"):
        refine_published(gaussians, photo, truth, K, steps=0)


@pytest.mark.usefixtures("no_shape_checks")
def test_a_photo_of_four_channels_is_the_callers_mistake():
    with pytest.raises(ValueError, match="photo must have shape"):
        refine_published(lump(), np.zeros((SIDE, SIDE, 4)), camera_at(40.0), K)
