"""Facts of films against how they were made."""

import sys

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.inspection import inspect
from gatlas.io.film_facts import gif_facts, video_facts
from gatlas.io.films import Film, encode_gif, encode_mp4
from gatlas.io.streams import Blob

FRAMES = [np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8) for seed in range(7)]


def film(fps=10):
    return Film(iter(FRAMES), len(FRAMES), 48, 32, fps)


def test_a_gif_is_described_as_it_was_made():
    found = gif_facts(Blob("x.gif", b"".join(encode_gif(film()))))
    assert (found.frames, found.width, found.height, found.codec) == (7, 48, 32, "GIF")
    assert found.seconds == pytest.approx(0.7)
    assert found.fps == pytest.approx(10)


def test_frames_of_different_lengths_have_no_rate():
    found = gif_facts(Blob("x.gif", b"".join(encode_gif(film(fps=30)))))
    assert found.fps is None
    assert found.seconds == pytest.approx(7 / 30, abs=0.005)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_video_is_described_as_it_was_made(tmp_path, suffix):
    pytest.importorskip("av", reason="PyAV is not installed")
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"".join(encode_mp4(film())))
    found = inspect(str(path))
    assert (found.kind, found.findings) == ("film", [])
    assert found.facts["size"] == [48, 32]
    assert (found.facts["frames"], found.facts["codec"]) == (7, "h264")
    assert (found.facts["seconds"], found.facts["frames per second"]) == (0.7, 10)


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"\0\0\0\x20ftypisom" + b"\xff" * 600])
def test_what_is_no_video_is_unreadable_in_one_line(tmp_path, content):
    pytest.importorskip("av", reason="PyAV is not installed")
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(GatlasError, match=r"x\.mp4: the film cannot be read: it is no video") as failure:
        video_facts(tmp_path / "x.mp4")
    assert "\n" not in str(failure.value)
    assert inspect(str(tmp_path / "x.mp4")).kind == "unreadable"


def test_a_gif_that_promises_more_pixels_than_it_holds_is_refused():
    whole = bytearray(b"".join(encode_gif(film())))
    whole[6:10] = b"\xff\xff\xff\xff"
    with pytest.raises(GatlasError, match=r"x\.gif: the picture cannot be read: .*pixels"):
        gif_facts(Blob("x.gif", bytes(whole)))


def test_a_video_without_pyav_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "x.mp4").write_bytes(b"")
    with pytest.raises(GatlasError, match=r"pip install 'gatlas\[video\]'"):
        video_facts(tmp_path / "x.mp4")
