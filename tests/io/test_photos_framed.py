"""Which frame of a file is a photo's own."""

import json
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.photos import pair_frames, read_straight


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
    assert [photo.K[0, 0] for photo in read_straight(photos, source=str(tmp_path / "k.json"))] == [50, 30]
