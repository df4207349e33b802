import numpy as np
import pytest

from gatlas.geometry.cameras import look_at
from gatlas.metrics.pose_errors import center_errors, direction_errors, recall_area, rotation_errors


def turned(degrees):
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def test_the_rotation_error_is_the_angle_also_where_it_is_tiny_or_a_half_turn():
    angles = np.array([0.0, 1e-6, 0.5, 90.0, 180.0])
    truth = look_at(np.array([[1.0, 2.0, 3.0]]))[0]
    found = np.stack([turned(angle) @ truth for angle in angles])
    assert np.allclose(rotation_errors(found, np.tile(truth, (5, 1, 1))), angles, rtol=1e-6, atol=1e-12)


def test_the_center_error_is_in_per_cent_of_the_distance_to_the_target():
    truths = look_at(np.array([[0.0, 0.0, 4.0], [0.0, 0.0, 4.0]]))
    found = look_at(np.array([[0.0, 0.04, 4.0], [0.0, 0.0, 4.0]]))
    assert np.allclose(center_errors(found, truths), [1.0, 0.0])
    assert np.allclose(center_errors(found, truths, (0, 0, 2.0)), [2.0, 0.0])
    with pytest.raises(ValueError, match="is at the target"):
        center_errors(found, truths, (0, 0, 4.0))


def test_directions_are_compared_without_scale_and_folded():
    def at(place):
        eye = np.array([place])
        return look_at(eye, eye + np.array([0.0, 0.0, 1.0]))[0]

    truths = np.stack([at([1.0, 0, 0])] * 3)
    found = np.stack([at([0.5, 0, 0]), at([1.0, 1.0, 0]), at([-1.0, 0.0, 0])])
    assert np.allclose(direction_errors(found, truths), [0, 45, 0], atol=1e-9)
    assert np.isnan(direction_errors(found, np.stack([np.eye(4)] * 3))).all()


def test_the_area_under_the_recall_is_that_of_the_published_curve():
    # Errors 1 and 3 of four cameras, up to 5: triangle to (1, 1/4), trapezoid to (3, 1/2), level to 5.
    assert recall_area(np.array([3.0, 1.0, np.nan, np.inf]), 5) == pytest.approx((0.125 + 0.75 + 1.0) / 5)
    assert recall_area(np.zeros(3), 5) == 1.0
    assert recall_area(np.array([5.0]), 5) == 0.0


@pytest.mark.usefixtures("no_shape_checks")
def test_no_cameras_have_no_recall():
    with pytest.raises(ValueError, match="not be empty"):
        recall_area(np.zeros(0), 5)
    with pytest.raises(ValueError, match="must be two of"):
        rotation_errors(np.eye(4), np.eye(4))
