"""Surfaces from opaque photos: they are where the scene is, and the fit begins on them."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from gatlas.errors import GatlasError
from gatlas.fit import FitOptions, Interrupted, fit
from gatlas.fit.exposure import corrected_psnr, solve_exposure
from gatlas.fit.photo_budget import with_count
from gatlas.fit.photos import fit_photos, rgba_views
from gatlas.fit.scene_frame import SceneFrame, frame_of_cameras, views_into_frame
from gatlas.fit.seeds import backdrop_gaussians
from gatlas.fit.stereo import find_surfaces, matching_views
from gatlas.geometry.cameras import fibonacci_views
from gatlas.geometry.sh import dc_to_rgb
from gatlas.types import LOG_SCALE_RANGE, MixedViews, Views, join_cameras
from tests.helpers.room import HALF, photograph


@pytest.fixture(scope="module")
def photos():
    """Twelve photos of a floor and two walls with boxes and balls before them."""
    return photograph(12, 96, 72, closed=False)


def test_points_lie_on_the_surfaces_and_have_their_colors(photos):
    frame = frame_of_cameras(photos.cameras)
    cloud = find_surfaces(views_into_frame(photos, frame), 4000, np.random.default_rng(0)).cloud
    assert len(cloud.points) > 3000
    own = cloud.points * frame.radius + frame.center
    from_walls = np.abs(own + HALF).min(axis=1)
    furniture = (np.abs(own[:, [0, 2]]) < 1.7).all(axis=1)  # what stands in the room, and the floor below it
    assert np.median(from_walls[~furniture]) < 0.05
    assert (own > -HALF - 0.3).all(axis=1).mean() > 0.99
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-6)
    assert (np.abs(cloud.normals).max(axis=1)[from_walls < 0.02] > 0.8).mean() > 0.7  # the walls face along the axes


def exposed(views, gains):
    images = np.round(np.clip(views.images * gains[:, None, None], 0, 1) * 255) / 255
    return Views(images.astype(np.float32), views.cameras)


@pytest.fixture(scope="module")
def gains(photos):
    """Of each photo and channel."""
    rng = np.random.default_rng(1)
    return rng.uniform(0.7, 1.3, (len(photos), 1)) * rng.uniform(0.95, 1.05, (len(photos), 3))


@pytest.mark.parametrize("matched", [64, 7])
def test_photos_of_unequal_exposure_have_the_points_and_colors_of_equal_ones(photos, gains, matched, monkeypatch):
    monkeypatch.setattr("gatlas.fit.stereo.MOST_PHOTOS", matched)
    frame = frame_of_cameras(photos.cameras)
    equal, unequal = (
        find_surfaces(views_into_frame(each, frame), 100_000, np.random.default_rng(0))
        for each in (photos, exposed(photos, gains))
    )
    np.testing.assert_allclose(equal.gains, 1.0, atol=0.015)
    np.testing.assert_allclose(unequal.gains, gains / gains.mean(axis=0), rtol=0.02)
    near, index = cKDTree(equal.cloud.points).query(unequal.cloud.points)
    same = near < 0.01
    assert same.mean() > 0.5
    colors = unequal.cloud.rgb[same] * gains.mean(axis=0)
    assert np.median(np.abs(colors - equal.cloud.rgb[index[same]])) < 0.03


def test_a_fit_of_photos_of_unequal_exposure_that_begins_on_the_surfaces_is_within_a_decibel(photos, gains):
    options = FitOptions(count=1500, iterations=100, resolution=96)
    found, equal = (fit_photos(each, options) for each in (exposed(photos, gains), photos))

    def likeness(gaussians):
        frame = SceneFrame(np.array(gaussians.origin.center), gaussians.origin.scale)
        judges = views_into_frame(rgba_views(photos), frame)
        return corrected_psnr(gaussians, judges, solve_exposure(gaussians, judges))

    assert likeness(found.gaussians) > likeness(equal.gaussians) - 1.0
    trained = np.setdiff1d(np.arange(len(photos)), found.exposure.held_out)
    relative = (found.exposure.photos.gains / gains)[trained]
    np.testing.assert_allclose(relative / relative.mean(axis=0), 1.0, atol=0.03)


def test_photos_are_matched_with_those_beside_them(photos):
    for index, others in enumerate(matching_views(photos.cameras)):
        assert index not in others
        assert 2 <= len(others) <= 4
        assert max(abs(other - index) for other in others) <= 4
    apart = fibonacci_views(3, 48, 48)  # 90 degrees and more between them
    assert matching_views(apart) == [[], [], []]


def test_a_fit_that_begins_on_the_surfaces_is_better_than_one_at_random(photos):
    options = FitOptions(count=1500, iterations=60, resolution=96)
    auto, random = (fit_photos(photos, options, init=init) for init in ("auto", "random"))
    assert len(auto.gaussians) == 1500
    assert auto.ssim > random.ssim + 0.15
    assert auto.psnr > random.psnr


def test_what_is_behind_the_subject_has_the_color_of_what_is_seen_beside_it():
    """The photo is red with a green subject in the middle; the rest of the photos are not known."""
    cameras = fibonacci_views(3, 40, 30)
    images = np.zeros((3, 30, 40, 3), dtype=np.float32)
    images[..., 0] = 1.0
    images[:, 8:22, 10:30] = (0.0, 1.0, 0.0)
    subject = np.zeros((15, 20), dtype=bool)
    subject[4:11, 5:15] = True
    views, rng = Views(images, cameras), np.random.default_rng
    plain = backdrop_gaussians(views, 200, rng(0))
    behind = backdrop_gaussians(views, 200, rng(0), subjects=(subject, None, subject))
    np.testing.assert_array_equal(behind.means, plain.means)
    green = dc_to_rgb(plain.sh[:, 0])[:, 1] > 0.5
    assert 20 < green.sum() < 180
    np.testing.assert_allclose(dc_to_rgb(behind.sh[:, 0]), np.tile([1.0, 0.0, 0.0], (200, 1)), atol=1e-6)


def test_the_subject_of_a_photo_is_what_is_in_the_unit_ball(photos):
    frame = frame_of_cameras(photos.cameras)
    framed = views_into_frame(photos, frame)
    found = find_surfaces(framed, 1000, np.random.default_rng(0))
    shares = np.array([subject.mean() for subject in found.subjects])
    assert (shares > 0.1).all()
    assert (shares < 0.9).all()


def test_what_is_far_may_be_larger_than_the_gaussians_of_an_object(photos):
    found = fit_photos(photos, FitOptions(count=400, iterations=5, resolution=48))
    sizes, distances = found.gaussians.scales.max(axis=1), np.linalg.norm(found.gaussians.means, axis=1)
    large = sizes > np.exp(LOG_SCALE_RANGE[1]) * 1.001
    assert large.any()
    assert distances[large].min() > 2.0


def test_a_scene_resumes_to_the_same_bytes(photos):
    options = FitOptions(count=300, iterations=12, resolution=48, lambda_lpips=0.0, device="cpu")
    whole = fit(photos, options).gaussians
    asked = iter([False] * 5 + [True])
    with pytest.raises(Interrupted) as stopped:
        fit(photos, options, should_stop=lambda: next(asked))
    resumed = fit(photos, options, resume=stopped.value.snapshot).gaussians
    assert resumed.means.tobytes() == whole.means.tobytes()
    assert resumed.scales.tobytes() == whole.scales.tobytes()


def test_portrait_photos_among_the_others_are_matched_too(photos):
    images = [image[:, 12:84] if i % 3 == 0 else image for i, image in enumerate(photos.images)]
    Ks = photos.cameras.Ks.copy()
    Ks[::3, 0, 2] -= 12
    cameras = join_cameras(photos.cameras.viewmats, Ks, [image.shape[1::-1] for image in images])
    mixed = views_into_frame(MixedViews(tuple(images), cameras), frame_of_cameras(cameras))
    assert len(find_surfaces(mixed, 4000, np.random.default_rng(0)).cloud.points) > 3000


def test_photos_that_hardly_overlap_are_refused_or_begin_elsewhere_with_a_warning(photos):
    apart = photos[[0, 11]]
    with pytest.raises(GatlasError, match="overlap too little"):
        fit_photos(apart, FitOptions(count=50, iterations=0, resolution=48), init="stereo")
    with pytest.warns(UserWarning, match="overlap too little .* begins at random places"):
        fit_photos(apart, FitOptions(count=50, iterations=0, resolution=48))


@pytest.mark.parametrize(
    ("photos", "side", "alpha", "expected"),
    [(60, 512, 1.0, 65_536), (20, 512, 1.0, 38 * 1024), (4, 64, 1.0, 16_384), (60, 512, 0.5, 16_384)],
)
def test_the_number_of_gaussians_follows_the_photos_where_none_is_given(photos, side, alpha, expected):
    cameras = fibonacci_views(photos, side, 3 * side // 4)
    views = Views(np.full((photos, 3 * side // 4, side, 4), alpha, dtype=np.float16), cameras)
    said = []
    assert with_count(FitOptions(), views, said.append).count == expected
    assert len(said) == (alpha == 1.0)
    assert with_count(FitOptions(count=7), views, said.append).count == 7
    assert with_count(FitOptions(lod="1024,16384"), views, said.append).count == 16_384
    assert FitOptions().as_record()["count"] == 16_384


@pytest.mark.parametrize("count", [1, 2, 20])
def test_a_few_gaussians_begin_on_the_surfaces_too(photos, count):
    few = fit_photos(photos, FitOptions(count=count, iterations=0, resolution=96), init="stereo")
    own = few.gaussians.means * few.gaussians.origin.scale + few.gaussians.origin.center
    assert len(own) == count
    assert (np.abs(own) < HALF + 0.3).all()
