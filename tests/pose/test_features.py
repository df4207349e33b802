import numpy as np
import pytest

from gatlas.pose.features import Features, detect, match, match_groups

cv2 = pytest.importorskip("cv2")


def texture(seed, side=96):
    rng = np.random.default_rng(seed)
    coarse = rng.random((side // 6, side // 6, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)


def unit(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("upsample", [1, 2])
def test_pixels_are_where_the_blob_is_with_pixel_centers_at_a_half(upsample):
    y, x = np.mgrid[:64, :64] + 0.5
    blob = np.exp(-((x - 30.0) ** 2 + (y - 22.0) ** 2) / (2 * 4.0**2))
    found = detect(np.repeat(blob[..., None], 3, axis=2).astype(np.float32), upsample=upsample)
    distance = np.linalg.norm(found.pixels - (30.0, 22.0), axis=1)
    assert distance.min() < 0.05


def test_a_picture_shifted_by_whole_pixels_matches_at_that_shift():
    first = detect(texture(0))
    second = detect(np.roll(texture(0), (5, 9), axis=(0, 1)))
    pairs = match(first, second, ratio=0.8)
    shifts = second.pixels[pairs[:, 1]] - first.pixels[pairs[:, 0]]
    assert len(pairs) > 30
    assert np.median(np.linalg.norm(shifts - (9, 5), axis=1)) < 0.05


def test_descriptors_are_unit_and_only_the_region_has_keypoints():
    region = np.zeros((96, 96), dtype=bool)
    region[30:60, 20:50] = True
    found = detect(texture(1), region=region)
    assert len(found.pixels) > 5
    assert found.descriptors.dtype == np.float32
    assert np.allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=1e-3)
    assert ((found.pixels >= (20, 30)) & (found.pixels < (50, 60))).all()


@pytest.mark.parametrize("image", [np.zeros((40, 40, 3), np.float32), np.full((4, 4, 3), 0.5, np.float32)])
def test_a_picture_of_nothing_has_no_features_and_no_matches(image):
    found = detect(image)
    assert found.pixels.shape == (0, 2)
    assert found.descriptors.shape == (0, 128)
    assert match(found, detect(texture(0)), ratio=0.8).shape == (0, 2)
    assert match(detect(texture(0)), found, ratio=0.8).shape == (0, 2)


def test_matches_are_mutual_and_pass_the_ratio():
    place = np.zeros((3, 2))
    first = Features(place, unit([[1, 0, 0], [0.9, 0.1, 0], [0, 0, 1]]))
    second = Features(place, unit([[1, 0.01, 0], [0, 1, 0], [0, 0.9, 1]]))
    # 1 wants 0 as well, but 0 wants the first; 2's best is not so much better than the others at ratio 0.5.
    assert match(first, second, ratio=0.8).tolist() == [[0, 0], [2, 2]]
    assert match(first, second, ratio=0.5).tolist() == [[0, 0]]


def test_with_a_radius_far_twins_do_not_disturb():
    descriptors = unit([[1, 0, 0], [1, 0, 0], [0, 1, 0]])
    first = Features(np.array([[10.0, 10], [90, 90], [50, 50]]), descriptors)
    second = Features(np.array([[12.0, 10], [90, 92], [52, 50]]), descriptors)
    assert match(first, second, ratio=0.8).tolist() == [[2, 2]]
    assert match(first, second, ratio=0.8, radius=5).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_groups_in_one_product_match_as_each_alone():
    first, others = detect(texture(0)), [detect(texture(seed)) for seed in (0, 1, 2)]
    starts = np.cumsum([0] + [len(other.pixels) for other in others])
    together = match_groups(first, np.concatenate([other.descriptors for other in others]), starts, ratio=0.8)
    for pairs, other in zip(together, others, strict=True):
        assert pairs.tolist() == match(first, other, ratio=0.8).tolist()
