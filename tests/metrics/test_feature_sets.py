"""FID and KID against torch-fidelity, given the same features, and against the textbook formula."""

import numpy as np
import pytest

from gatlas.metrics.feature_sets import frechet_distance, kernel_distance
from tests.helpers.torchvision_stub import stub_torchvision


@pytest.fixture(scope="module")
def fidelity():
    """torch-fidelity's functions of features."""
    with stub_torchvision():
        try:
            from torch_fidelity import metric_fid, metric_kid
        except ImportError as error:
            pytest.skip(f"torch-fidelity is not installed: {error}")
    return metric_fid, metric_kid


def features(count, seed, shift=0.0, dim=16):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, dim)) @ rng.normal(size=(dim, dim)) + shift).astype(np.float32)


@pytest.mark.parametrize(("count", "others"), [(100, 60), (10, 12), (10, 90)])
def test_fid_is_that_of_torch_fidelity(fidelity, count, others):
    import torch

    one, other = features(count, 0), features(others, 1, 0.5)
    stats = [fidelity[0].fid_features_to_statistics(torch.from_numpy(each)) for each in (one, other)]
    expected = fidelity[0].fid_statistics_to_metric(*stats, False)["frechet_inception_distance"]
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-4)


def test_fid_is_the_formula_with_a_matrix_root():
    from scipy.linalg import sqrtm

    one, other = features(80, 0), features(70, 1, 0.5)
    a, b = np.cov(one.T.astype(float)), np.cov(other.T.astype(float))
    means = one.astype(float).mean(axis=0) - other.astype(float).mean(axis=0)
    expected = means @ means + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-8)


def test_kid_of_whole_sets_is_that_of_torch_fidelity(fidelity):
    import torch

    one, other = features(50, 0), features(50, 1, 0.2)
    settings = {"kid_subsets": 1, "kid_subset_size": 50, "verbose": False}
    found = fidelity[1].kid_features_to_metric(torch.from_numpy(one), torch.from_numpy(other), **settings)
    rng = np.random.default_rng(0)
    expected = found["kernel_inception_distance_mean"]
    assert kernel_distance(one, other, rng) == pytest.approx(expected, rel=1e-4)


def test_kid_of_subsets_is_near_that_of_whole_sets():
    one, other = features(400, 0, dim=4), features(300, 1, 0.5, dim=4)
    whole = kernel_distance(one[:300], other, np.random.default_rng(0))
    assert kernel_distance(one, other, np.random.default_rng(0), subset=200) == pytest.approx(whole, rel=0.2)


def test_equal_sets_have_no_distance_and_noise_makes_one_that_grows():
    one = features(60, 0)
    noise = np.random.default_rng(3).normal(size=one.shape)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    for distance in (frechet_distance, lambda a, b: kernel_distance(a, b, np.random.default_rng(0))):
        found = [distance(one + amount * noise, one) for amount in (0.0, 2.0, 4.0, 8.0)]
        assert (np.diff(found) > 0).all()
