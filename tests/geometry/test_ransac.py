"""RANSAC by OpenCV, where poselib has no wheel, against RANSAC by poselib."""

import sys

import numpy as np
import pytest

from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.geometry.ransac import absolute_pose, has_poselib, relative_pose
from gatlas.metrics.pose_errors import rotation_errors

FOCAL = (500.0, 480.0)
FREE = {"threshold": 4.0, "iterations": 10_000}


@pytest.fixture
def opencv(monkeypatch):
    """Call a function as if poselib were not installed."""

    def called(function, *args, **options):
        with monkeypatch.context() as hidden:
            hidden.setitem(sys.modules, "poselib", None)
            assert not has_poselib()
            return function(*args, **options)

    return called


@pytest.fixture
def poselib():
    pytest.importorskip("poselib", reason="poselib is not installed")


def seen_points(seed, count, outliers, noise=1.0):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (count, 3))
    viewmat = look_at(2.6 * rng.normal(size=(1, 3)))[0]
    viewmat[:3, 3] = [0.1, -0.1, 2.6]
    local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    pixels = local[:, :2] / local[:, 2:] * FOCAL + rng.normal(size=(count, 2)) * noise
    wrong = rng.random(count) < outliers
    pixels[wrong] = rng.uniform(-256, 256, (int(wrong.sum()), 2))
    return points, pixels, viewmat


def inliers_of(viewmat, points, pixels):
    local = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    return np.linalg.norm(local[:, :2] / local[:, 2:] * FOCAL - pixels, axis=1) < FREE["threshold"]


@pytest.mark.usefixtures("poselib")
@pytest.mark.parametrize(("count", "outliers"), [(2000, 0.3), (300, 0.6), (300, 0.8), (300, 0.9), (30, 0.4)])
def test_opencv_ends_on_the_inliers_and_the_pose_of_poselib(opencv, count, outliers):
    for seed in range(3):
        points, pixels, _ = seen_points(seed, count, outliers)
        ours = opencv(absolute_pose, points, pixels, FOCAL, **FREE)
        theirs = absolute_pose(points, pixels, FOCAL, **FREE)
        assert np.array_equal(inliers_of(ours, points, pixels), inliers_of(theirs, points, pixels))
        assert np.abs(ours - theirs).max() < 1e-5


def test_without_noise_opencv_finds_the_camera_itself(opencv):
    points, pixels, truth = seen_points(7, 200, outliers=0.5, noise=0.0)
    assert np.abs(opencv(absolute_pose, points, pixels, FOCAL, **FREE) - truth).max() < 1e-6


def test_the_same_input_gives_the_same_bits_without_poselib_too(opencv):
    points, pixels, _ = seen_points(1, 300, outliers=0.8)
    first, second = (opencv(absolute_pose, points, pixels, FOCAL, **FREE) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("points", [np.zeros((50, 3)), np.ones((50, 3)), np.full((50, 3), 1e300)])
def test_points_that_say_nothing_are_no_pose_or_one_without_inliers(opencv, points):
    pixels = np.random.default_rng(0).uniform(-256, 256, (50, 2))
    found = opencv(absolute_pose, points, pixels, FOCAL, **FREE)
    with np.errstate(all="ignore"):
        assert found is None or inliers_of(found, points, pixels).sum() < 12


def two_views(seed, count, outliers, noise):
    """Matches of two cameras of different focal lengths, and the motion between them."""
    rng = np.random.default_rng(seed)
    Ks = np.stack([intrinsics(512, 512), intrinsics(512, 512)])
    Ks[1, :2, :2] *= 1.3
    viewmats = look_at(np.array([[0.0, 0.4, 2.6], [1.2, 0.1, 2.4]]))
    points = rng.uniform(-0.8, 0.8, (count, 3))
    local = np.einsum("vij,nj->vni", viewmats[:, :3, :3], points) + viewmats[:, None, :3, 3]
    pixels = np.einsum("vij,vnj->vni", Ks, local)
    pixels = pixels[..., :2] / pixels[..., 2:] + rng.normal(size=(2, count, 2)) * noise
    wrong = rng.random(count) < outliers
    pixels[1, wrong] = rng.uniform(0, 512, (int(wrong.sum()), 2))
    motion = viewmats[1] @ np.linalg.inv(viewmats[0])
    motion[:3, 3] /= np.linalg.norm(motion[:3, 3])
    return pixels, Ks, motion


@pytest.mark.parametrize("outliers", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("hidden", [False, True], ids=["poselib", "opencv"])
def test_the_motion_between_two_cameras_is_found(opencv, outliers, hidden):
    if not hidden:
        pytest.importorskip("poselib", reason="poselib is not installed")
    for seed in range(3):
        pixels, Ks, truth = two_views(seed, 200, outliers, noise=0.5)
        arguments = (*pixels, Ks)
        options = {"threshold": 3.0, "iterations": 1000}
        motion = opencv(relative_pose, *arguments, **options) if hidden else relative_pose(*arguments, **options)
        assert np.linalg.norm(motion[:3, 3]) == pytest.approx(1.0, rel=0.01)
        assert rotation_errors(motion[None], truth[None])[0] < 1.0
        cosine = motion[:3, 3] @ truth[:3, 3] / np.linalg.norm(motion[:3, 3])
        assert cosine > np.cos(np.radians(2.0))


def test_matches_in_one_place_are_no_motion(opencv):
    Ks = np.stack([intrinsics(512, 512)] * 2)
    alike = np.full((30, 2), 256.0)
    found = opencv(relative_pose, alike, alike, Ks, threshold=3.0, iterations=1000)
    assert found is None or np.isfinite(found).all()
