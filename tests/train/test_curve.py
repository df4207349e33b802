"""The picture of the loss."""

import numpy as np

from gatlas.train.curve import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, loss_curve


def blue_rows(picture, column):
    """Rows of a column that have the first colour, #0072b2."""
    return np.flatnonzero(np.abs(picture[:, column] - np.array([0, 0x72, 0xB2]) / 255).max(axis=1) < 0.02)


def test_a_falling_loss_falls():
    log = [{"step": step, "loss": 10 / step} for step in range(1, 201)]
    picture = loss_curve(log)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert 0 <= picture.min() <= picture.max() <= 1
    early, late = (blue_rows(picture, LEFT + offset).mean() for offset in (20, 600))
    assert TOP < early < late < HEIGHT - BOTTOM


def test_a_constant_loss_is_a_level_line():
    picture = loss_curve([{"step": step, "loss": 0.5} for step in (10, 20, 30)])
    assert np.array_equal(blue_rows(picture, LEFT + 400), blue_rows(picture, LEFT + 700))


def test_what_a_logarithm_cannot_show_is_left_out():
    log = [{"step": 1, "loss": None}, {"step": 2, "loss": 0.0}, {"step": 3, "lr": 1.0}]
    assert loss_curve(log) is None
    assert loss_curve([]) is None
    assert loss_curve([*log, {"step": 4, "loss": 1e-9, "loss/a": 1e9}]) is not None
