"""Cameras of photos from Python, without a command line: what is found, what is kept and what is reported."""

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.geometry.lens import Lens
from gatlas.io.photos.photo_loader import UndistortedPhoto
from gatlas.metrics.pose_errors import rotation_errors
from gatlas.pose import PoseOptions, find_cameras
from gatlas.pose.refinement import failed_refinement
from gatlas.pose.solve import Correspondences
from tests.helpers.textured import SIDE, K, camera, correspondences, ellipsoid, photo

TRUTH = camera(30, 20, 2.4, 10)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def gaussians():
    return ellipsoid()


def photo_of(image, name="a.png"):
    return UndistortedPhoto(name, image, K, Lens(), K)


def options(**changes):
    return PoseOptions("scene.ply", **changes)


def test_a_camera_is_found_and_refined_and_another_photo_is_not(gaussians):
    photos = [photo_of(photo(gaussians, TRUTH)), photo_of(np.full((SIDE, SIDE, 3), np.nan, np.float32), "nan.png")]
    messages, done = [], []
    found, lost = find_cameras(
        gaussians, photos, options(), report=messages.append, on_photo=lambda: done.append(len(done))
    )
    assert rotation_errors(found.viewmat[None], TRUTH[None])[0] < 0.2
    assert (found.method, found.reason, found.not_refined, found.ambiguous) == ("render", None, None, False)
    assert found.inliers >= 12
    assert found.loss_after < found.loss_before
    assert lost.viewmat is None
    assert lost.details() == {"reason": "the photo has values that are NaN or infinite"}
    assert messages == [f"nan.png: no camera found: {lost.reason}"]
    assert done == [0, 1]


def test_what_looks_the_same_from_behind_is_ambiguous_with_the_other_camera_as_runner_up():
    body = ellipsoid(repeated=True)
    messages = []
    (found,) = find_cameras(body, [photo_of(photo(body, TRUTH))], options(refine="none"), report=messages.append)
    assert found.ambiguous
    details = found.details()
    assert details["ambiguous"] is True
    assert details["runner_up"]["viewmat"] == found.runner_up.viewmat.tolist()
    turn = rotation_errors(found.runner_up.viewmat[None], found.viewmat[None])[0]
    assert turn > 170
    assert messages == [f"a.png: ambiguous: a camera {turn:.0f} degrees away fits nearly as well: see runner_up"]


@pytest.mark.parametrize(("wrong", "kept"), [(20, True), (40, False)])
def test_a_published_refinement_that_fails_leaves_pnps_camera_where_enough_agree(monkeypatch, gaussians, wrong, kept):
    given = {}

    def fails(*args, **words):
        given.update(words)
        return failed_refinement("it explains nothing")

    monkeypatch.setattr("gatlas.pose.refine_published.refine_published", fails)
    image = photo_of(np.zeros((SIDE, SIDE, 3), dtype=np.float32))
    matches = Correspondences(*correspondences(TRUTH, wrong))
    (found,) = find_cameras(gaussians, [image], options(refine="noposplat"), matches=matches)
    assert given["background"] is None  # the color of the photo's border, where none is named
    assert given["side"] == 256
    assert (found.viewmat is not None) == kept
    assert found.not_refined == ("it explains nothing" if kept else None)
    assert found.reason == (None if kept else "PnP found one with 20 inliers, but it explains nothing")


def test_given_cameras_are_refined_together(gaussians):
    truths = np.stack([TRUTH, camera(150, -15, 2.7, -5)])
    photos = [photo_of(photo(gaussians, truth)) for truth in truths]
    starts = truths.copy()
    starts[:, 0, 3] += 0.02
    results = find_cameras(gaussians, photos, options(init="noisy.json"), init=starts)
    assert rotation_errors(np.stack([result.viewmat for result in results]), truths).max() < 0.2
    assert [result.method for result in results] == ["init", "init"]
    assert all(result.loss_after < result.loss_before for result in results)


def test_a_grid_needs_a_splat_that_was_sampled_from_these_photos(gaussians):
    with pytest.raises(GatlasError, match="has no pixel grid"):
        find_cameras(gaussians, [photo_of(photo(gaussians, TRUTH))], options(find="grid"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"matches": "a.npz", "init": "b.json"}, "--matches and --init exclude each other"),
        ({"candidates": "c.json", "views": 20}, "--views is the number of views from all sides"),
        ({"candidates": "c.json", "find": "grid"}, "--find grid cannot be combined with --candidates"),
        ({"init": "b.json", "refine": "none"}, "--init only refines cameras"),
        ({"init": "b.json", "refine": "noposplat"}, "photos one by one"),
        ({"focal": True, "refine": "none"}, "--focal needs --refine photometric"),
        ({"refine": "noposplat", "background": "transparent"}, "must be a color"),
        ({"background": "pinkish"}, "is not a color"),
        ({"min_inliers": 3}, "min_inliers must be at least 4, got 3"),
    ],
)
def test_options_that_exclude_each_other_are_refused(words, message):
    with pytest.raises(GatlasError, match=message):
        options(**words)
