"""Chunks of RealEstate10K: what they hold, and what is refused."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from gatlas.errors import GatlasError
from gatlas.io.photos.re10k import Clip, chunk_files, listed_keys, read_chunk
from tests.helpers.scene_files import box_views, write_chunk


@pytest.fixture(scope="module")
def views():
    return box_views(0, 4, 32, width=48)


@pytest.fixture
def chunk(tmp_path, views):
    path = tmp_path / "train" / "000000.torch"
    write_chunk(path, {"a": views, "b": views})
    return path


def test_a_clip_has_the_cameras_and_frames_that_were_written(chunk, views):
    records = read_chunk(chunk)
    clip = Clip(str(chunk), records[1])
    assert [record["key"] for record in records] == ["a", "b"]
    assert len(clip) == 4
    assert np.allclose(clip.viewmats, views.cameras.viewmats, atol=1e-5)
    assert np.allclose(clip.Ks * [[48], [32], [1]], views.cameras.Ks, atol=1e-4)
    picture = clip.pictures([2])[0]
    assert picture.shape == (32, 48, 3)
    assert np.abs(picture - views.images[2]).mean() < 0.02


def test_frames_are_read_as_they_are_stored_whatever_their_exif_tag(tmp_path):
    pixels = np.zeros((16, 24, 3), dtype=np.uint8)
    pixels[:8, :12] = 255
    exif, payload = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(payload, "JPEG", exif=exif, quality=100)
    camera = torch.tensor([[1, 1, 0.5, 0.5, 0, 0, *np.eye(4)[:3].ravel()]], dtype=torch.float32)
    stored = torch.frombuffer(bytearray(payload.getvalue()), dtype=torch.uint8)
    clip = Clip(str(tmp_path), {"key": "a", "images": [stored], "cameras": camera})
    with pytest.warns(UserWarning, match="the EXIF turn of its images is not applied"):
        (picture,) = clip.pictures([0])
    np.testing.assert_allclose(picture, pixels / 255, atol=0.1)


def test_chunks_are_found_in_the_folder_and_in_its_train(chunk):
    assert chunk_files(chunk.parent) == chunk_files(chunk.parent.parent) == [chunk]
    assert chunk_files(chunk.parent / "nothing") == []


def test_the_index_lists_keys(chunk):
    assert listed_keys(chunk.parent) is None
    (chunk.parent / "index.json").write_text('{"a": "000000.torch"}')
    assert listed_keys(chunk.parent) == {"a"}
    (chunk.parent / "index.json").write_text("[1")
    with pytest.raises(GatlasError, match=r"index.json: damaged"):
        listed_keys(chunk.parent)


class Code:
    def __reduce__(self):
        return (print, ("this was run",))


def test_a_file_with_code_is_refused_and_not_run(tmp_path, capsys):
    torch.save([{"key": Code()}], tmp_path / "bad.torch")
    (tmp_path / "old.torch").write_bytes(pickle.dumps([Code()]))
    for name in ("bad", "old"):
        with pytest.raises(GatlasError, match=f"{name}.torch"):
            read_chunk(tmp_path / f"{name}.torch")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("size", [0, 3, 100, 0.5, 0.99])
def test_a_truncated_file_is_one_line(chunk, size):
    data = chunk.read_bytes()
    chunk.write_bytes(data[: int(size * len(data)) if isinstance(size, float) else size])
    with pytest.raises(GatlasError, match=r"000000.torch: not a") as caught:
        read_chunk(chunk)
    assert "\n" not in str(caught.value)


def test_a_file_of_something_else_is_one_line(tmp_path):
    torch.save({"key": "a"}, tmp_path / "x.torch")
    with pytest.raises(GatlasError, match="must hold a list of clips"):
        read_chunk(tmp_path / "x.torch")
    with pytest.raises(GatlasError, match="No such file"):
        read_chunk(tmp_path / "y.torch")


def edited(record, **changes):
    return {**record, **changes}


def test_records_that_are_no_clips_are_one_line(chunk):
    good = read_chunk(chunk)[0]
    bad = good["cameras"].clone()
    bad[1, 0] = -1
    twisted = good["cameras"].clone()
    twisted[0, 6:9] = 5
    for record, words in (
        ({}, "not a clip"),
        (edited(good, images=good["images"][:3]), r"shape \[3 18\], got \[4, 18\]"),
        (edited(good, images=[], cameras=torch.zeros(0, 18)), "no images"),
        (edited(good, cameras=bad), "focal length"),
        (edited(good, cameras=twisted), "not a rotation"),
    ):
        with pytest.raises(GatlasError, match=words):
            Clip("x.torch", record)


def test_frames_that_are_larger_than_their_file_are_refused(tmp_path, chunk):
    record = read_chunk(chunk)[0]
    images = [torch.zeros(1, dtype=torch.uint8).expand(10**12), *record["images"][1:]]
    torch.save([{**record, "images": images}], tmp_path / "x.torch")
    clip = Clip("x.torch", read_chunk(tmp_path / "x.torch")[0])
    with pytest.raises(GatlasError, match="clip a: image 0 is not a row of bytes"):
        clip.pictures([0])


def test_a_damaged_frame_is_named(chunk):
    record = read_chunk(chunk)[0]
    images = [record["images"][0][:50], torch.zeros(3), *record["images"][2:]]
    clip = Clip("x.torch", edited(record, images=images))
    for i, words in enumerate(["clip a, image 0: the picture", "clip a: image 1 is not"]):
        with pytest.raises(GatlasError, match=words):
            clip.pictures([i])
