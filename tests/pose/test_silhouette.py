import numpy as np
import pytest

from gatlas.metrics.pose_errors import center_errors, rotation_errors
from gatlas.pose.candidates import bounding_ball, candidate_cameras
from gatlas.pose.silhouette import make_silhouettes, silhouette_starts
from gatlas.types import Cameras
from tests.helpers.textured import SIDE, K, camera, ellipsoid, photo


@pytest.fixture(scope="module")
def scene():
    gaussians = ellipsoid(plain=True)
    return gaussians, make_silhouettes(gaussians, candidate_cameras(gaussians, K, SIDE, SIDE, 60), np.zeros(3))


def starts_of(scene, viewmat, **options):
    image = photo(scene[0], viewmat)
    return silhouette_starts(scene[1], image[..., :3], image[..., 3], K, **options)


def test_one_of_the_starts_is_near_also_when_the_object_is_small_and_aside(scene):
    truth = camera(40, 25, distance=3.4, roll=12)
    truth[:3, 3] += (0.5, -0.3, 0.0)
    starts = starts_of(scene, truth)
    truths = np.tile(truth, (len(starts), 1, 1))
    near = (rotation_errors(starts, truths) < 25) & (center_errors(starts, truths) < 40)
    assert len(starts) <= 8
    assert near.any()
    depths = starts[near][:, 2, 3]
    assert np.abs(depths / truth[2, 3] - 1).max() < 0.1


def test_a_view_of_the_bank_itself_comes_first_and_unmoved(scene):
    viewmat = scene[1].viewmats[75]
    starts = starts_of(scene, viewmat)
    assert rotation_errors(starts[:1], viewmat[None])[0] < 1
    assert center_errors(starts[:1], viewmat[None])[0] < 6


def test_starts_are_ten_degrees_apart(scene):
    starts = starts_of(scene, camera(100, -30), count=6)
    for i in range(len(starts)):
        others = np.delete(starts, i, axis=0)
        # Centring turns each a little.
        assert rotation_errors(others, np.tile(starts[i], (len(others), 1, 1))).min() > 9


def test_an_empty_mask_has_no_starts(scene):
    assert silhouette_starts(scene[1], np.zeros((40, 40, 3)), np.zeros((40, 40)), K).shape == (0, 4, 4)


def test_cameras_that_see_nothing_are_left_out(scene):
    away = camera(0, 0)
    away[:3, :3] = np.diag([-1.0, 1.0, -1.0]) @ away[:3, :3]
    away[2, 3] = -2.6
    both = Cameras(np.stack([away, camera(0, 0)]), np.stack([K, K]), SIDE, SIDE)
    assert len(make_silhouettes(scene[0], both, np.zeros(3)).viewmats) == 3


def test_the_ball_leaves_out_strays_and_haze():
    gaussians = ellipsoid()
    means = gaussians.means.copy() * 5 + 3
    gaussians = type(gaussians)(
        means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh
    )  # no longer normalized
    opacities = gaussians.opacities.copy()
    opacities[:5], means[:5] = 0.01, 1000.0
    center, radius = bounding_ball(type(gaussians)(means, gaussians.quats, gaussians.scales, opacities, gaussians.sh))
    assert np.allclose(center, 3, atol=0.1)
    assert 4.2 < radius < 4.6
