"""Chamfer distance and F-score, by hand."""

import numpy as np
import pytest

from gatlas.metrics.surface_distance import even_points, surface_distance


def test_chamfer_and_f_score_by_hand():
    points = np.array([[0.0, 0, 0], [1.0, 0, 0]])
    reference = np.array([[0.0, 0, 0.1], [1.0, 0, 0.3], [5.0, 0, 0], [1.0, 0, 0]])
    found = surface_distance(points, reference, 0.2)
    assert found.chamfer == pytest.approx(0.5 * ((0.1 + 0.0) / 2 + (0.1 + 0.3 + 4.0 + 0.0) / 4))
    assert (found.precision, found.recall) == (1.0, 0.5)
    assert found.f_score == pytest.approx(2 / 3)


def test_surfaces_that_are_nowhere_near_have_a_score_of_zero():
    assert surface_distance(np.zeros((2, 3)), np.full((3, 3), 9.0), 0.1).f_score == 0.0


@pytest.mark.parametrize(("count", "threshold"), [(0, 0.1), (2, 0.0)])
def test_no_points_or_no_threshold_is_a_value_error(count, threshold):
    with pytest.raises(ValueError, match=r"need points, got 0 and 3|threshold must be positive, got 0.0"):
        surface_distance(np.zeros((count, 3)), np.zeros((3, 3)), threshold)


def test_points_of_triangles_are_spread_by_area():
    vertices = np.array([[0.0, 0, 0], [3, 0, 0], [0, 3, 0], [9, 9, 9], [9, 9, 10], [9, 10, 9]])
    points = even_points(vertices, np.array([[0, 1, 2], [3, 4, 5], [0, 0, 1]]), 1000, np.random.default_rng(0))
    small = points[:, 2] > 1
    assert small.sum() == 100  # areas 4.5 and 0.5
    large = points[~small]
    assert (large[:, :2].sum(axis=1) <= 3).all()
    np.testing.assert_allclose(large.mean(axis=0), [1, 1, 0], atol=0.1)
    with pytest.raises(ValueError, match="points need triangles with an area"):
        even_points(vertices, np.array([[0, 0, 1]]), 10, np.random.default_rng(0))
