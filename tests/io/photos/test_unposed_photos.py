"""Photos of which no cameras are known."""

import math
import os

import numpy as np
import pytest
from PIL import Image

from gatlas.errors import GatlasError
from gatlas.io.photos.scenes import has_unposed_photos
from gatlas.io.photos.unposed_photos import list_photos, read_colors, read_gray

MAKE, MODEL, ORIENTATION, EXIF, FOCAL, FOCAL_35 = 0x010F, 0x0110, 0x0112, 0x8769, 0x920A, 0xA405


def save_photo(path, size=(40, 30), make=None, focal=None, equivalent=None, orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = Image.Exif()
    if make:
        tags[MAKE], tags[MODEL] = make, "One"
    if orientation:
        tags[ORIENTATION] = orientation
    inner = tags.get_ifd(EXIF)
    if focal:
        inner[FOCAL] = focal
    if equivalent:
        inner[FOCAL_35] = equivalent
    Image.new("RGB", size, (200, 100, 50)).save(path, exif=tags)


def test_the_focal_length_is_that_of_the_equivalent_on_film(tmp_path):
    save_photo(tmp_path / "a.jpg", (400, 300), "Maker", focal=4.2, equivalent=26)
    (photo,) = list_photos(tmp_path)
    assert photo.focal == pytest.approx(26 / math.hypot(36, 24) * 500)


def test_photos_of_one_size_and_focal_length_share_a_camera(tmp_path):
    save_photo(tmp_path / "a.jpg", make="Maker", focal=4.2, equivalent=26)
    save_photo(tmp_path / "b.jpg", make="Maker", focal=4.2, equivalent=26, orientation=6)
    save_photo(tmp_path / "c.jpg", make="Maker", focal=9.0, equivalent=56)
    save_photo(tmp_path / "d.jpg", make="Other", focal=4.2, equivalent=26)
    save_photo(tmp_path / "e.jpg", size=(30, 40), make="Maker", focal=4.2, equivalent=26)
    a, b, *others = (photo.camera for photo in list_photos(tmp_path))
    assert a == b
    assert len({a, *others}) == 4


@pytest.mark.parametrize("value", [0, 65535])
def test_an_equivalent_of_nothing_is_no_focal_length(tmp_path, value):
    save_photo(tmp_path / "a.jpg", make="Maker", equivalent=value)
    (photo,) = list_photos(tmp_path)
    assert photo.focal is None


@pytest.mark.parametrize(("place", "name"), [("images", "a.jpg"), (".", "a.jpg"), ("input", "input/a.jpg")])
def test_names_are_those_by_which_a_model_finds_its_photos(tmp_path, place, name):
    save_photo(tmp_path / place / "a.jpg")
    save_photo(tmp_path / place / ".hidden.jpg")
    assert [photo.name for photo in list_photos(tmp_path)] == [name]


def test_a_folder_with_meshes_has_textures_and_no_photos(tmp_path):
    save_photo(tmp_path / "a.jpg")
    assert has_unposed_photos(tmp_path)
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "a.OBJ").write_text("v 0 0 0\n")
    assert not has_unposed_photos(tmp_path)


def test_a_folder_with_cameras_has_no_unposed_photos(tmp_path):
    save_photo(tmp_path / "a.jpg")
    (tmp_path / "transforms.json").write_text("{}")
    assert not has_unposed_photos(tmp_path)


def test_gray_photos_are_stored_pixels_with_what_is_shown(tmp_path):
    rgba = np.zeros((20, 40, 4), dtype=np.uint8)
    rgba[:, :10] = 255, 0, 0, 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    (photo,) = list_photos(tmp_path)
    picture = read_gray(photo, side=20)
    assert picture.gray.shape == (10, 20)
    assert picture.gray[:, :5] == pytest.approx(0.299 * 255, abs=1)
    assert picture.gray[:, 5:] == pytest.approx(127.5, abs=1)
    assert picture.shown[:, :5].all()
    assert not picture.shown[:, 5:].any()


def test_colors_are_those_of_the_pixels(tmp_path):
    rgb = np.arange(20 * 16 * 3, dtype=np.uint8).reshape(16, 20, 3)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    (photo,) = list_photos(tmp_path)
    colors = read_colors(photo, np.array([[0.5, 0.5], [19.9, 3.1]]))
    assert colors * 255 == pytest.approx(rgb[[0, 3], [0, 19]].astype(float), abs=1e-3)


def test_a_folder_without_photos_and_tiny_photos_are_refused(tmp_path):
    with pytest.raises(GatlasError, match="there are no photos in this folder"):
        list_photos(tmp_path)
    save_photo(tmp_path / "a.jpg", (8, 40))
    with pytest.raises(GatlasError, match=r"a\.jpg: has 8 x 40 pixels; a photo needs at least 16"):
        list_photos(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX")
def test_a_name_that_is_no_text_is_refused(tmp_path):
    try:
        save_photo(tmp_path / os.fsdecode(b"\xff.jpg"))
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(GatlasError, match="rename it"):
        list_photos(tmp_path)
