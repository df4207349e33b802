"""Errors of cameras, and the areas by NoPoSplat's published formula."""

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.geometry.rotations import so3_exp
from gatlas.score.options import PosesOptions
from gatlas.score.poses import pooled_areas, score_poses
from tests.helpers.view_sets import textured_views, turned

OPTIONS = PosesOptions(truth="x")
UNSCALED = PosesOptions(truth="x", unscaled=True)


def cameras(count=8):
    return np.asarray(orbit(count, 16, 16, elevation=20.0).viewmats, dtype=np.float64)


def names(count=8):
    return [f"{i}.png" for i in range(count)]


def published_areas(errors, thresholds=(5, 10, 20)):
    """compute_pose_error's areas as NoPoSplat's evaluation prints them (after SuperGlue)."""
    errors = np.array(sorted(errors))
    recall = (np.arange(len(errors)) + 1) / len(errors)
    errors, recall = np.r_[0.0, errors], np.r_[0.0, recall]
    areas = []
    for threshold in thresholds:
        last = np.searchsorted(errors, threshold)
        r, e = np.r_[recall[:last], recall[last - 1]], np.r_[errors[:last], threshold]
        areas.append(np.trapezoid(r, x=e) / threshold)
    return areas


def relative_errors(found, truth):
    """Angles of the second camera relative to the first, of the rotation and of the direction of the motion."""
    pair = []
    for one, two in (found, truth):
        pair.append(two @ np.linalg.inv(one))
    rotation = np.degrees(np.arccos(np.clip((np.trace(pair[0][:3, :3].T @ pair[1][:3, :3]) - 1) / 2, -1, 1)))
    a, b = (np.linalg.inv(each)[:3, 3] for each in pair)
    angle = np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))
    return max(rotation, min(angle, 180 - angle))


def test_true_cameras_are_perfect_with_and_without_scale():
    for options, limit in ((OPTIONS, 1e-4), (UNSCALED, 1e-4)):
        found = score_poses(cameras(), cameras(), names(), options).figures()
        assert found["rotation"] < limit
        assert found["position"] < limit
        assert found["auc@5"] > 0.9999
        assert found["ate"] < 1e-6


def test_areas_of_pairs_are_those_of_the_published_formula():
    views = textured_views(16, 16)
    truth = np.asarray(views.cameras.viewmats, dtype=np.float64)
    found = np.asarray(turned(views, 6.0).cameras.viewmats, dtype=np.float64)
    scenes, errors = [], []
    for i in range(0, 16, 2):
        pair = found[i : i + 2].copy()
        pair[:, :3, 3] *= 3.0  # another scale
        scenes.append(score_poses(pair, truth[i : i + 2], ["a", "b"], UNSCALED).to_json())
        errors.append(relative_errors(pair, truth[i : i + 2]))
    areas = pooled_areas(scenes)
    np.testing.assert_allclose(list(areas.values()), published_areas(errors), atol=1e-5)  # cameras are float32
    assert 0 < areas["auc@5"] < areas["auc@20"] < 1


def test_a_camera_that_was_not_found_is_never_recalled():
    found = cameras()
    found[[0, 3]] = np.nan
    for options in (OPTIONS, UNSCALED):
        score = score_poses(found, cameras(), names(), options)
        assert score.figures()["found"] == pytest.approx(6 / 8 if options is OPTIONS else 5 / 7)
        assert score.figures()["auc@20"] == pytest.approx(score.figures()["found"], abs=1e-4)
    assert score.first == "1.png"
    assert score.to_json()["photos"][0] == {"photo": "0.png", "rotation": None, "position": None}


def test_positions_are_relative_to_where_the_axes_meet_or_to_the_target():
    truth = cameras()
    found = truth.copy()
    found[:, 2, 3] += 0.1  # every camera farther along its axis
    distance = np.linalg.norm(np.linalg.inv(truth)[0, :3, 3])
    assert score_poses(found, truth, names(), OPTIONS).figures()["position"] == pytest.approx(10 / distance, rel=1e-4)
    far = PosesOptions(truth="x", target="0,0,100")
    assert score_poses(found, truth, names(), far).figures()["position"] < 0.2
    with pytest.raises(GatlasError, match="three numbers"):
        score_poses(found, truth, names(), PosesOptions(truth="x", target="0,1"))
    with pytest.raises(GatlasError, match="three numbers"):
        score_poses(found, truth, names(), PosesOptions(truth="x", target="0,nan,0"))


def in_another_world(viewmats, scale, rotation, translation):
    """The cameras after the world's points X became scale * rotation @ X + translation."""
    move = np.eye(4)
    move[:3] = np.column_stack([scale * rotation, translation])
    placed = viewmats @ np.linalg.inv(move)
    placed[:, :3] *= scale  # of the camera's axes, which are of unit length again
    return placed


def test_a_similarity_of_the_world_is_undone_by_the_alignment():
    truth = cameras()
    found = in_another_world(truth, 0.3, so3_exp(np.array([0.5, -1.0, 2.0])), [4.0, -1.0, 7.0])
    aligned = PosesOptions(truth="x", align="similarity")
    figures = score_poses(found, truth, names(), aligned).figures()
    assert figures["rotation"] == pytest.approx(0, abs=1e-4)
    assert figures["position"] == pytest.approx(0, abs=1e-4)
    assert score_poses(found, truth, names(), OPTIONS).figures()["rotation"] > 30


def test_alignment_leaves_the_errors_of_the_cameras():
    truth = cameras()
    turned_alike = so3_exp(np.radians([0.0, 2.0, 0.0]))
    found = truth.copy()
    found[:, :3] = turned_alike @ found[:, :3]  # about their own centers: the positions are the true ones
    found[2] = np.nan
    score = score_poses(found, truth, names(), PosesOptions(truth="x", align="similarity"))
    assert score.figures()["rotation"] == pytest.approx(2, abs=1e-4)
    assert score.figures()["position"] == pytest.approx(0, abs=1e-4)
    assert np.isnan(score.errors.rotation[2])


def test_cameras_without_one_alignment_are_one_line():
    line = cameras(4)
    line[:] = np.eye(4)
    line[:, 0, 3] = np.arange(4)
    options = PosesOptions(truth="x", align="similarity", target="0,0,9")
    with pytest.raises(GatlasError, match=r"three cameras that are not on a line, and 4 were found.*--unscaled"):
        score_poses(line, line, names(4), options)
    with pytest.raises(GatlasError, match="align is not for --unscaled"):
        PosesOptions(truth="x", align="similarity", unscaled=True)


def test_errors_grow_with_the_disturbance():
    views = textured_views(8, 16)
    truth = views.cameras.viewmats
    rows = [
        score_poses(turned(views, angle).cameras.viewmats, truth, names(), OPTIONS).figures() for angle in (0, 2, 5, 9)
    ]
    for name, sign in (("rotation", 1), ("position", 1), ("ate", 1), ("auc@5", -1), ("auc@10", -1), ("auc@20", -1)):
        values = [row[name] for row in rows]
        assert (sign * np.diff(values) >= 0).all(), (name, values)
        assert values[0] != values[-1], name
