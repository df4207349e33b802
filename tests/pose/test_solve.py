import numpy as np
import pytest

from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.metrics.pose_errors import center_errors, rotation_errors
from gatlas.pose.solve import grid_correspondences, reprojection_errors, solve_pnp
from gatlas.types import Gaussians, Origin

K = intrinsics(512, 512)


def scene(seed, count, noise=1.0, outliers=0.3):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 3))
    points *= rng.random((count, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
    eye = rng.normal(size=3)
    viewmat = look_at(2.6 * eye[None] / np.linalg.norm(eye))[0]
    seen = (points @ viewmat[:3, :3].T + viewmat[:3, 3]) @ K.T
    pixels = seen[:, :2] / seen[:, 2:] + rng.normal(size=(count, 2)) * noise
    wrong = rng.random(count) < outliers
    pixels[wrong] = rng.random((int(wrong.sum()), 2)) * 512
    return points, pixels, viewmat


def test_noise_and_a_third_of_outliers_leave_a_twentieth_of_a_degree():
    for seed in range(10):
        points, pixels, truth = scene(seed, 4000)
        found = solve_pnp(points, pixels, K, threshold=4.0)
        assert rotation_errors(found.viewmat[None], truth[None])[0] < 0.05
        assert 2700 < found.count == found.inliers.sum() < 2900


@pytest.mark.slow
def test_a_hundred_grids_of_sixteen_thousand_are_all_solved_to_a_twentieth_of_a_degree():
    for seed in range(100):
        points, pixels, truth = scene(seed, 16384)
        found = solve_pnp(points, pixels, K, threshold=4.0)
        assert rotation_errors(found.viewmat[None], truth[None])[0] < 0.05


def test_the_pose_is_that_of_opencvs_ransac_refined_on_its_inliers():
    cv2 = pytest.importorskip("cv2")
    points, pixels, _ = scene(3, 2000)
    ok, turn, shift, inliers = cv2.solvePnPRansac(
        points, pixels, K, None, reprojectionError=4.0, iterationsCount=2000, confidence=0.9999, flags=cv2.SOLVEPNP_AP3P
    )
    assert ok
    for _ in range(2):
        turn, shift = cv2.solvePnPRefineLM(points[inliers[:, 0]], pixels[inliers[:, 0]], K, None, turn, shift)
        theirs = np.eye(4)
        theirs[:3, :3], theirs[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
        inliers = np.flatnonzero(reprojection_errors(theirs, points, pixels, K) < 4.0)[:, None]
    ours = solve_pnp(points, pixels, K, threshold=4.0)
    assert rotation_errors(ours.viewmat[None], theirs[None])[0] < 0.002
    assert center_errors(ours.viewmat[None], theirs[None])[0] < 0.005
    assert set(np.flatnonzero(ours.inliers)) ^ set(inliers[:, 0]) == set()


def test_the_same_input_gives_the_same_bits():
    points, pixels, _ = scene(1, 300, outliers=0.6)
    first, second = (solve_pnp(points, pixels, K, threshold=4.0) for _ in range(2))
    assert first.viewmat.tobytes() == second.viewmat.tobytes()


def test_fewer_than_twelve_agreeing_points_are_no_pose():
    points, pixels, _ = scene(2, 11, noise=0.0, outliers=0.0)
    assert solve_pnp(points, pixels, K, threshold=4.0) is None
    points, pixels, _ = scene(2, 200, outliers=1.0)
    assert solve_pnp(points, pixels, K, threshold=2.0) is None


@pytest.mark.parametrize("points", [np.full((50, 3), np.nan), np.ones((50, 3)), np.full((50, 3), np.inf)])
def test_points_that_say_nothing_are_no_pose(points):
    assert solve_pnp(points, np.random.default_rng(0).random((50, 2)), K, threshold=4.0) is None


def test_rows_that_are_not_finite_are_outliers():
    points, pixels, truth = scene(4, 400, outliers=0.0)
    points[:100] = np.nan
    pixels[100:150] = np.inf
    found = solve_pnp(points, pixels, K, threshold=4.0)
    assert not found.inliers[:150].any()
    assert found.inliers[150:].sum() > 240
    assert rotation_errors(found.viewmat[None], truth[None])[0] < 0.1


def test_a_far_away_scene_and_a_skewed_lens_cost_nothing():
    points, pixels, truth = scene(5, 400, noise=0.0, outliers=0.0)
    skewed = K + np.array([[0, 12.0, 0], [0, 0, 0], [0, 0, 0]])
    pixels = pixels + np.stack([12.0 * (pixels[:, 1] - K[1, 2]) / K[1, 1], np.zeros(400)], axis=1)
    far = np.array([1000.0, -500.0, 200.0])
    moved = truth.copy()
    moved[:3, 3] -= truth[:3, :3] @ far
    found = solve_pnp(points + far, pixels, skewed, threshold=4.0)
    assert np.abs(found.viewmat - moved).max() < 1e-5
    assert found.residual < 1e-4


def test_points_behind_the_camera_are_never_seen():
    errors = reprojection_errors(np.eye(4), np.array([[0, 0, 2.0], [0, 0, -2.0]]), np.full((2, 2), 256.0), K)
    assert list(errors) == [0.0, np.inf]


@pytest.mark.usefixtures("no_shape_checks")
def test_wrong_shapes_and_lenses_are_the_callers_mistake():
    with pytest.raises(ValueError, match="points must be"):
        solve_pnp(np.zeros((5, 2)), np.zeros((5, 2)), K, threshold=4.0)
    with pytest.raises(ValueError, match="threshold must be"):
        solve_pnp(np.zeros((5, 3)), np.zeros((5, 2)), K, threshold=0.0)
    with pytest.raises(ValueError, match="positive focal"):
        solve_pnp(np.zeros((5, 3)), np.zeros((5, 2)), np.zeros((3, 3)), threshold=4.0)


def test_a_pixel_grid_gives_the_centers_of_its_cells_and_leaves_out_haze():
    means = np.arange(24.0).reshape(8, 3)
    opacities = np.array([1, 1, 0.2, 1, 1, 1, 1, 0.0])
    gaussians = Gaussians(
        means, np.tile([1.0, 0, 0, 0], (8, 1)), np.ones((8, 3)), opacities, np.zeros((8, 1, 3)), Origin(grid=(2, 2))
    )
    points, pixels = grid_correspondences(gaussians, 1, 8, 4)
    assert points.tolist() == means[4:7].tolist()
    assert pixels.tolist() == [[2, 1], [6, 1], [2, 3]]
    with pytest.raises(ValueError, match=r"0 \.\.\. 1"):
        grid_correspondences(gaussians, 2, 8, 4)
    with pytest.raises(ValueError, match="not pixel-aligned"):
        grid_correspondences(gaussians[:], 0, 8, 4)
