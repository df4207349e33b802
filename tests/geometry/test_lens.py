"""A lens is undone to the last digits, and only where it has an inverse."""

import numpy as np
import pytest

from gatlas.geometry.lens import Lens, distort, distort_points, undistort_points, undistort_rays, undistorted_intrinsics

K = np.array([[100.0, 0, 50], [0, 110, 40], [0, 0, 1]])
LENSES = [
    Lens(k1=0.25),
    Lens(k1=-0.25),
    Lens(k1=0.2, k2=-0.1, p1=0.01, p2=-0.02),
    Lens(0.1, -0.05, 0.02, 0.01, 0.003, -0.004),
    Lens(k1=-0.4, k2=0.3, k3=-0.1),
    Lens(),
]


@pytest.mark.parametrize("lens", LENSES, ids=str)
def test_what_the_lens_bends_is_made_straight_to_the_last_digits(lens):
    rays = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.4, 0.4, 7)), axis=-1)
    assert np.abs(undistort_rays(lens, distort(lens, rays)) - rays).max() < 1e-12
    pixels = rays * 80 + 45
    back = distort(lens, (undistort_points(pixels, K, lens, K) - K[:2, 2]) / K[[0, 1], [0, 1]])
    assert np.abs(back * K[[0, 1], [0, 1]] + K[:2, 2] - pixels).max() < 1e-9


def test_pixels_are_undistorted_as_by_hand():
    target = K * np.array([[2.0, 2, 1], [2, 2, 1], [1, 1, 1]])
    # r = 0.8 is bent to 0.8 (1 + 0.25 0.64) = 0.928
    found = undistort_points(np.array([[50 + 92.8, 40]]), K, Lens(k1=0.25), target)
    assert found[0] == pytest.approx([50 + 160, 40], abs=1e-9)
    # (0.5, 0) is bent to (0.5 + 3 p2 0.25, p1 0.25), and (0, 0.5) to (p2 0.25, 0.5 + 3 p1 0.25)
    lens = Lens(p1=0.02, p2=0.04)
    assert undistort_rays(lens, np.array([[0.53, 0.005], [0.01, 0.515]])) == pytest.approx(
        np.array([[0.5, 0], [0, 0.5]]), abs=1e-12
    )


@pytest.mark.parametrize("lens", LENSES, ids=str)
def test_pixels_of_the_photo_and_of_the_undistorted_picture_correspond(lens):
    target = undistorted_intrinsics("k.json", K, lens, 100, 80)
    pixels = np.stack(np.meshgrid(np.arange(100) + 0.5, np.arange(80) + 0.5), axis=-1)
    assert np.abs(undistort_points(distort_points(pixels, K, lens, target), K, lens, target) - pixels).max() < 1e-9


def test_pixels_that_no_ray_meets_are_nan_and_the_ray_beyond_the_fold_is_never_taken():
    lens = Lens(k1=-0.25)  # r - r^3 / 4 grows to 0.7698 at r = 1.1547, and is 0.75075 at r = 1.3 again
    points = [[0.7697, 0], [0, 0.7699], [0.75075, 0], [1e12, 1], [np.nan, 0], [np.inf, 0], [0.1, 0]]
    found = undistort_rays(lens, np.array(points))
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False, True, True, True, False]
    assert found[2, 0] < 1.1547
    assert distort(lens, found[2:3])[0] == pytest.approx([0.75075, 0], abs=1e-12)
    assert undistort_rays(lens, np.zeros((0, 2))).shape == (0, 2)


def test_a_pixel_far_outside_costs_the_others_no_digits():
    lens = Lens(k1=0.25, p1=0.01)
    near, far = [0.3, 0.2], [1e200, 0]
    both, alone = undistort_rays(lens, np.array([near, far])), undistort_rays(lens, np.array([near]))
    assert both[0] == pytest.approx(alone[0], abs=1e-14)
