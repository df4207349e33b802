from dataclasses import replace

import numpy as np
import pytest

from gatlas.atlas import EncodeOptions, decode, encode, plane_permutation
from gatlas.atlas.check import check_atlas
from gatlas.transport import fibonacci_sphere
from gatlas.types import Atlas, Gaussians, Origin

SIZE = 24
PLANES = ("offset", "color", "opacity", "scale", "rotation")


@pytest.fixture(scope="module")
def gaussians():
    rng = np.random.default_rng(0)
    n = SIZE * SIZE - 20
    directions = rng.normal(size=(n, 3))
    means = directions / np.linalg.norm(directions, axis=1, keepdims=True) * [1.0, 0.5, 0.8]
    return Gaussians(
        means=means.astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (n, 1)),
        scales=np.full((n, 3), 0.03, dtype=np.float32),
        opacities=rng.uniform(0.1, 1, n).astype(np.float32),
        sh=np.clip(means[:, None] * 1.7, -1.7, 1.7).astype(np.float32),
        origin=Origin(normalized=True),
    )


@pytest.fixture(scope="module")
def atlas(gaussians):
    return encode(gaussians, EncodeOptions(size=SIZE))


def rearranged(atlas, order):
    """The same Gaussians, with offsets that are right for their new cells."""
    sphere = fibonacci_sphere(SIZE * SIZE)[plane_permutation(SIZE, "equirect")]
    planes = {name: getattr(atlas, name).reshape(SIZE * SIZE, -1)[order] for name in PLANES}
    positions = (atlas.offset.reshape(-1, 3) + sphere)[order]
    planes["offset"] = (positions - sphere).astype(np.float32)
    shaped = {name: plane.reshape(SIZE, SIZE, -1) for name, plane in planes.items()}
    return Atlas(**shaped, meta=atlas.meta)


def test_a_sound_atlas_has_no_problems(atlas, gaussians):
    check = check_atlas(atlas, gaussians)
    assert check.problems == []
    assert check.bijection
    assert check.direction == "forward"
    assert check.gap < 1e-6
    assert check.round_trip < 1e-5
    assert check.gaussians == len(gaussians)
    assert check.neighbor_distance < 0.35 * check.random_distance
    assert 0.5 < check.smoothness_recovered <= 1.0


def test_scrambled_cells_are_found(atlas):
    check = check_atlas(rearranged(atlas, np.random.default_rng(1).permutation(SIZE * SIZE)))
    assert any("scrambled" in problem for problem in check.problems)
    assert check.gap > 0.1
    assert abs(check.smoothness_recovered) < 0.2


def test_planes_scrambled_without_their_offsets_are_found(atlas):
    order = np.random.default_rng(1).permutation(SIZE * SIZE)
    scrambled = replace(atlas, offset=atlas.offset.reshape(-1, 3)[order].reshape(SIZE, SIZE, 3))
    check = check_atlas(scrambled)
    assert check.gap > 0.01
    assert any("is not: cells or offsets were moved" in problem for problem in check.problems)


def test_an_atlas_that_claims_no_transport_is_not_held_to_one(atlas):
    moved = replace(atlas, offset=atlas.offset * 1.05, meta={**atlas.meta, "transport": {"gap": None}})
    assert check_atlas(moved).problems == []


def test_an_inverted_permutation_is_found(atlas):
    """Laid out by the inverse of the sphere-to-plane map, as a reader with the wrong direction does."""
    cells = plane_permutation(SIZE, "equirect")
    inverse = np.argsort(cells)
    check = check_atlas(rearranged(atlas, inverse[inverse]))
    assert any("inverse" in problem for problem in check.problems)


def test_a_wrong_count_is_found(atlas):
    check = check_atlas(replace(atlas, meta={**atlas.meta, "count": 7}))
    assert any("meta counts" in problem for problem in check.problems)


def test_a_changed_value_is_found(atlas, gaussians):
    changed = atlas.color.copy()
    changed[atlas.opacity[..., 0] > 0] = 1 - changed[atlas.opacity[..., 0] > 0]
    check = check_atlas(replace(atlas, color=changed), gaussians)
    assert any("does not give the Gaussians back" in problem for problem in check.problems)
    assert len(decode(atlas)) == len(gaussians)
