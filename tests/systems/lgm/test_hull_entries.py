"""The entry of rays into the visual hull, by hand for a ball."""

import numpy as np
import pytest
import torch

from gatlas.geometry.cameras import orbit
from gatlas.systems.lgm.hull_entries import HALVINGS, SAMPLES, SPAN, HullViews, hull_entries, inside_all

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE, RADIUS, DISTANCE = 64, 0.55, 1.5
STEP = 2 * SPAN * DISTANCE / (SAMPLES - 1) / 2**HALVINGS
PIXEL = 2 * DISTANCE * np.tan(np.radians(23.5)) / SIDE  # at the center


def ball():
    """Four views of an orbit of a ball of RADIUS about the center."""
    cameras = orbit(4, SIDE, SIDE, elevation=0.0, distance=DISTANCE, fov=47.0)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    outline = cameras.Ks[0, 0, 0] * np.tan(np.arcsin(RADIUS / DISTANCE))
    alphas = np.tile((np.hypot(x - SIDE / 2, y - SIDE / 2) < outline).astype(np.float32), (4, 1, 1))
    Ks = cameras.Ks / np.array([[SIDE], [SIDE], [1.0]], dtype=np.float32)
    return HullViews(*(torch.from_numpy(each) for each in (alphas, cameras.viewmats, Ks)))


def test_points_are_inside_where_all_views_show_them_as_solid():
    points = torch.tensor([[[0.0, 0, 0], [0.53, 0, 0], [0, 0.6, 0], [0.3, 0, 0.3], [0.7, 0, 0]]])
    # (0.7, 0, 0) is in the middle of two pictures and outside of the others.
    assert inside_all(points, *ball()).tolist() == [[True, True, False, True, False]]


def test_rays_enter_the_hull_where_the_cones_of_the_other_views_begin():
    # The first view's camera is at (0, 0, 1.5); the top left of 2 x 2 pixels looks to the left, up and forward.
    slope = 0.5 * np.tan(np.radians(23.5))
    ray = np.array([-slope, slope, -1.0]) / np.hypot(1, slope * np.sqrt(2))
    eye = np.array([0, 0, DISTANCE])
    along = np.linspace(-SPAN * DISTANCE, SPAN * DISTANCE, 100_001)
    points = eye - (eye @ ray) * ray + along[:, None] * ray
    sides = np.array([[DISTANCE, 0, 0], [-DISTANCE, 0, 0], [0, 0, -DISTANCE]])
    cosines = [(side - points) @ side / DISTANCE / np.linalg.norm(side - points, axis=1) for side in sides]
    expected = along[(np.array(cosines) > np.cos(np.arcsin(RADIUS / DISTANCE))).all(axis=0)].min()
    found = hull_entries(ball(), (2, 2), DISTANCE)
    assert found.shape == (4, 2, 2)
    np.testing.assert_allclose(found, expected, atol=STEP + PIXEL)  # all pixels look alike


def test_rays_beside_the_object_stay_at_the_point_nearest_to_the_center():
    found = hull_entries(ball(), (8, 8), DISTANCE)
    assert (found[:, 0, 0] == 0).all()
    assert (found[:, 4, 4] < -0.3).all()


@pytest.mark.parametrize("chosen", [[0], [0, 2]])
def test_a_hull_without_an_end_says_nothing_of_depth(chosen):
    assert (hull_entries(HullViews(*(each[chosen] for each in ball())), (4, 4), DISTANCE) == 0).all()


def test_an_object_that_no_pixel_shows_has_no_hull():
    masks = ball()
    assert (hull_entries(masks._replace(alphas=torch.zeros_like(masks.alphas)), (4, 4), DISTANCE) == 0).all()
