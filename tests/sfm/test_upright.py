"""The vertical of photos that were taken upright."""

import numpy as np
import pytest

from gatlas.geometry.cameras import look_at
from gatlas.geometry.rotations import quats_to_matrices
from gatlas.io.images import turn
from gatlas.sfm.upright import _DOWN, _RIGHT, upright_rotation

EYES = np.array([[3, 1, 0], [1, 2, 3], [-2, 0.5, 2], [-3, 2, -1.0]])
TILT = quats_to_matrices(np.array([0.6, 0.4, -0.5, 0.3]))


def tilted(viewmats):
    """The same cameras in a world that is turned."""
    turned = viewmats.copy()
    turned[:, :3, :3] = viewmats[:, :3, :3] @ TILT.T
    return turned


def test_up_becomes_y_and_the_first_camera_looks_along_minus_z():
    viewmats = tilted(look_at(EYES))
    rotation = upright_rotation(viewmats, [1] * 4)
    assert rotation @ TILT @ [0, 1, 0] == pytest.approx([0, 1, 0], abs=1e-9)
    forward = rotation @ viewmats[0, 2, :3]
    assert forward[0] == pytest.approx(0, abs=1e-9)
    assert forward[2] < 0
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_cameras_on_a_straight_line_take_the_mean_of_their_own_vertical():
    eyes = np.stack([np.linspace(-1, 1, 5), np.full(5, 1.0), np.full(5, 4.0)], axis=1)
    viewmats = tilted(look_at(eyes, eyes - [0, 0, 4]))
    assert upright_rotation(viewmats, [1] * 5) @ TILT @ [0, 1, 0] == pytest.approx([0, 1, 0], abs=1e-9)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_axes_of_stored_pixels_are_those_of_the_turned_photo(orientation):
    rows, columns = np.mgrid[:4.0, :6.0]
    x, y = turn(columns, orientation), turn(rows, orientation)
    assert (x[0, 1] - x[0, 0], y[0, 1] - y[0, 0]) == _RIGHT[orientation - 1]
    assert (x[1, 0] - x[0, 0], y[1, 0] - y[0, 0]) == _DOWN[orientation - 1]
