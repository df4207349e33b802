"""Frames: balls by hand, half turns by their matrices."""

import numpy as np
import pytest

from gatlas.geometry.frames import bounding_ball, half_turn
from gatlas.geometry.rotations import quats_to_matrices


def test_the_bounding_ball_is_about_the_middle_of_the_box():
    center, radius = bounding_ball(np.array([[0.0, 0, 0], [4, 0, 0], [0, 2, 0]]))
    assert center.tolist() == [2, 1, 0]
    assert radius == pytest.approx(np.sqrt(5))


def test_strays_do_not_move_a_ball_that_leaves_out_tails():
    line = np.zeros((1001, 3))
    line[:, 0] = np.arange(1001)
    line[-1] = 1e6
    center, radius = bounding_ball(line, tail=0.01, share=0.99)
    assert center == pytest.approx([500, 0, 0])
    assert radius == pytest.approx(495)


@pytest.mark.parametrize(("axis", "matrix"), [("x", np.diag([1, -1, -1])), ("z", np.diag([-1, -1, 1]))])
def test_a_half_turn_is_its_matrix_and_its_own_inverse(axis, matrix):
    rng = np.random.default_rng(0)
    means, quats, sh = rng.normal(size=(9, 3)), rng.normal(size=(9, 4)), rng.normal(size=(9, 16, 3))
    turned = half_turn(means, quats, sh, axis)
    assert np.array_equal(turned[0], means @ matrix)
    np.testing.assert_allclose(quats_to_matrices(turned[1]), matrix @ quats_to_matrices(quats), atol=1e-12)
    again = half_turn(*turned, axis)
    assert np.array_equal(again[0], means)
    np.testing.assert_allclose(quats_to_matrices(again[1]), quats_to_matrices(quats), atol=1e-12)
    assert np.array_equal(again[2], sh)
