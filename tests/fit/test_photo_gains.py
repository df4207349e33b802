"""Gains of photos from places that several of them show."""

import numpy as np
import pytest

from gatlas.fit.photo_gains import gain_from_points, gain_ratio, solve_gains
from gatlas.geometry.cameras import fibonacci_views
from gatlas.types import Views


def test_the_gains_of_a_chain_of_photos_are_found_but_for_one_factor():
    gains = np.random.default_rng(0).uniform(0.7, 1.3, (6, 3))
    colors = np.random.default_rng(1).uniform(0.1, 0.7, (5000, 3))
    ratios = [gain_ratio(i, i + 1, colors * gains[i], colors * gains[i + 1]) for i in range(4)]
    found = solve_gains(ratios, 6)
    np.testing.assert_allclose(found[:5] / found[0], gains[:5] / gains[0], rtol=0.02)
    np.testing.assert_allclose(found[5], found[:5].prod(axis=0) ** 0.2, rtol=0.01)  # nothing is known of it
    np.testing.assert_allclose(found.mean(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("gain", [0.7, 1.0, 1.3])
def test_neither_clipping_nor_noise_moves_a_ratio(gain):
    rng = np.random.default_rng(2)
    colors = rng.beta(0.7, 1.0, (20_000, 3))  # many dark ones, and bright ones
    shades = np.exp(rng.normal(scale=0.15, size=(2, 20_000, 1)))  # what depends on the direction
    own, others = (
        np.round(np.clip(colors * factor * shade + rng.normal(scale=0.01, size=colors.shape), 0, 1) * 255) / 255
        for factor, shade in zip((gain, 1.0), shades, strict=True)
    )
    found = gain_ratio(0, 1, own, others)
    np.testing.assert_allclose(np.exp(found.log_ratio), gain, rtol=0.02)


def test_too_few_places_say_nothing():
    assert gain_ratio(0, 1, np.full((9, 3), 0.5), np.full((9, 3), 0.4)) is None
    clipped = np.ones((50, 3))
    assert gain_ratio(0, 1, clipped, np.full((50, 3), 0.8)) is None
    np.testing.assert_array_equal(solve_gains([], 3), 1.0)


def test_one_more_photo_is_compared_with_the_points_that_it_sees_before_others():
    camera = fibonacci_views(1, 40, 30)
    towards = camera.viewmats[0, 2, :3]
    rng = np.random.default_rng(3)
    plane = rng.uniform(-0.4, 0.4, (4000, 3))
    plane -= (plane @ towards)[:, None] * towards
    points = np.concatenate([plane, plane + 2 * towards])  # the second is behind the first
    rgb = np.concatenate([np.full((4000, 3), 0.4), np.full((4000, 3), 0.8)])
    photo = Views(np.full((1, 30, 40, 3), 0.5, dtype=np.float32), camera)
    np.testing.assert_allclose(gain_from_points(points, rgb, photo, 0), 1.25)
    np.testing.assert_array_equal(gain_from_points(points[:3], rgb[:3], photo, 0), 1.0)
