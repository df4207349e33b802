"""The choice of a sample's views: neighbors of a video, and views around an object."""

import numpy as np

from gatlas.datasets.view_policy import OrbitViews, VideoNeighbors
from gatlas.geometry.cameras import look_at


def test_the_gap_grows_from_its_start_to_its_end():
    policy = VideoNeighbors(gap=(45, 90), gap_start=25, gap_steps=100)
    assert [policy.gaps(step) for step in (0, 50, 100, 1000)] == [(25, 25), (35, 58), (45, 90), (45, 90)]


class Orbit:
    """Photos on rings about an object, without pictures: (azimuth, elevation) of each camera in degrees."""

    key = name = "orbit"

    def __init__(self, angles, world=None):
        a, e = np.radians(np.array(angles, dtype=float).T)
        eyes = 2 * np.stack([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)], 1)
        self.viewmats = look_at(eyes)
        if world is not None:
            self.viewmats = self.viewmats @ np.linalg.inv(world)

    def __len__(self):
        return len(self.viewmats)


RINGS = [(azimuth, elevation) for elevation in (0, 40) for azimuth in range(0, 360, 30)]


def test_context_views_are_a_spacing_apart_at_the_height_of_the_first():
    policy = OrbitViews(context=4, targets=3, spacing=90.0)
    seen = set()
    for seed in range(30):
        context, targets = policy.choose(Orbit(RINGS), np.random.default_rng(seed), None)
        angles = np.array(RINGS)[context]
        assert ((angles[:, 0] - angles[0, 0]) % 360).tolist() == [0, 90, 180, 270]
        assert len(set(angles[:, 1])) == 1
        assert len({*context, *targets}) == 7
        seen.add(context[0])
    assert len(seen) > 10


def test_the_vertical_is_found_in_any_world():
    """Of a scene that is turned, as COLMAP's are, the same photos are drawn."""
    turn = np.eye(4)
    turn[:3, :3] = [[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]]
    turn[:3, 3] = [3.0, -2.0, 1.0]
    policy = OrbitViews(context=4, targets=2, max_elevation=20.0)
    for seed in range(10):
        drawn = [policy.choose(Orbit(RINGS, world), np.random.default_rng(seed), None) for world in (None, turn)]
        assert drawn[0] == drawn[1]


def test_context_views_are_taken_from_near_the_horizon_and_targets_from_anywhere():
    policy = OrbitViews(context=4, targets=8, spacing=None, max_elevation=20.0)
    contexts, targets = zip(
        *(policy.choose(Orbit(RINGS), np.random.default_rng(seed), None) for seed in range(20)), strict=True
    )
    assert {RINGS[i][1] for context in contexts for i in context} == {0}
    assert {RINGS[i][1] for each in targets for i in each} == {0, 40}
    assert policy.fault(Orbit([(0, 0), (90, 0), (180, 0), (0, 60), (90, 60)])) == (
        "has 3 photos from within 20 degrees of the horizon and needs 4"
    )
    assert policy.fault(Orbit(RINGS)) is None


def test_a_source_and_a_target_are_every_ordered_pair():
    policy, scene = OrbitViews(context=1, targets=1, spacing=None), Orbit([(0, 0), (100, 10), (200, 20)])
    pairs = {
        (context[0], targets[0])
        for context, targets in (policy.choose(scene, np.random.default_rng(seed), None) for seed in range(60))
    }
    assert pairs == {(i, j) for i in range(3) for j in range(3) if i != j}
