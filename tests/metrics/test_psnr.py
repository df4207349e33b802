import numpy as np
import pytest

from gatlas.metrics import psnr


def test_a_tenth_off_everywhere_is_20_db():
    reference = np.full((2, 4, 4, 3), 0.5)
    assert psnr(reference + np.array([0.1, 0.01])[:, None, None, None], reference) == pytest.approx([20.0, 40.0])


def test_equal_pictures_are_infinitely_close():
    assert psnr(np.ones((1, 2, 2, 3)), np.ones((1, 2, 2, 3)))[0] == np.inf


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="shape"):
        psnr(np.ones((1, 2, 2, 3)), np.ones((1, 2, 3, 3)))
