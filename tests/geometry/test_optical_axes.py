"""The point that cameras look at follows from their axes."""

import numpy as np

from gatlas.geometry.cameras import look_at, orbit
from gatlas.geometry.optical_axes import across_axes, meeting_point


def test_cameras_around_a_point_meet_in_it():
    eyes = np.array([[3.0, 0, 0.5], [0, 2.0, 1], [-1.5, -1, 2]])
    np.testing.assert_allclose(meeting_point(look_at(eyes, (0.5, 0.25, -0.5)), 0.01), [0.5, 0.25, -0.5], atol=1e-9)


def test_skew_axes_come_nearest_to_each_other_in_the_middle():
    viewmats = look_at(np.array([[3.0, 0, 1], [0.0, 3, -1]]), np.array([[0.0, 0, 1], [0, 0, -1]]))
    np.testing.assert_allclose(meeting_point(viewmats, 0.01), [0, 0, 0], atol=1e-9)


def test_parallel_axes_meet_nowhere():
    viewmats = orbit(1, 8, 8).viewmats
    assert meeting_point(viewmats, 0.01) is None
    assert meeting_point(np.concatenate([viewmats, viewmats]), 0.01) is None


def test_the_projections_take_the_axes_away():
    viewmats = orbit(5, 8, 8, elevation=30).viewmats.astype(np.float64)
    projections = across_axes(viewmats)
    np.testing.assert_allclose(np.einsum("cij,cj->ci", projections, viewmats[:, 2, :3]), 0, atol=1e-6)
    np.testing.assert_allclose(np.einsum("cij,cj->ci", projections, viewmats[:, 0, :3]), viewmats[:, 0, :3], atol=1e-6)
