"""Objects in the middle of their pictures."""

import numpy as np
import pytest

from gatlas.images.recenter import on_white, recentered


def picture(left, top, right, bottom, height=40, width=60):
    image = np.zeros((height, width, 4), np.float32)
    image[top:bottom, left:right] = [0.2, 0.4, 0.6, 1]
    return image


def bounds(image):
    rows, columns = (np.flatnonzero((image[..., 3] > 0.5).any(axis=axis)) for axis in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_the_longer_side_becomes_four_fifths_of_the_side_and_stands_in_the_middle():
    (found,) = recentered([picture(3, 5, 33, 15)])
    assert found.shape == (60, 60, 4)
    assert bounds(found) == (6, 22, 54, 38)  # 30 x 10 pixels to 48 x 16
    np.testing.assert_allclose(found[30, 30], [0.2, 0.4, 0.6, 1], atol=1e-6)


def test_views_of_one_object_keep_their_sizes_relative_to_each_other():
    wide, narrow = recentered([picture(3, 5, 33, 15), picture(40, 20, 55, 30)])
    assert bounds(wide) == (6, 22, 54, 38)
    assert bounds(narrow) == (18, 22, 42, 38)


def test_an_empty_picture_is_refused():
    with pytest.raises(ValueError, match="no visible pixel"):
        recentered([np.zeros((8, 8, 4), np.float32)])


def colored(image):
    rows, columns = (np.flatnonzero((image.min(axis=-1) < 0.7).any(axis=axis)) for axis in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_on_white_the_object_has_its_share_of_the_side_and_stands_where_it_is_moved():
    image = picture(3, 5, 33, 15)  # 30 x 10 pixels
    found = on_white(image, 60)
    assert found.shape == (60, 60, 3)
    assert colored(found) == (6, 22, 54, 38)
    np.testing.assert_allclose(found[30, 30], [0.2, 0.4, 0.6], atol=1e-6)
    assert found[:20].min() == 1.0
    assert colored(on_white(image, 60, share=0.5, shift=(0.1, -0.2))) == (21, 13, 51, 23)


def test_on_white_soft_edges_do_not_count_and_nothing_is_white():
    image = picture(3, 5, 33, 15)
    image[5:15, 33:50] = [0.2, 0.4, 0.6, 0.05]
    assert colored(on_white(image, 60)) == (6, 22, 54, 38)
    assert (on_white(np.zeros((8, 9, 4), np.float32), 16) == 1).all()
