"""Nearest descriptors, against a search through all of them."""

import numpy as np
import pytest

from gatlas.sfm.descriptor_matching import match_descriptors


def descriptors(rng, count):
    """Unit vectors of a few large elements, none above a half, in steps of 1/512, as those of SIFT."""
    vectors = rng.gamma(0.6, size=(count, 128))
    return np.rint(512 * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).clip(0, 255).astype(np.uint8)


def disturbed(rng, known):
    return np.clip(known.astype(np.int64) + np.rint(rng.normal(0, 12, known.shape)).astype(np.int64), 0, 255).astype(
        np.uint8
    )


def matches_one_by_one(a, b):
    """Every angle in integers and double precision, sorted."""
    angles = np.arccos(np.minimum(a.astype(np.int64) @ b.astype(np.int64).T / 512**2, 1))

    def nearest(row):
        order = np.argsort(row, kind="stable")
        second = row[order[1]] if len(row) > 1 else np.pi / 2
        return order[0] if row[order[0]] <= 0.7 and row[order[0]] < 0.8 * second else -1

    there, back = [nearest(row) for row in angles], [nearest(row) for row in angles.T]
    return [[i, j] for i, j in enumerate(there) if j >= 0 and back[j] == i]


@pytest.mark.parametrize(("shared", "more_a", "more_b"), [(300, 250, 40), (1, 0, 0), (3, 0, 600), (0, 20, 30)])
def test_matches_are_those_of_a_search_through_all(shared, more_a, more_b):
    rng = np.random.default_rng(shared)
    known = descriptors(rng, shared)
    a = np.concatenate([known, descriptors(rng, more_a)])
    b = np.concatenate([descriptors(rng, more_b), disturbed(rng, known)])
    a, b = a[rng.permutation(len(a))], b[rng.permutation(len(b))]
    found = match_descriptors(a, b)
    assert found.tolist() == matches_one_by_one(a, b)
    assert found.dtype == np.uint32
    assert len(found) >= 0.8 * shared


def test_what_two_are_equally_near_to_matches_neither():
    a = descriptors(np.random.default_rng(0), 8)
    assert match_descriptors(a, np.concatenate([a, a[2:3]])).tolist() == [[i, i] for i in range(8) if i != 2]
    assert match_descriptors(np.concatenate([a[5:6], a]), a).tolist() == [[i + 1, i] for i in range(8) if i != 5]


@pytest.mark.parametrize(("n", "m"), [(0, 5), (5, 0), (0, 0)])
def test_photos_without_features_have_no_matches(n, m):
    rng = np.random.default_rng(0)
    assert match_descriptors(descriptors(rng, n), descriptors(rng, m)).shape == (0, 2)
