import numpy as np
import pytest
from scipy.spatial import cKDTree

from gatlas.fit.blue_noise import choose_blue_noise


def square(n, seed=0):
    points = np.random.default_rng(seed).random((n, 3))
    points[:, 2] = 0.0
    return points


@pytest.mark.parametrize("count", [1, 17, 400, 3999, 4000])
def test_exactly_as_many_as_asked_for_each_once(count):
    chosen = choose_blue_noise(square(4000), np.ones(4000), count)
    assert len(np.unique(chosen)) == count


def test_points_keep_their_distance():
    points = square(8000)
    chosen = points[choose_blue_noise(points, np.ones(8000), 500)]
    nearest = cKDTree(chosen).query(chosen, k=2)[0][:, 1]
    random_nearest = cKDTree(points[:500]).query(points[:500], k=2)[0][:, 1]
    ideal = np.sqrt(1 / 500)
    assert nearest.min() > 0.55 * ideal  # random points: about 0.02
    assert random_nearest.min() < 0.2 * ideal


def test_density_is_followed():
    points = square(40_000)
    density = np.where(points[:, 0] < 0.5, 4.0, 1.0)
    chosen = points[choose_blue_noise(points, density, 2000)]
    share = (chosen[:, 0] < 0.5).mean()
    assert share == pytest.approx(0.8, abs=0.04)


def test_duplicates_are_taken_when_nothing_else_is_left():
    points = np.repeat(square(10), 5, axis=0)
    assert len(np.unique(choose_blue_noise(points, np.ones(50), 30))) == 30


def test_too_many_are_refused():
    with pytest.raises(ValueError, match="between 1 and 5"):
        choose_blue_noise(square(5), np.ones(5), 6)
