from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from gatlas.geometry.sh import rgb_to_dc
from gatlas.images.composite import composite
from gatlas.metrics.pose_errors import center_errors, rotation_errors
from gatlas.pose.bank import make_feature_bank
from gatlas.pose.locate import LocatedPhoto, locate
from gatlas.pose.motion import rotation_angle
from gatlas.pose.prepare import plain_mask
from gatlas.pose.results import NotFound
from gatlas.pose.solve import reprojection_errors
from tests.helpers.textured import SIDE, K, camera, ellipsoid, photo


@pytest.fixture(scope="module")
def gaussians():
    return ellipsoid()


@pytest.fixture(scope="module")
def bank(gaussians):
    return make_feature_bank(gaussians, K, SIDE, SIDE, side=SIDE)


def clutter(seed):
    rng = np.random.default_rng(seed)
    return gaussian_filter(np.kron(rng.random((20, 20, 3)), np.ones((8, 8, 1))), (3, 3, 0)).astype(np.float32)


def assert_near(found, truth, degrees=0.5, percent=1.0):
    assert isinstance(found, LocatedPhoto)
    assert rotation_errors(found.viewmat[None], truth[None])[0] < degrees
    assert center_errors(found.viewmat[None], truth[None])[0] < percent


@pytest.mark.parametrize(("azimuth", "elevation", "distance", "roll"), [(30, 20, 2.4, 15), (200, -50, 3.0, -20)])
def test_a_cut_out_photo_is_found_from_anywhere(gaussians, bank, azimuth, elevation, distance, roll):
    truth = camera(azimuth, elevation, distance, roll)
    found = locate(bank, photo(gaussians, truth), K)
    assert_near(found, truth)
    assert found.inliers >= 12
    assert len(found.residuals) == found.inliers
    assert found.cost < 0.05


def test_a_photo_with_clutter_behind_the_object_is_found_without_a_mask(gaussians, bank):
    truth = camera(-70, 10, 2.5, 8)
    assert_near(locate(bank, composite(photo(gaussians, truth), clutter(0)), K), truth)


def test_a_larger_photo_of_another_lens_is_found_by_the_same_bank(gaussians, bank):
    truth = camera(120, 35)
    small = composite(photo(gaussians, truth), 1.0)
    larger = np.kron(small, np.ones((2, 2, 1), dtype=np.float32))
    found = locate(bank, larger, K * [[2.0], [2.0], [1.0]])
    assert_near(found, truth)
    cropped = K - np.array([[0, 0, 20.0], [0, 0, 10.0], [0, 0, 0]])
    assert_near(locate(bank, small[10:, 20:], cropped), truth)


def test_what_looks_the_same_after_half_a_turn_is_ambiguous_and_its_twin_the_runner_up():
    body = ellipsoid(repeated=True)
    bank = make_feature_bank(body, K, SIDE, SIDE, side=SIDE)
    truths = [camera(30, 20), camera(140, -10, 2.8, 10), camera(250, 40, 2.4, -15), camera(330, 0)]
    for truth in truths:
        found = locate(bank, photo(body, truth), K)
        assert found.ambiguous
        twin = found.viewmat @ np.diag([-1.0, 1.0, -1.0, 1.0])
        assert rotation_angle(found.runner_up.viewmat, twin) < 2
        assert min(rotation_angle(each, truth) for each in (found.viewmat, twin)) < 1


def test_the_runner_up_of_a_body_with_one_place_is_elsewhere_and_far_behind(gaussians, bank):
    for azimuth in (30, 120, 210, 300):
        truth = camera(azimuth, 15)
        found = locate(bank, photo(gaussians, truth), K)
        assert_near(found, truth)
        assert not found.ambiguous
        assert rotation_angle(found.runner_up.viewmat, found.viewmat) > 10
        assert found.runner_up.cost > found.cost + 0.2


def test_the_inliers_are_told_in_pixels_of_the_photo_as_it_was_given(gaussians, bank):
    truth = camera(75, -15)
    larger = np.kron(composite(photo(gaussians, truth), 1.0), np.ones((2, 2, 1), dtype=np.float32))
    lens = K * [[2.0], [2.0], [1.0]]
    found = locate(bank, larger, lens)
    assert found.points.shape == (found.inliers, 3)
    assert found.pixels.shape == (found.inliers, 2)
    np.testing.assert_allclose(reprojection_errors(found.viewmat, found.points, found.pixels, lens), found.residuals)
    assert found.residuals.max() < 2 * 2 * SIDE / 256  # the threshold of a match, at twice the bank's size


def test_a_photo_without_colors_is_found(gaussians, bank):
    truth = camera(120, 35)
    image = photo(gaussians, truth)
    image[..., :3] = image[..., :3] @ np.float32([[0.299] * 3, [0.587] * 3, [0.114] * 3])
    found = locate(bank, image, K)
    assert_near(found, truth)
    assert found.cost < 0.05


def test_a_guessed_mask_that_misses_a_part_does_not_speak_against_a_camera(gaussians):
    colors = gaussians.sh.copy()
    colors[gaussians.means[:, 1] > 0.3] = rgb_to_dc(np.ones(3, np.float32))
    capped = replace(gaussians, sh=colors)  # its white top is not seen before white
    truth = camera(30, 20)
    image = photo(capped, truth)
    picture = composite(image, 1.0)
    assert plain_mask(picture)[image[..., 3] > 0.9].mean() < 0.9
    found = locate(make_feature_bank(capped, K, SIDE, SIDE, side=SIDE), picture, K)
    assert_near(found, truth)
    assert found.cost < 0.005


def test_matches_on_something_of_other_colors_are_told_of(gaussians, bank):
    image = photo(gaussians, camera(30, 20))
    image[..., :3] = np.roll(image[..., :3], 1, axis=-1)
    gray = np.float32([0.299, 0.587, 0.114])
    # Red, green and blue of another patchwork, as bright as this one: its features are here, its colors are not.
    image[..., :3] *= (photo(gaussians, camera(30, 20))[..., :3] @ gray / (image[..., :3] @ gray + 1e-3))[..., None]
    missed = locate(bank, np.clip(image, 0, 1), K)
    assert "matches agree, but the scene looks unlike the photo there: 1 - correlation is" in missed.reason


def test_the_same_photo_gives_the_same_bits(gaussians, bank):
    image = photo(gaussians, camera(75, -15))
    first, second = (locate(bank, image, K) for _ in range(2))
    assert first.viewmat.tobytes() == second.viewmat.tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_a_photo_of_something_else_is_not_found(bank, seed):
    assert isinstance(locate(bank, clutter(seed), K), NotFound)
    other = photo(ellipsoid(seed + 10), camera(40 * seed, 10))
    assert isinstance(locate(bank, composite(other, clutter(seed)), K), NotFound)


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_an_empty_photo_is_not_found(bank, value):
    missed = locate(bank, np.full((SIDE, SIDE, 3), value, dtype=np.float32), K)
    assert missed == NotFound(
        "the photo has values that are NaN or infinite"
        if np.isnan(value)
        else "no view of the scene has 12 matches that agree"
    )
    assert isinstance(locate(bank, np.zeros((SIDE, SIDE, 4), dtype=np.float32), K), NotFound)


def test_without_features_the_silhouette_finds_the_camera():
    gaussians = ellipsoid(plain=True)
    bank = make_feature_bank(gaussians, K, SIDE, SIDE, side=SIDE)
    truth = camera(50, 25, 2.8, 10)
    found = locate(bank, photo(gaussians, truth), K)
    assert_near(found, truth, degrees=3, percent=5)


def test_a_plain_border_tells_the_object_and_clutter_does_not():
    image = np.full((64, 64, 3), 0.9, dtype=np.float32)
    image[20:40, 10:30] = (0.2, 0.5, 0.7)
    mask = plain_mask(image)
    assert mask[20:40, 10:30].all()
    assert mask.sum() == 400
    assert plain_mask(clutter(0)) is None
    assert plain_mask(np.zeros((64, 64, 3))) is None


def test_the_angle_between_cameras_is_in_degrees():
    assert rotation_angle(camera(0, 0), camera(30, 0)) == pytest.approx(30)


@pytest.mark.usefixtures("no_shape_checks")
def test_wrong_shapes_are_the_callers_mistake(bank):
    with pytest.raises(ValueError, match="photo must"):
        locate(bank, np.zeros((SIDE, SIDE)), K)
    with pytest.raises(ValueError, match="mask must"):
        locate(bank, np.zeros((SIDE, SIDE, 3)), K, mask=np.zeros((4, 4)))
