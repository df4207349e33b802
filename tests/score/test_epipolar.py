from dataclasses import replace

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.geometry.rotations import so3_exp
from gatlas.score.epipolar import score_epipolar
from gatlas.types import Views
from tests.helpers.view_sets import (
    blank_views,
    noise_views,
    of_many_objects,
    one_replaced,
    over_white,
    shuffled,
    textured_views,
    turned,
)


def scored(views, **more):
    return score_epipolar(over_white(views) if views.channels == 4 else views, **more)


@pytest.fixture(scope="module")
def truth():
    return scored(textured_views())


def test_true_views_are_registered_and_agree(truth):
    assert truth.score > 0.4
    assert truth.registered == truth.at_pose > 0.8
    assert [view.view for view in truth.views] == list(range(16))
    assert {view.turned for view in truth.views} <= {0, None}


def test_one_picture_from_everywhere_is_no_evidence_and_is_reported():
    views, told = textured_views(), []
    found = scored(Views(np.repeat(views.images[:1], 16, axis=0), views.cameras), report=told.append)
    assert found.score == found.registered == 0
    assert told == ["16 of 16 views are the same picture as their neighbors: that is no evidence, and counts 0"]


def test_one_replaced_view_is_not_registered_and_lowers_the_score(truth):
    found = scored(one_replaced(textured_views(), textured_views(seed=1)))
    assert not found.views[5].registered
    assert found.views[5].score == 0
    assert found.registered == pytest.approx(truth.registered - 1 / 16)
    assert 0.8 * truth.score < found.score < truth.score


@pytest.mark.parametrize("views", [noise_views, blank_views, of_many_objects])
def test_noise_blank_views_and_views_of_different_objects_score_nothing(views):
    found = scored(views())
    assert found.score < 0.03
    assert found.registered < 0.1


def test_cameras_that_are_ever_farther_off_score_ever_less(truth):
    values = [truth.score, *(scored(turned(textured_views(), degrees)).score for degrees in (2, 10))]
    assert values[0] > 1.02 * values[1]
    assert values[1] > 1.5 * values[2]


def test_wrong_cameras_of_consistent_views_are_told_from_views_that_do_not_match():
    found = scored(turned(textured_views(side=128), 12))
    assert found.registered > found.at_pose + 0.2
    angles = [view.turned for view in found.views if view.turned]
    assert 2 < np.median(angles) < 40  # of two cameras that are off by 12 degrees each


def test_shuffled_views_score_hardly_anything(truth):
    assert scored(shuffled(textured_views())).score < 0.25 * truth.score


def test_a_moved_and_scaled_world_scores_the_same(truth):
    views = textured_views()
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = so3_exp(np.array([0.3, -0.8, 0.5])), (0.4, -0.2, 0.7)
    viewmats = views.cameras.viewmats.astype(np.float64) @ motion
    viewmats[:, :3, 3] *= 40
    found = scored(Views(views.images, replace(views.cameras, viewmats=viewmats)))
    assert found.score == pytest.approx(truth.score, rel=0.02)


def test_the_order_of_the_views_does_not_matter(truth):
    order = np.random.default_rng(1).permutation(16)
    assert scored(textured_views()[order]).score == pytest.approx(truth.score, rel=0.03)


def test_the_same_seed_gives_the_same_figures(truth):
    assert scored(textured_views()).to_json() == truth.to_json()


def test_small_pictures_are_enlarged_and_still_told_apart():
    few = scored(textured_views(16, 32)).score
    assert few > 0.3 > 0.03 > scored(one_replaced(noise_views(16, 32), blank_views(16, 32))).score


def test_small_pictures_in_which_little_is_found_are_reported():
    told = []
    scored(noise_views(8, 32), report=told.append)
    assert any("32 x 32" in line for line in told)


def test_views_far_apart_are_reported_or_refused():
    told = []
    scored(textured_views(8, 64), report=told.append)
    assert any("42 degrees apart" in line or "45 degrees apart" in line for line in told), told
    with pytest.raises(GatlasError, match="none can be matched: use --measure field"):
        scored(textured_views(4, 64))


def test_views_without_a_neighbor_are_left_out_and_reported():
    told = []
    found = scored(textured_views()[[0, 1, 2, 8]], report=told.append)
    assert [view.view for view in found.views] == [0, 1, 2]
    assert any(line.startswith("1 of 4 views have no other one") for line in told)


def test_cameras_at_one_place_are_refused():
    views = textured_views()
    with pytest.raises(GatlasError, match="no two views"):
        scored(Views(views.images[:4], views.cameras[[0, 0, 0, 0]]))
