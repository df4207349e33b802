"""Pairs of photos that are compared."""

import numpy as np

from gatlas.sfm.pairs import ALIKE, all_pairs, pairs_alike, pairs_in_order


def test_few_photos_are_all_compared():
    assert all_pairs(4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_frames_are_compared_with_the_next_ones_and_at_distances_that_double():
    steps = {j - i for i, j in pairs_in_order(100)}
    assert steps == {*range(1, 11), 16, 32, 64}
    assert all(0 <= i < j < 100 for i, j in pairs_in_order(100))
    assert len(set(pairs_in_order(100))) == len(pairs_in_order(100))


def test_photos_that_look_alike_are_compared():
    rng = np.random.default_rng(0)
    count = 2 * (ALIKE + 2)
    things = rng.integers(0, 256, (2, 60, 128))  # even photos show one, odd photos the other
    noise = rng.integers(-9, 10, (count, 60, 128))
    photos = [np.clip(things[i % 2] + noise[i], 0, 255).astype(np.uint8) for i in range(count)]
    pairs = pairs_alike(photos, np.random.default_rng(0))
    assert all((j - i) % 2 == 0 for i, j in pairs)
    assert {i for pair in pairs for i in pair} == set(range(count))


def test_photos_without_features_are_no_error():
    nothing = np.empty((0, 128), dtype=np.uint8)
    assert pairs_alike([nothing, nothing], np.random.default_rng(0)) == [(0, 1)]
