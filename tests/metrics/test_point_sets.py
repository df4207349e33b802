"""Measures of sets of point clouds, by hand and on sets whose answer is known."""

import numpy as np
import pytest

from gatlas.metrics.point_sets import (
    chamfer_distance,
    pairwise_chamfer,
    pairwise_wasserstein,
    set_distances,
    wasserstein_distance,
)


def clouds(count, seed, shift=0.0):
    """Ellipsoids of random axes."""
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(60, 3)) * rng.uniform(0.2, 1, 3) + shift).astype(np.float32) for _ in range(count)]


def measured(generated, reference):
    return set_distances(
        pairwise_chamfer(generated, reference), pairwise_chamfer(generated), pairwise_chamfer(reference)
    )


def test_chamfer_is_the_mean_of_nearest_distances_both_ways():
    one, other = clouds(2, 0)
    distances = np.linalg.norm(one[:, None].astype(float) - other[None], axis=-1)
    expected = (distances.min(axis=0).mean() + distances.min(axis=1).mean()) / 2
    assert chamfer_distance(one, other) == pytest.approx(expected, rel=1e-6)
    assert chamfer_distance(one, one) == 0


def test_a_matrix_within_a_set_is_that_of_the_set_against_itself():
    held = clouds(4, 1)
    np.testing.assert_allclose(pairwise_chamfer(held), pairwise_chamfer(held, held), atol=1e-12)


def test_measures_by_hand():
    # One sample between two references, nearer to the first; the references are far from each other.
    found = set_distances(np.array([[1.0, 2.0]]), np.zeros((1, 1)), np.array([[0.0, 9.0], [9.0, 0.0]]))
    assert found.coverage == 0.5
    assert found.mmd == 1.5
    assert found.one_nna == 0  # every nearest is of the other set
    apart = set_distances(np.full((2, 2), 5.0), 1 - np.eye(2), 1 - np.eye(2))
    assert apart.one_nna == 1


def test_two_halves_of_one_set_cannot_be_told_apart():
    held = clouds(120, 2)
    found = measured(held[:60], held[60:])
    assert found.one_nna == pytest.approx(0.5, abs=0.1)
    assert measured(clouds(20, 3, shift=3.0), held[:20]).one_nna == 1


def test_copies_cover_everything_at_no_distance():
    held = clouds(10, 4)
    assert measured(held, held) == (1.0, 0.0, 0.0)


def test_noise_raises_the_matching_distance_and_missing_objects_lower_coverage():
    held = clouds(12, 5)
    noise = np.random.default_rng(0).normal(size=(12, 60, 3))
    found = [measured([c + s * n for c, n in zip(held, noise, strict=True)], held).mmd for s in (0.0, 0.1, 0.3, 0.6)]
    assert (np.diff(found) > 0).all()
    coverage = [measured(held[:count], held).coverage for count in (12, 8, 4)]
    assert (np.diff(coverage) < 0).all()


def test_an_empty_cloud_is_refused():
    with pytest.raises(ValueError, match="needs points"):
        pairwise_chamfer([np.zeros((0, 3), dtype=np.float32)], clouds(1, 0))


def test_a_moved_cloud_is_as_far_as_it_was_moved():
    (one,) = clouds(1, 6)
    assert wasserstein_distance(one, one + np.float32([0, 3, 4])) == pytest.approx(5, rel=1e-6)


def test_clouds_of_different_counts_are_compared_by_their_mass():
    # Half of one point's mass goes 1 away, half 3 away.
    assert wasserstein_distance(np.zeros((1, 3)), np.array([[1.0, 0, 0], [0, 3, 0]])) == pytest.approx(5**0.5)
    (one,) = clouds(1, 7)
    assert wasserstein_distance(np.repeat(one, 2, axis=0), one) == pytest.approx(0, abs=1e-6)


def test_the_auction_and_network_simplex_agree_on_transport():
    one, other = clouds(2, 8)
    doubled = wasserstein_distance(np.repeat(one, 2, axis=0), other)  # by POT
    assert wasserstein_distance(one, other) == pytest.approx(doubled, rel=1e-6)


def test_transport_sees_crowding_that_chamfer_does_not():
    crowded = np.array([[0.0, 0, 0]] * 9 + [[1.0, 0, 0]])
    even = np.array([[0.0, 0, 0]] * 5 + [[1.0, 0, 0]] * 5)
    assert chamfer_distance(crowded, even) == 0
    assert wasserstein_distance(crowded, even) == pytest.approx(0.4**0.5)


def test_distances_of_transport_within_a_set_are_those_of_the_set_against_itself():
    held = [cloud[: 20 + 5 * i] for i, cloud in enumerate(clouds(3, 9))]
    np.testing.assert_allclose(pairwise_wasserstein(held), pairwise_wasserstein(held, held), atol=1e-6)
    with pytest.raises(ValueError, match="needs points"):
        wasserstein_distance(np.zeros((0, 3)), held[0])
