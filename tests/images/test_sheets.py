import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.images.colors import parse_background
from gatlas.images.sheets import atlas_picture, contact_sheet
from gatlas.types import Atlas


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (6, (2, 3)), (8, (2, 4)), (12, (3, 4))]
)
def test_a_sheet_is_nearly_square_and_full(count, shape):
    sheet = contact_sheet(np.zeros((count, 2, 3, 3), dtype=np.float32))
    assert sheet.shape == (shape[0] * 2, shape[1] * 3, 3)


def test_pictures_are_laid_row_by_row():
    images = np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((4, 2, 2, 3), dtype=np.float32)
    assert contact_sheet(images)[::2, ::2, 0].tolist() == [[0, 1], [2, 3]]


def test_an_empty_place_is_white():
    sheet = contact_sheet(np.zeros((7, 2, 2, 3), dtype=np.float32))
    assert (sheet[-1, -1] == 1).all()
    assert (sheet == 0).all(axis=-1).sum() == 7 * 4


def test_backgrounds():
    assert parse_background("white") == (1.0, 1.0, 1.0)
    assert parse_background("#ff0080") == pytest.approx((1.0, 0.0, 128 / 255))
    assert parse_background("transparent") is None
    with pytest.raises(GatlasError, match="'chartreuse' is not a color"):
        parse_background("chartreuse")


def test_an_atlas_picture_shows_five_planes():
    side = 4
    atlas = Atlas(
        offset=np.zeros((side, side, 3)),
        color=np.full((side, side, 3), 0.25),
        opacity=np.ones((side, side, 1)),
        scale=np.full((side, side, 3), -9.0),
        rotation=np.tile([1.0, 0, 0, 0], (side, side, 1)),
        meta={},
    )
    picture = atlas_picture(atlas, side=8)
    assert picture.shape == (8, 5 * 8 + 4 * 2, 3)
    assert picture[0, ::10, 0].tolist() == pytest.approx([0.5, 0.25, 1.0, 0.0, 0.5])
