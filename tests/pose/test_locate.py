import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from textured import SIDE, K, camera, ellipsoid, photo

from gatlas.metrics.pose_errors import center_errors, rotation_errors
from gatlas.pose.bank import make_bank
from gatlas.pose.locate import angle_between, locate
from gatlas.pose.prepare import plain_mask
from gatlas.raster import composite


@pytest.fixture(scope="module")
def gaussians():
    return ellipsoid()


@pytest.fixture(scope="module")
def bank(gaussians):
    return make_bank(gaussians, K, SIDE, SIDE, side=SIDE)


def clutter(seed):
    rng = np.random.default_rng(seed)
    return gaussian_filter(np.kron(rng.random((20, 20, 3)), np.ones((8, 8, 1))), (3, 3, 0)).astype(np.float32)


def assert_near(found, truth, degrees=0.5, percent=1.0):
    assert found is not None
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


def test_the_same_photo_gives_the_same_bits(gaussians, bank):
    image = photo(gaussians, camera(75, -15))
    first, second = (locate(bank, image, K) for _ in range(2))
    assert first.viewmat.tobytes() == second.viewmat.tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_a_photo_of_something_else_is_not_found(bank, seed):
    assert locate(bank, clutter(seed), K) is None
    other = photo(ellipsoid(seed + 10), camera(40 * seed, 10))
    assert locate(bank, composite(other, clutter(seed)), K) is None


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_an_empty_photo_is_not_found(bank, value):
    assert locate(bank, np.full((SIDE, SIDE, 3), value, dtype=np.float32), K) is None
    assert locate(bank, np.zeros((SIDE, SIDE, 4), dtype=np.float32), K) is None


def test_without_features_the_silhouette_finds_the_camera():
    gaussians = ellipsoid(plain=True)
    bank = make_bank(gaussians, K, SIDE, SIDE, side=SIDE)
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
    assert angle_between(camera(0, 0), camera(30, 0)) == pytest.approx(30)


def test_wrong_shapes_are_the_callers_mistake(bank):
    with pytest.raises(ValueError, match="photo must"):
        locate(bank, np.zeros((SIDE, SIDE)), K)
    with pytest.raises(ValueError, match="mask must"):
        locate(bank, np.zeros((SIDE, SIDE, 3)), K, mask=np.zeros((4, 4)))
