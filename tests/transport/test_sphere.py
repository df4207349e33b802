"""Facts about the Fibonacci sphere."""

import numpy as np
import pytest

from gatlas.transport import SPHERE_NAME, fibonacci_sphere


def test_points_are_unit_vectors_from_pole_to_pole():
    points = fibonacci_sphere(1000)
    assert np.linalg.norm(points, axis=1) == pytest.approx(np.ones(1000), abs=1e-15)
    assert points[0].tolist() == [0.0, -1.0, 0.0]
    assert points[-1] == pytest.approx([0.0, 1.0, 0.0], abs=1e-15)


def test_the_second_of_three_points_is_where_the_formula_puts_it():
    golden_angle = np.pi * (3 - np.sqrt(5))  # 137.5 degrees
    assert np.degrees(golden_angle) == pytest.approx(137.50776405)
    assert fibonacci_sphere(3)[1] == pytest.approx([np.cos(golden_angle), 0.0, np.sin(golden_angle)])


def test_points_are_evenly_spread():
    points = fibonacci_sphere(2000)
    nearest = np.sort(np.linalg.norm(points[:, None] - points[None], axis=-1), axis=1)[:, 1]
    spacing = np.sqrt(4 * np.pi / 2000)
    assert nearest[10:-10].min() > 0.7 * spacing
    assert nearest.max() < 1.1 * spacing
    assert np.abs(points.mean(axis=0)).max() < 1e-3


def test_a_single_point_is_defined_and_none_is_refused():
    assert fibonacci_sphere(1).tolist() == [[0.0, -1.0, 0.0]]
    with pytest.raises(ValueError, match="n must be >= 1, got 0"):
        fibonacci_sphere(0)


def test_the_convention_has_a_name():
    assert SPHERE_NAME == "fibonacci-y-endpoints-v1"
