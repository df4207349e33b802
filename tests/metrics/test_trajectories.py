"""ATE with Umeyama against evo, and by an inverse."""

import numpy as np
import pytest

from gatlas.geometry.rotations import so3_exp
from gatlas.metrics.trajectories import trajectory_error, umeyama


def moved(points, rng):
    rotation = so3_exp(rng.normal(size=3))
    return 2.5 * points @ rotation.T + rng.normal(size=3)


def test_a_similarity_is_found_again():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 3))
    truths = moved(points, rng)
    np.testing.assert_allclose(umeyama(points, truths).apply(points), truths, atol=1e-12)
    found = trajectory_error(points, truths)
    assert found.rmse == pytest.approx(0, abs=1e-12)
    assert found.scale == pytest.approx(2.5)


def test_cameras_that_move_with_the_world_see_its_points_where_they_were():
    rng = np.random.default_rng(5)
    points, viewmats = rng.normal(size=(20, 3)), np.tile(np.eye(4), (6, 1, 1))
    viewmats[:, :3, :3] = [so3_exp(each) for each in rng.normal(size=(6, 3))]
    viewmats[:, :3, 3] = rng.normal(size=(6, 3))
    similarity = umeyama(points, moved(points, rng))
    seen, again = (
        np.einsum("cij,nj->cni", placed[:, :3, :3], world) + placed[:, None, :3, 3]
        for placed, world in (
            (viewmats, points),
            (similarity.apply_to_cameras(viewmats), similarity.apply(points)),
        )
    )
    np.testing.assert_allclose(again, 2.5 * seen, atol=1e-12)


@pytest.mark.parametrize("mirrored", [False, True])
def test_errors_are_those_of_evo(mirrored):
    trajectory = pytest.importorskip("evo.core.trajectory")
    metrics = pytest.importorskip("evo.core.metrics")
    rng = np.random.default_rng(1)
    points = rng.normal(size=(30, 3)) * [1, 1, 0.2]
    truths = moved(points * ([1, 1, -1] if mirrored else 1), rng) + 0.3 * rng.normal(size=points.shape)
    quats = np.tile([1.0, 0, 0, 0], (30, 1))
    found, true = (trajectory.PosePath3D(positions_xyz=each, orientations_quat_wxyz=quats) for each in (points, truths))
    _, _, scale = found.align(true, correct_scale=True)
    error = metrics.APE(metrics.PoseRelation.translation_part)
    error.process_data((true, found))
    ours = trajectory_error(points, truths)
    assert ours.rmse == pytest.approx(error.get_statistic(metrics.StatisticsType.rmse), rel=1e-9)
    assert ours.scale == pytest.approx(scale, rel=1e-9)


def test_two_cameras_and_cameras_on_a_line_have_none():
    line = np.arange(5.0)[:, None] * [1, 2, 3]
    assert trajectory_error(line[:2], line[:2]) is None
    assert trajectory_error(line, line) is None


def test_the_error_grows_with_the_noise():
    rng = np.random.default_rng(2)
    truths, noise = rng.normal(size=(2, 20, 3))
    errors = [trajectory_error(truths + amount * noise, truths).rmse for amount in (0.0, 0.1, 0.2, 0.4)]
    assert (np.diff(errors) > 0).all()
