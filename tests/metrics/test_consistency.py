import numpy as np
import pytest

from gatlas.geometry.cameras import orbit
from gatlas.metrics.consistency import (
    AREA_LIMIT,
    agreement,
    chance_of_as_many,
    fundamental_matrix,
    nearest_views,
    sampson_distances,
    three_view_errors,
)
from gatlas.types import Cameras

CAMERAS = orbit(12, 100, 80, elevation=20)
POINTS = np.random.default_rng(0).uniform(-0.5, 0.5, (30, 3))


def seen(index, points=POINTS, cameras=CAMERAS):
    """Pixels of points in a camera's picture."""
    viewmat, K = cameras.viewmats[index].astype(np.float64), cameras.Ks[index].astype(np.float64)
    projected = (points @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
    return projected[:, :2] / projected[:, 2:]


def side_by_side(*centers):
    """Cameras with parallel axes, of focal length 50, at centers along x."""
    viewmats = np.tile(np.eye(4), (len(centers), 1, 1))
    viewmats[:, 0, 3] = -np.array(centers, dtype=float)
    K = np.array([[50.0, 0, 50], [0, 50, 40], [0, 0, 1]])
    return Cameras(viewmats, np.tile(K, (len(centers), 1, 1)), 100, 80)


def test_pixels_of_one_point_have_no_epipolar_residual():
    F = fundamental_matrix(CAMERAS, 0, 2)
    np.testing.assert_allclose(sampson_distances(F, seen(0), seen(2)), 0, atol=1e-4)


def test_the_sampson_distance_of_parallel_cameras_is_the_difference_of_rows_over_root_two():
    F = fundamental_matrix(side_by_side(0, 1), 0, 1)
    first = np.array([[10.0, 20.0], [60.0, 30.0]])
    second = np.array([[30.0, 23.0], [5.0, 30.0]])
    np.testing.assert_allclose(sampson_distances(F, first, second), [3 / np.sqrt(2), 0], atol=1e-9)


def test_pixels_of_one_point_in_three_views_have_no_error():
    pixels = np.stack([seen(0), seen(1), seen(2)])
    np.testing.assert_allclose(three_view_errors(CAMERAS, (0, 1, 2), pixels), 0, atol=1e-4)


def test_a_third_view_finds_a_point_that_slid_along_its_epipolar_line():
    cameras = side_by_side(0, 1, 2)
    pixels = np.array([[[60.0, 40.0]], [[50.0, 40.0]], [[32.0, 40.0]]])  # the last is 8 pixels off: disparities 10, 18
    F = fundamental_matrix(cameras, 0, 2)
    assert sampson_distances(F, pixels[0], pixels[2]) == pytest.approx(0, abs=1e-9)
    assert 1 < three_view_errors(cameras, (0, 1, 2), pixels)[0] < 8


def test_a_point_behind_the_cameras_is_infinitely_wrong():
    pixels = np.array([[[30.0, 40.0]], [[40.0, 40.0]], [[50.0, 40.0]]])  # disparities below 0
    assert three_view_errors(side_by_side(0, 1, 2), (0, 1, 2), pixels)[0] == np.inf


def test_the_nearest_views_of_an_orbit_are_those_on_both_sides():
    near = nearest_views(CAMERAS.viewmats, 4, farthest=90)
    assert set(near[0][:2]) == {1, 11}
    assert set(near[0]) == {1, 2, 10, 11}
    assert set(nearest_views(CAMERAS.viewmats, 4, farthest=40)[0]) == {1, 11}
    assert all(len(each) == 0 for each in nearest_views(CAMERAS.viewmats, 4, farthest=10))


def test_cameras_at_one_place_are_no_neighbors():
    viewmats = CAMERAS.viewmats[[0, 0, 1]]
    assert [list(each) for each in nearest_views(viewmats, 4, farthest=90)] == [[2], [2], [0, 1]]
    assert all(len(each) == 0 for each in nearest_views(viewmats[:2], 4, farthest=90))


def test_agreement_is_one_without_residuals_and_zero_at_chance():
    chance = np.linspace(0, 2 * AREA_LIMIT, 100)
    assert agreement(np.zeros(5), chance) == pytest.approx(1, abs=1e-3)
    assert agreement(chance, chance) == 0
    assert agreement(np.full(5, AREA_LIMIT * 2), chance) < 0
    assert agreement(np.zeros(0), chance) == agreement(np.zeros(3), np.zeros(3)) == 0


def test_agreement_falls_with_growing_residuals():
    chance = np.linspace(0, 1, 200)
    values = [agreement(np.full(10, share * AREA_LIMIT), chance) for share in (0.1, 0.3, 0.6, 0.9)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4


def test_chance_is_the_tail_of_the_binomial_distribution():
    assert chance_of_as_many(1, 2, 0.5) == pytest.approx(0.75)
    assert chance_of_as_many(3, 3, 0.1) == pytest.approx(1e-3)
    assert chance_of_as_many(0, 3, 0.1) == 1
