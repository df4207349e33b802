import io as stdio
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.films import Film, check_film, encode_gif, encode_mp4, encode_webp


def moving_square(count=7, width=40, height=24, fps=30, channels=3):
    """A red square that moves two pixels a frame over white, or over what is transparent."""
    frames = np.full((count, height, width, channels), 255, dtype=np.uint8)
    if channels == 4:
        frames[..., 3] = 0
    for number, frame in enumerate(frames):
        frame[8:16, 2 + 2 * number : 10 + 2 * number] = (200, 30, 40, 255)[:channels]
    return Film(iter(frames), count, width, height, fps), frames


def decibels(one, other):
    return -10 * np.log10(np.mean((one.astype(float) - other) ** 2) / 255**2 + 1e-12)


def shown(data):
    """The frames of a GIF or WebP and their durations in milliseconds, as Pillow shows them."""
    frames, durations = [], []
    with Image.open(stdio.BytesIO(data)) as film:
        for number in range(film.n_frames):
            film.seek(number)
            film.load()
            durations.append(film.info["duration"])
            frames.append(np.asarray(film.convert("RGBA" if film.mode == "RGBA" else "RGB")))
        assert film.info["loop"] == 0, "it repeats forever"
    return frames, durations


def test_an_mp4_has_the_size_the_length_and_the_frames_that_went_in():
    av = pytest.importorskip("av")
    film, frames = moving_square(count=9, fps=12)
    with av.open(stdio.BytesIO(b"".join(encode_mp4(film)))) as read:
        stream = read.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.frames, stream.average_rate) == (40, 24, 9, 12)
        assert float(stream.duration * stream.time_base) == pytest.approx(9 / 12)
        pictures = [frame.to_ndarray(format="rgb24") for frame in read.decode(stream)]
    assert min(map(decibels, pictures, frames)) > 30


def test_an_mp4_begins_with_its_index():
    pytest.importorskip("av")
    data = b"".join(encode_mp4(moving_square()[0]))
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("encode", [encode_gif, encode_webp])
def test_gif_and_webp_have_the_size_the_length_and_the_frames_that_went_in(encode):
    film, frames = moving_square()
    pictures, durations = shown(b"".join(encode(film)))
    assert len(pictures) == 7
    assert sum(durations) == pytest.approx(7000 / 30, abs=5)  # milliseconds; GIF counts in tens
    assert max(durations) - min(durations) <= 10
    assert min(map(decibels, pictures, frames)) > 35


@pytest.mark.parametrize("encode", [encode_gif, encode_webp])
def test_a_film_of_one_frame_is_a_picture(encode):
    film, frames = moving_square(count=1)
    with Image.open(stdio.BytesIO(b"".join(encode(film)))) as picture:
        assert decibels(np.asarray(picture.convert("RGB")), frames[0]) > 35


def test_a_gif_in_which_nothing_moves_shows_every_frame_for_its_time():
    frame = np.full((5, 6, 3), 77, dtype=np.uint8)
    pictures, durations = shown(b"".join(encode_gif(Film([frame] * 4, 4, 6, 5, 10))))
    assert sum(durations) == 400
    assert all((picture == 77).all() for picture in pictures)


def test_a_webp_keeps_transparency():
    film, frames = moving_square(channels=4)
    pictures, _ = shown(b"".join(encode_webp(film)))
    for picture, frame in zip(pictures, frames, strict=True):
        np.testing.assert_array_equal(picture[..., 3] > 128, frame[..., 3] > 128)


@pytest.mark.parametrize("encode", [encode_mp4, encode_gif])
def test_memory_does_not_grow_with_the_frames(encode):
    if encode is encode_mp4:
        pytest.importorskip("av")

    def peak(count):
        frames = (np.full((256, 256, 3), 7 * number % 256, dtype=np.uint8) for number in range(count))
        tracemalloc.start()
        for _ in encode(Film(frames, count, 256, 256, 30)):
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(40) < peak(4) + 2 * 256 * 256 * 3


def test_what_a_format_cannot_hold_is_one_line_before_any_frame(tmp_path):
    with pytest.raises(GatlasError, match=r"a\.gif: GIF holds no partial transparency: name the output a\.webp"):
        check_film("a.gif", transparent=True, fps=30)
    with pytest.raises(GatlasError, match=r"a\.gif: GIF has at most 50 frames per second, not 60"):
        check_film("a.gif", transparent=False, fps=60)
    check_film("a.webp", transparent=True, fps=60)


@pytest.mark.parametrize(("suffix", "most"), [(".mp4", 16384), (".gif", 65535), (".webp", 16383)])
def test_a_side_that_no_encoder_takes_is_one_line_and_a_longest_one_is_written(tmp_path, suffix, most):
    pytest.importorskip("av")
    frames = (np.full((2, most, 3), 200, dtype=np.uint8) for _ in range(2))
    io.save_film(tmp_path / f"a{suffix}", Film(frames, 2, most, 2, 10))
    with pytest.raises(GatlasError) as error:
        io.save_film(tmp_path / f"b{suffix}", Film(iter(()), 2, 2, most + 1, 10))
    assert f"has at most {most:,} pixels a side, not 2 x {most + 1:,}" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(GatlasError) as error:
        check_film("out/a.mp4", transparent=False, fps=30)
    assert str(error.value) == "out/a.mp4: MP4 needs PyAV: pip install 'gatlas[video]', or name the output out/a.webp"


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_a_film_that_fails_leaves_no_file(tmp_path, suffix):
    pytest.importorskip("av")
    film, frames = moving_square()

    def failing():
        yield from frames[:3]
        raise GatlasError("no more")

    with pytest.raises(GatlasError, match="no more"):
        io.save_film(tmp_path / f"a{suffix}", film._replace(frames=failing()))
    assert list(tmp_path.iterdir()) == []
