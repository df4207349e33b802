"""A folder of views that fills up: what it holds before its end, and what a later process finds."""

import json

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.io.photos.views_folder import PART, ViewsFolder, begun_views, stored_record

IMAGES = np.arange(3 * 4 * 4 * 3, dtype=np.float32).reshape(3, 4, 4, 3) / 255
CAMERAS = orbit(3, 4, 4)


def test_the_index_appears_with_the_last_view(tmp_path):
    folder = ViewsFolder(tmp_path / "views", CAMERAS, {"seed": 1}, resume=False, force=False)
    assert stored_record(tmp_path / "views") == {"seed": 1}
    assert begun_views(tmp_path / "views") == []
    folder.add(IMAGES[:2])
    np.testing.assert_array_equal(begun_views(tmp_path / "views"), IMAGES[:2])
    assert not (tmp_path / "views" / "transforms.json").exists()
    ViewsFolder(tmp_path / "views", CAMERAS, {"seed": 1}, resume=True, force=False).add(IMAGES[2:])
    assert begun_views(tmp_path / "views") is None
    assert stored_record(tmp_path / "views") == {"seed": 1}
    views = io.load_views(tmp_path / "views")
    np.testing.assert_array_equal(views.images, IMAGES)
    np.testing.assert_allclose(views.cameras.viewmats, CAMERAS.viewmats, atol=1e-6)


def test_a_folder_without_an_index_has_no_record_and_views_of_others_an_empty_one(tmp_path):
    assert stored_record(tmp_path / "none") is None
    io.save_views(tmp_path / "views", io.load_views(_whole(tmp_path / "whole")))
    assert stored_record(tmp_path / "views") == {}


def test_views_made_again_replace_the_old_ones(tmp_path):
    _whole(tmp_path / "views")
    with pytest.raises(GatlasError, match="exists and is not empty: use --force"):
        ViewsFolder(tmp_path / "views", CAMERAS, {}, resume=False, force=False)
    ViewsFolder(tmp_path / "views", CAMERAS, {}, resume=False, force=True).add(IMAGES[:1])
    assert [path.name for path in (tmp_path / "views" / "images").iterdir()] == ["000.png"]


def test_a_damaged_index_is_one_line(tmp_path):
    (tmp_path / PART).write_text(json.dumps({"sample": 1})[:-2])
    with pytest.raises(GatlasError, match=r"transforms\.json\.part: damaged: not JSON") as error:
        stored_record(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "frames",
    [3, "abc", ["a"], [{}], [{"file_path": 3}], [{"file_path": "../secret.png"}], [{"file_path": "/etc/passwd"}],
     [{"file_path": "images/" + "0" * 4000 + ".png"}], [{"file_path": "images/0\0.png"}]],
)  # fmt: skip
def test_begun_views_are_of_our_own_names(tmp_path, frames):
    (tmp_path / PART).write_text(json.dumps({"frames": frames}))
    with pytest.raises(
        GatlasError, match=r"transforms\.json\.part: damaged: its frames are not pictures that gatlas wrote"
    ):
        begun_views(tmp_path)


def _whole(folder):
    ViewsFolder(folder, CAMERAS, {}, resume=False, force=False).add(IMAGES)
    return folder
