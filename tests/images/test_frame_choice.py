import numpy as np
import pytest

from gatlas.images.frame_choice import FrameScore, MotionPath, choose_frames, is_still, sharpness

pytest.importorskip("cv2")


def picture(rng, shift=0):
    """A gray texture of 8-pixel blocks, moved to the left by `shift` pixels."""
    blocks = rng.integers(0, 255, (12, 40), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.ascontiguousarray(blocks[:, shift : shift + 160])


def test_the_way_of_a_picture_that_moves_is_its_motion_in_lengths_of_the_longer_side():
    path = MotionPath()
    ways = [path.add(picture(np.random.default_rng(0), 2 * i)) for i in range(20)]
    assert ways[0] == 0
    assert ways[-1] == pytest.approx(38 / 160, rel=0.15)


def test_noise_of_a_picture_at_rest_adds_up_to_no_motion():
    rng = np.random.default_rng(0)
    still, path = picture(np.random.default_rng(1)), MotionPath()
    noisy = [np.clip(still + rng.normal(0, 4, still.shape), 0, 255).astype(np.uint8) for _ in range(100)]
    scores = [FrameScore(i / 30, 1.0, path.add(frame)) for i, frame in enumerate(noisy)]
    assert is_still(scores)


def test_a_blurred_picture_is_less_sharp():
    sharp = picture(np.random.default_rng(0))
    blurred = (sharp.astype(np.uint16) + np.roll(sharp, 1, 1) + np.roll(sharp, 2, 1)) // 3
    assert sharpness(blurred.astype(np.uint8)) < 0.5 * sharpness(sharp)


def test_the_sharpest_frame_of_each_share_of_the_way_is_chosen():
    scores = [FrameScore(i, 2.0 if i % 10 == 6 else 1.0, i / 100) for i in range(100)]
    assert choose_frames(scores, 10) == list(range(6, 100, 10))


def test_shares_are_of_the_way_and_not_of_time():
    """The camera rests for 80 frames and moves for 20."""
    scores = [FrameScore(i, 1.0, max(0, i - 80) / 20) for i in range(100)]
    chosen = choose_frames(scores, 10)
    assert len(chosen) == 10
    assert sum(i >= 80 for i in chosen) >= 9


def test_a_frame_far_blurrier_than_the_others_is_not_chosen_even_where_all_could_be():
    scores = [FrameScore(i, 0.01 if i == 2 else 1.0, i / 5) for i in range(5)]
    assert choose_frames(scores, 10) == [0, 1, 3, 4]
