"""Many cameras together: what they share is found, and every one is."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.geometry.rotations import so3_exp
from gatlas.images.composite import composite
from gatlas.pose import bundle, joint
from gatlas.pose.compare import Camera, make_target
from gatlas.pose.levenberg import PyramidLevel
from gatlas.pose.refinement import RefineOptions, evaluate_camera, failed_refinement, refine, verified
from gatlas.types import Cameras, Views
from tests.helpers.blobs import SIDE, Counted, K, camera_at, errors, lump, perturbed, photo_of

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = RefineOptions(levels=(PyramidLevel(48, 8, blur=1.5), PyramidLevel(SIDE, 4)), steps=2)
ANGLES = (0.0, 80.0, 150.0, 220.0, 290.0)


@pytest.fixture(scope="module")
def gaussians():
    return lump()


@pytest.fixture(scope="module")
def truths():
    return [camera_at(angle, 25.0 - i * 9, 2.4 + 0.1 * i) for i, angle in enumerate(ANGLES)]


def views_of(gaussians, truths, starts, matrix=K):
    photos = np.stack([photo_of(gaussians, truth) for truth in truths])
    return Views(photos, Cameras(np.stack(starts), np.tile(matrix, (len(starts), 1, 1)), SIDE, SIDE))


def test_noisy_poses_are_refined(gaussians, truths):
    rng = np.random.default_rng(0)
    views = views_of(gaussians, truths, [perturbed(truth, 1.4, 0.9, rng) for truth in truths])
    seen = []
    found = bundle.refine_bundle(gaussians, views, options=QUICK, progress=lambda *counts: seen.append(counts))
    assert [each.failure for each in found.photos] == [""] * 5
    assert max(max(errors(each.viewmat, truth)) for each, truth in zip(found.photos, truths, strict=True)) < 0.2
    assert seen == [(i, 5) for i in range(1, 6)]
    assert found.similarity.scale == pytest.approx(1.0, abs=0.02)


def test_a_frame_of_another_size_and_turn_is_found_before_the_photos(gaussians, truths):
    # One photo alone is too far off; what all of them share is seen by all.
    rotation, scale, shift = so3_exp(np.array([0.1, -0.15, 0.1])), 1.3, np.array([0.1, -0.05, 0.1])
    there = bundle.Similarity(1 / scale, rotation.T, -rotation.T @ shift / scale)
    starts = [bundle.to_scene_frame(truth, there) for truth in truths]
    found = bundle.refine_bundle(gaussians, views_of(gaussians, truths, starts), options=QUICK)
    assert max(max(errors(each.viewmat, truth)) for each, truth in zip(found.photos, truths, strict=True)) < 0.2
    assert found.similarity.scale == pytest.approx(scale, rel=0.01)
    np.testing.assert_allclose(found.similarity.rotation, rotation, atol=0.005)
    np.testing.assert_allclose(found.similarity.shift, shift, atol=0.02)


def test_a_camera_that_sees_nothing_moves_along_with_the_frame(gaussians, truths):
    rotation, shift = so3_exp(np.array([0.05, -0.1, 0.05])), np.array([0.1, -0.05, 0.1])
    there = bundle.Similarity(1.0, rotation.T, -rotation.T @ shift)
    aside = camera_at(60.0)
    aside[0, 3] += 5.0  # past the object
    starts = [Camera(bundle.to_scene_frame(each, there), K) for each in (*truths, aside)]
    targets = [make_target(photo_of(gaussians, each), side=64) for each in (*truths, aside)]
    moved = joint.align_frames([gaussians] * len(starts), targets, starts, QUICK, [()] * len(starts)).cameras
    before, after = (errors(each.viewmat, aside) for each in (starts[-1], moved[-1]))
    assert before[0] > 5
    assert after[0] < 1


def test_one_photo_that_is_far_off_is_found_from_where_the_others_are(gaussians, truths):
    starts = [*truths[:4], perturbed(truths[4], 60.0, 5.0, np.random.default_rng(1))]
    views = views_of(gaussians, truths, starts)
    # Its own start leads nowhere: the carried pose of a wrong start is wrong as well, and it says so.
    found = bundle.refine_bundle(gaussians, views, options=QUICK)
    assert [bool(each.failure) for each in found.photos[:4]] == [False] * 4
    assert found.photos[4].failure or max(errors(found.photos[4].viewmat, truths[4])) < 0.3


def test_one_focal_length_is_shared(gaussians, truths):
    rng = np.random.default_rng(2)
    wrong = K * [[1.06], [1.06], [1.0]]
    wrong[:2, 2] = K[:2, 2]
    views = views_of(gaussians, truths, [perturbed(truth, 1.0, 1.0, rng) for truth in truths], wrong)
    levels = (*QUICK.levels, PyramidLevel(SIDE, 12, blur=0.7))
    found = bundle.refine_bundle(gaussians, views, options=RefineOptions(levels=levels, steps=0, focal=True))
    focals = [each.K[0, 0] for each in found.photos]
    assert np.ptp(focals) == 0
    assert focals[0] == pytest.approx(K[0, 0], rel=0.01)


def test_a_similarity_is_recovered_in_spite_of_outliers(truths):
    known = bundle.Similarity(0.7, so3_exp(np.array([1.0, 2.0, -0.5])), np.array([3.0, -1.0, 2.0]))
    given = [Camera(truth, K) for truth in truths]
    after = [refined_at(bundle.to_scene_frame(truth, known)) for truth in truths]
    after[1] = refined_at(camera_at(10.0))
    after[3] = failed_refinement("nothing")
    scale, rotation, shift = bundle.fit_similarity(given, after)
    assert scale == pytest.approx(0.7, rel=0.05)
    np.testing.assert_allclose(rotation, known.rotation, atol=0.02)
    np.testing.assert_allclose(shift, known.shift, atol=0.1)


def test_one_camera_has_no_scale_and_none_is_the_identity(truths):
    known = bundle.Similarity(1.0, so3_exp(np.array([0.1, 0.0, 0.3])), np.array([0.0, 1.0, 2.0]))
    one = bundle.fit_similarity([Camera(truths[0], K)], [refined_at(bundle.to_scene_frame(truths[0], known))])
    assert one.scale == 1.0
    np.testing.assert_allclose(one.rotation, known.rotation, atol=1e-9)
    np.testing.assert_allclose(one.shift, known.shift, atol=1e-9)
    none = bundle.fit_similarity([Camera(truths[0], K)], [failed_refinement("nothing")])
    np.testing.assert_array_equal(none.rotation, np.eye(3))


def rough(gaussians):
    """Gaussians that are not quite those of the photos: their lowest loss is beside the right camera."""
    moved = gaussians.means + np.random.default_rng(4).normal(0, 0.01, gaussians.means.shape).astype(np.float32)
    return replace(gaussians, means=moved)


@pytest.mark.parametrize("behind", ["nothing", "clutter"])
@pytest.mark.parametrize("focal", [False, True])
def test_exact_cameras_stay_with_gaussians_that_are_not_exact(gaussians, truths, behind, focal):
    views = views_of(gaussians, truths, truths)
    if behind == "clutter":
        clutter = np.random.default_rng(5).random((SIDE, SIDE, 3)).astype(np.float32)
        views = replace(views, images=np.stack([composite(image, clutter) for image in views.images]))
    scene, options = rough(gaussians), replace(QUICK, focal=focal)
    alone = refine(scene, views.images[0], truths[0], K, options=QUICK)
    assert max(errors(alone.viewmat, truths[0])) > 0.05
    found = bundle.refine_bundle(scene, views, options=options)
    for each, truth in zip(found.photos, truths, strict=True):
        np.testing.assert_array_equal(each.viewmat, truth)
        np.testing.assert_array_equal(each.K, K)
        assert each.loss_after == each.loss_before
    assert found.similarity.scale == pytest.approx(1.0, abs=1e-9)


def test_the_loss_before_is_that_of_the_cameras_given_not_of_those_moved_together(gaussians, truths):
    there = bundle.Similarity(1.0, so3_exp(np.array([0.0, 0.1, 0.0])), np.zeros(3))
    starts = [bundle.to_scene_frame(truth, there) for truth in truths]
    views = views_of(gaussians, truths, starts)
    for options in (QUICK, replace(QUICK, focal=True)):
        found = bundle.refine_bundle(gaussians, views, options=options)
        for each, image, start in zip(found.photos, views.images, starts, strict=True):
            target = make_target(image, side=QUICK.side)
            assert each.loss_before == evaluate_camera(gaussians, target, Camera(start, K), QUICK)[0]
            assert each.loss_after < 0.1 * each.loss_before


def test_cameras_are_not_moved_together_where_that_raises_their_mean_loss(gaussians, truths, monkeypatch):
    def lost(scenes, targets, cameras, options, known):
        away = [camera._replace(viewmat=camera_at(angle + 100)) for camera, angle in zip(cameras, ANGLES, strict=True)]
        return joint.JointCameras(away, known)

    monkeypatch.setattr(bundle, "align_frames", lost)
    rng = np.random.default_rng(0)
    starts = [perturbed(truth, 1.4, 0.9, rng) for truth in truths]
    found = bundle.refine_bundle(gaussians, views_of(gaussians, truths, starts), options=QUICK)
    assert max(max(errors(each.viewmat, truth)) for each, truth in zip(found.photos, truths, strict=True)) < 0.2


def test_the_shared_frame_of_exact_cameras_is_where_they_are(gaussians, truths):
    photos = [photo_of(gaussians, truth, K * [[4.0], [4.0], [1.0]], 4 * SIDE) for truth in truths]
    cameras = [Camera(truth, K * [[4.0], [4.0], [1.0]]) for truth in truths]
    targets = [make_target(photo, side=64, full=4 * SIDE) for photo in photos]
    moved = joint.align_frames([gaussians] * len(cameras), targets, cameras, QUICK, [()] * len(cameras)).cameras
    furthest = max(max(errors(each.viewmat, truth)) for each, truth in zip(moved, truths, strict=True))
    assert furthest < 0.1  # 0.58 where the small picture's own pixels widen the Gaussians


def gray_of(image):
    luma = image[..., :3] @ np.float32([0.299, 0.587, 0.114])
    return np.concatenate([np.repeat(luma[..., None], 3, axis=-1), image[..., 3:]], axis=-1)


def test_the_focal_length_of_gray_photos_is_found_with_gray_gaussians(gaussians, truths):
    rng = np.random.default_rng(2)
    wrong = K * [[1.03], [1.03], [1.0]]
    wrong[:2, 2] = K[:2, 2]
    views = views_of(gaussians, truths, [perturbed(truth, 1.0, 1.0, rng) for truth in truths], wrong)
    views = replace(views, images=np.stack([gray_of(image) for image in views.images]))
    levels = (*QUICK.levels, PyramidLevel(SIDE, 12, blur=0.7))
    found = bundle.refine_bundle(gaussians, views, options=RefineOptions(levels=levels, steps=0, focal=True))
    assert found.photos[0].K[0, 0] == pytest.approx(K[0, 0], rel=0.005)
    assert min(each.agreement for each in found.photos) > 0.99


def test_each_photo_has_gaussians_of_its_own_kind_of_colors(gaussians, truths):
    photos = [photo_of(gaussians, truths[0]), gray_of(photo_of(gaussians, truths[1]))]
    colored, gray = bundle.match_colors(gaussians, [make_target(photo) for photo in photos])
    assert colored is gaussians
    assert np.ptp(gray.sh, axis=-1).max() < 1e-6


def test_a_refinement_that_fails_or_runs_off_leaves_a_camera_that_agrees(gaussians, truths):
    clutter = np.random.default_rng(5).random((SIDE, SIDE, 3)).astype(np.float32)
    target = make_target(composite(photo_of(gaussians, truths[0]), clutter), side=SIDE)
    aside = truths[0].copy()
    aside[0, 3] += 0.8
    found = [failed_refinement("nothing"), refined_at(aside)]
    right, wrong = truths[0], perturbed(truths[0], 15.0, 0.0, np.random.default_rng(3))
    for start, stays in ((right, True), (wrong, False)):
        kept = [kept_of(gaussians, target, start, each, QUICK) for each in found]
        assert [each.failure == "" and np.array_equal(each.viewmat, start) for each in kept] == [stays, stays]


def test_a_camera_that_agrees_by_halves_is_lost_with_one_that_runs_off(gaussians, truths):
    clutter = np.random.default_rng(5).random((SIDE, SIDE, 3)).astype(np.float32)
    target = make_target(composite(photo_of(gaussians, truths[0]), clutter), side=SIDE)
    aside = truths[0].copy()
    aside[0, 3] += 0.8
    start = perturbed(truths[0], 8.0, 0.0, np.random.default_rng(3))
    kept = kept_of(gaussians, target, start, refined_at(aside), replace(QUICK, agreement=0.3))
    assert "it moved away from the pixels that were compared" in kept.failure


@pytest.mark.parametrize("levels", [QUICK.levels, ()], ids=["levels", "none"])
@pytest.mark.parametrize("focal", [False, True])
@pytest.mark.parametrize("exact", [False, True], ids=["noisy", "exact"])
def test_no_picture_is_rendered_twice_for_many_photos(gaussians, truths, monkeypatch, levels, focal, exact):
    rng = np.random.default_rng(0)
    starts = [truth if exact else perturbed(truth, 1.4, 0.9, rng) for truth in truths[:3]]
    views = views_of(gaussians, truths[:3], starts)
    rendered = Counted(monkeypatch)
    options = replace(QUICK, levels=levels, focal=focal, steps=4)
    found = bundle.refine_bundle(rough(gaussians), views, options=options)
    assert [each.failure for each in found.photos] == [""] * 3
    assert rendered.again() == 0


def test_masks_must_be_as_many_as_the_photos(gaussians, truths):
    with pytest.raises(ValueError, match="masks must be as many as the views, 5, got 1"):
        bundle.refine_bundle(gaussians, views_of(gaussians, truths, truths), masks=[None])


def test_a_photo_without_anything_fails_alone(gaussians, truths):
    starts = [truths[0], np.diag([-1.0, 1.0, -1.0, 1.0]) @ truths[1], truths[2]]
    found = bundle.refine_bundle(gaussians, views_of(gaussians, truths[:3], starts), options=QUICK)
    assert [bool(each.failure) for each in found.photos] == [False, True, False]


def refined_at(viewmat):
    found = refine(lump(50), np.zeros((8, 8, 3)), np.full((4, 4), np.nan), K)
    return type(found)(viewmat, K, 1.0, 0.5, 1.0, found.exposure, 1)


def kept_of(gaussians, target, start, found, options):
    given = evaluate_camera(gaussians, target, Camera(start, K), options)
    stay = verified(gaussians, given, given.loss, 0, options)
    losses = bundle.shared_losses(gaussians, given, found, options)
    return bundle.choose_cameras([stay], [found], [losses], options)[0]
