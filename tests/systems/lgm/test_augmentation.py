"""Augmentations of input views, against values worked by hand."""

import numpy as np
import pytest
import torch

from gatlas.geometry.cameras import camera_centers, orbit, orbit_angles
from gatlas.systems.lgm.augmentation import distort, jitter, knot_pixels, source_coordinates, turned

pytestmark = pytest.mark.usefixtures("one_thread")


class Fixed:
    """In place of a generator of random numbers: what it draws is always the same."""

    def __init__(self, value, integer=8):
        self.value, self.integer = value, integer

    def random(self, size):
        return np.full(size, self.value)

    def integers(self, low, high):
        assert low <= self.integer < high
        return self.integer


def test_an_axis_of_three_knots_is_stretched_and_squeezed():
    # The middle knot, at the source's middle, lies on pixel 2 of 8: two pixels take -1 .. 0, the others 0 .. 1.
    coordinates = source_coordinates(np.array([0, 2, 8]))
    np.testing.assert_allclose(coordinates, [-1, 0, 0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-6)


def test_knots_move_by_a_quarter_of_their_distance_and_the_ends_stay():
    even = knot_pixels(9, 256, Fixed(0.5))
    np.testing.assert_array_equal(even, np.arange(9) * 32)
    shifted = knot_pixels(9, 256, Fixed(0.999999))  # 0.25 / 8 of 256 pixels are 8
    np.testing.assert_array_equal(shifted, [0, *(np.arange(1, 8) * 32 + 7), 256])
    rng = np.random.default_rng(0)
    counts = {len(np.flatnonzero(np.diff(source_coordinates(knot_pixels(8, 64, rng))) == 0)) for _ in range(5)}
    assert counts == {6}  # where two cells meet, their common coordinate comes twice


def test_an_undistorted_picture_is_itself_but_for_its_edges_which_fade_to_nothing():
    picture = torch.ones(1, 1, 64, 64)
    found = distort(picture, Fixed(0.5))[0, 0]
    # The outermost coordinate, 1, is the edge of the last pixel: half of it is outside.
    assert float(found[32, 0]) == pytest.approx(0.5)
    assert float(found[0, 0]) == pytest.approx(0.25)
    torch.testing.assert_close(found[1:-1, 1:-1], torch.ones(62, 62), atol=1e-3, rtol=0)


def test_pictures_are_distorted_in_different_ways_by_a_few_pixels():
    columns = torch.arange(64.0).expand(3, 1, 64, 64) / 64
    found = distort(columns, np.random.default_rng(1))
    assert not torch.equal(found[0], found[1])
    moved = (found - columns)[..., 8:-8, 8:-8].abs().amax(dim=(1, 2, 3)) * 64
    assert (moved > 0.5).all()
    assert (moved < 5).all()


def test_a_turn_about_the_vertical_is_another_camera_of_the_orbit():
    first, wanted = (orbit(1, 8, 8, elevation=0.0, azimuth=a, distance=1.5).viewmats[0] for a in (20, 35))
    np.testing.assert_allclose(turned(first, np.radians(15), 0.0), wanted, atol=1e-6)


def test_a_turn_about_the_right_axis_lowers_the_camera():
    level, low = (orbit(1, 8, 8, elevation=e, azimuth=20, distance=1.5).viewmats[0] for e in (0, -9))
    np.testing.assert_allclose(turned(level, 0.0, np.radians(9)), low, atol=1e-6)


def test_a_turn_in_both_is_first_about_the_right_axis():
    # The camera on +z: up y, right x. By hand: a quarter about x and then a quarter about y take (0, 0, 1) to
    # (0, -1, 0), which stays.
    camera = orbit(1, 8, 8, elevation=0.0, distance=1.0).viewmats[0]
    moved = turned(camera, np.pi / 2, np.pi / 2)
    np.testing.assert_allclose(camera_centers(moved[None])[0], [0, -1, 0], atol=1e-6)
    np.testing.assert_allclose(moved[2, :3], [0, 1, 0], atol=1e-6)  # still looks at the origin


def test_jitter_keeps_the_distance_and_is_bounded():
    cameras = orbit(40, 8, 8, elevation=0.0, distance=1.5).viewmats
    moved = jitter(cameras, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(camera_centers(moved), axis=1), 1.5, atol=1e-5)
    np.testing.assert_allclose(moved[:, :3, 3], cameras[:, :3, 3], atol=1e-5)  # the center stays where it was seen
    cosines = (np.einsum("nij,nij->n", moved[:, :3, :3], cameras[:, :3, :3]) - 1) / 2
    turns = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    assert 5 < turns.max() <= np.hypot(18, 9) + 0.1
    elevations = orbit_angles(moved)[1]
    assert np.abs(elevations).max() <= 9.1
