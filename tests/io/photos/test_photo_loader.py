"""Which frame of a file is a photo's own, and the mask that it names."""

import json
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.photos.photo_loader import frame_masks, pair_frames, read_photos


def test_a_photo_has_the_frame_of_its_own_file_and_else_of_its_stem(tmp_path):
    here = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"]
    names = ["a/x.png", "b/x.png", "c/y.png"]
    assert pair_frames("t.json", names, [*here, None], [str(here[1]), str(here[0])]) == [1, 0]
    assert pair_frames("t.json", names, [*here, None], ["elsewhere/y.jpg", "z.png"]) == [2, None]
    assert pair_frames("t.json", names, [*here, None], [f"{tmp_path}/a/../b/x.png"]) == [1]


def test_photos_of_one_stem_are_refused_where_nothing_tells_them_apart(tmp_path):
    photos = [str(tmp_path / "a" / "x.png"), str(tmp_path / "b" / "x.png")]
    with pytest.raises(GatlasError, match=r"^t\.json: .*b/x\.png: none of its frames is that file, and 2 photos are "):
        pair_frames("t.json", ["a/x.png"], [Path(photos[0])], photos)
    with pytest.raises(GatlasError, match="2 of its frames are called 'x'"):
        pair_frames("t.json", ["a/x.png", "b/x.png"], [None, None], photos[:1])
    assert pair_frames("t.json", [], [], photos) == [None, None]


def test_intrinsics_of_photos_of_one_stem_are_each_its_own(tmp_path):
    frames = []
    for name, focal in (("a", 30.0), ("b", 50.0)):
        (tmp_path / name).mkdir()
        io.save_image(tmp_path / name / "x.png", np.zeros((20, 20, 3), dtype=np.float32))
        frames.append({"file_path": f"{name}/x.png", "fl_x": focal})
    (tmp_path / "k.json").write_text(json.dumps({"w": 20, "h": 20, "frames": frames}))
    photos = [str(tmp_path / name / "x.png") for name in ("b", "a")]
    assert [photo.K[0, 0] for photo in read_photos(photos, source=str(tmp_path / "k.json"))] == [50, 30]


def disc(width=48, height=32):
    """A soft white disc left of the middle."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.clip(10.5 - np.hypot(x - 17, y - 16), 0, 1).astype(np.float32)


@pytest.mark.parametrize("k1", [0.25, -0.25])
def test_the_lens_is_undone_for_a_mask_as_for_its_photo(tmp_path, k1):
    for name in ("photo.png", "mask.png"):
        io.save_image(tmp_path / name, np.repeat(disc()[..., None], 3, axis=-1))
    (tmp_path / "k.json").write_text(json.dumps({"fl_x": 36, "k1": k1, "w": 48, "h": 32}))
    photos, masks = [str(tmp_path / "photo.png")] * 2, [str(tmp_path / "mask.png"), None]
    masked, plain = read_photos(photos, source=str(tmp_path / "k.json"), masks=masks)
    assert np.allclose(masked.mask, masked.image[..., 0], atol=1e-6)
    assert np.abs(masked.mask - disc()).max() > 0.3
    assert plain.mask is None


def test_what_is_transparent_in_a_mask_is_black(tmp_path):
    white = np.ones((32, 48, 4), dtype=np.float32)
    white[..., 3] = disc()
    io.save_image(tmp_path / "mask.png", white)
    io.save_image(tmp_path / "photo.png", white[..., :3])
    photo = read_photos([str(tmp_path / "photo.png")], fov=50, masks=[tmp_path / "mask.png"])[0]
    assert np.allclose(photo.mask, disc(), atol=1 / 255)


def test_a_mask_of_another_size_is_refused_by_name(tmp_path):
    io.save_image(tmp_path / "photo.png", np.zeros((32, 48, 3), dtype=np.float32))
    io.save_image(tmp_path / "mask.png", np.zeros((30, 48, 3), dtype=np.float32))
    with pytest.raises(GatlasError, match=r"mask\.png: the mask has 48 x 30 pixels, its photo 48 x 32"):
        read_photos([str(tmp_path / "photo.png")], fov=50, masks=[tmp_path / "mask.png"])
    with pytest.raises(ValueError, match="masks must be as many as the photos, 1, got 0"):
        read_photos([str(tmp_path / "photo.png")], fov=50, masks=[])


def test_a_photos_mask_is_the_one_that_its_own_frame_names(tmp_path):
    frames = [{"file_path": "a.png", "mask_path": "masks/a.png"}, {"file_path": "b.png"}, {"file_path": "c.png"}]
    (tmp_path / "t.json").write_text(json.dumps({"frames": frames}))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").touch()
    found = frame_masks(str(tmp_path / "t.json"), ["b.png", "elsewhere/a.jpg", "d.png"])
    assert found == [None, tmp_path / "masks/a.png", None]
    (tmp_path / "t.json").write_text(json.dumps({"frames": [{"file_path": "a.png", "mask_path": 3}]}))
    with pytest.raises(GatlasError, match=r"t\.json: frame 0: 'mask_path' must be the name of a file, got 3"):
        frame_masks(str(tmp_path / "t.json"), ["a.png"])
