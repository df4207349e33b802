import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.photos.mask_folder import masks_in, require_all


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    io.save_image(path, np.ones((4, 4, 3), np.float32))
    return path


def photos(root, *names):
    return [picture(root / name) for name in names]


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("images/a.png", "a.png.png"),  # COLMAP's
        ("images/left/a.png", "left/a.png.png"),
        ("images/a.png", "a.png"),  # nerfstudio's
        ("images/left/a.png", "left/a.png"),
        ("images/left/a.png", "a.png"),
        ("a.png", "a.png.png"),
        ("rgb/a.png", "a_mask.png"),
    ],
)
def test_a_mask_is_found_by_the_name_of_its_photo(tmp_path, photo, mask):
    (one,) = photos(tmp_path / "set", photo)
    picture(tmp_path / "masks/other.png")
    assert masks_in(tmp_path / "masks", [one], tmp_path / "set") == {}
    named = picture(tmp_path / "masks" / mask)
    assert masks_in(tmp_path / "masks", [one], tmp_path / "set") == {one: named}


def test_the_name_with_the_photos_suffix_counts_before_its_stem(tmp_path):
    (one,) = photos(tmp_path, "images/a.png")
    picture(tmp_path / "masks/a.png")
    assert masks_in(tmp_path / "masks", [one], tmp_path)[one].name == "a.png"
    picture(tmp_path / "masks/a.png.png")
    assert masks_in(tmp_path / "masks", [one], tmp_path)[one].name == "a.png.png"


def test_one_mask_of_two_photos_is_refused(tmp_path):
    both = photos(tmp_path, "images/left/a.png", "images/right/a.png")
    picture(tmp_path / "masks/a.png")
    with pytest.raises(GatlasError, match="is the mask of two photos"):
        masks_in(tmp_path / "masks", both, tmp_path)
    own = [picture(tmp_path / "masks" / side / "a.png") for side in ("left", "right")]
    assert list(masks_in(tmp_path / "masks", both, tmp_path).values()) == own


def test_a_photo_is_not_its_own_mask(tmp_path):
    both = photos(tmp_path, "a.png", "b.png")
    assert masks_in(tmp_path, both, tmp_path) == {}


def test_a_missing_mask_is_refused_with_the_first_photo_that_lacks_it(tmp_path):
    both = photos(tmp_path, "images/a.png", "images/b.png")
    with pytest.raises(GatlasError, match=r"no mask of any photo: that of the first would be .*a\.png\.png"):
        require_all({}, both, tmp_path / "masks")
    with pytest.raises(GatlasError, match=r"1 of 2 photos have no mask in it, the first is .*b\.png"):
        require_all({both[0]: both[0]}, both, tmp_path / "masks")
    with pytest.raises(GatlasError, match="no such folder of masks"):
        masks_in(tmp_path / "nowhere", both, tmp_path)
