import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from gatlas.errors import GatlasError
from gatlas.io.photos.videos import INDEX, is_video, video_frames
from tests.helpers.moving_film import SHARP, frames_of, mp4_of, with_display_matrix

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def film():
    frames = frames_of()
    return frames, mp4_of(frames)


def picture(found, number):
    return np.asarray(Image.open(found.folder / found.names[number])).astype(float)


def written(folder, data, name="clip.mp4"):
    path = folder / name
    path.write_bytes(data)
    return path


def test_the_sharp_frames_of_a_film_are_taken_in_order_and_named_by_their_time(film, tmp_path):
    frames, data = film
    found = video_frames(written(tmp_path, data), 8, tmp_path / "frames")
    numbers = [round(10 * time) for time in found.times]
    assert numbers == sorted(numbers)
    assert {number % 5 for number in numbers} == {SHARP}
    assert found.names == [f"t{100 * number:09d}.jpg" for number in numbers]
    assert sorted(path.name for path in found.folder.glob("*.jpg")) == found.names
    for i, number in enumerate(numbers):
        assert np.abs(picture(found, i) - frames[number]).mean() < 8
        assert np.abs(picture(found, i).mean((0, 1)) - frames[number].mean((0, 1))).max() < 3


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),  # a phone held upright: a quarter turn clockwise
        ((0, -1, 1, 0), lambda frame: np.rot90(frame, 1)),
        ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
        ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]),
    ],
)
def test_the_turn_that_a_phone_writes_is_applied(film, tmp_path, matrix, shown):
    frames, data = film
    found = video_frames(written(tmp_path, with_display_matrix(data, *matrix)), 8, tmp_path / "frames")
    expected = shown(frames[round(10 * found.times[0])])
    assert picture(found, 0).shape == expected.shape
    assert np.abs(picture(found, 0) - expected).mean() < 8


def test_frames_of_unequal_length_have_the_times_that_they_are_shown_at(tmp_path):
    times = [0, 1, 2, 5, 6, 20, 21, 40, 41, 42]  # hundredths of a second
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for time, array in zip(times, frames_of(len(times), step=6), strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = video_frames(tmp_path / "clip.mkv", 100, tmp_path / "frames")
    assert set(found.times) <= {time / 100 for time in times}
    assert len(found.times) >= 2


def test_pixels_that_are_not_square_are_shown_square(film, tmp_path):
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        for array in film[0]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode())
    assert picture(video_frames(tmp_path / "clip.mkv", 8, tmp_path / "frames"), 0).shape == (64, 144, 3)


def test_frames_of_an_earlier_run_are_read_and_not_made_again(film, tmp_path):
    path, said = written(tmp_path, film[1]), []
    first = video_frames(path, 8, tmp_path / "frames")
    stamp = (first.folder / first.names[0]).stat().st_mtime_ns
    again = video_frames(path, 8, tmp_path / "frames", report=said.append)
    assert again == first
    assert (first.folder / first.names[0]).stat().st_mtime_ns == stamp
    assert any("earlier run" in line for line in said)


def test_frames_are_kept_in_the_cache_where_no_folder_is_named(film, tmp_path, monkeypatch):
    monkeypatch.setenv("GATLAS_CACHE", str(tmp_path / "cache"))
    path, said = written(tmp_path, film[1]), []
    first = video_frames(path, 8)
    assert first.folder.parent == tmp_path / "cache/frames"
    (first.folder / first.names[0]).unlink()  # what is not whole is made again
    assert video_frames(path, 8, report=said.append) == first
    assert not any("earlier run" in line for line in said)
    assert (first.folder / first.names[0]).is_file()


def test_a_folder_of_other_frames_is_refused_unless_forced(film, tmp_path):
    path = written(tmp_path, film[1])
    eight = video_frames(path, 8, tmp_path / "frames")
    with pytest.raises(GatlasError, match="not empty: use --force"):
        video_frames(path, 4, tmp_path / "frames")
    four = video_frames(path, 4, tmp_path / "frames", force=True)
    assert sorted(each.name for each in eight.folder.iterdir()) == sorted([INDEX, *four.names])


def test_of_a_film_that_breaks_off_what_is_there_is_taken_with_a_word(film, tmp_path):
    data, said = film[1], []
    found = video_frames(written(tmp_path, data[: len(data) // 2]), 4, tmp_path / "frames", report=said.append)
    assert 3 <= len(found.names) <= 4
    assert max(found.times) < 3
    assert any("breaks off" in line for line in said)


@pytest.mark.parametrize("length", [12, 60, 300, 1200])
def test_a_film_without_its_index_or_pictures_is_one_line(film, tmp_path, length):
    path = written(tmp_path, film[1][:length])
    with pytest.raises(GatlasError) as caught:
        video_frames(path, 8, tmp_path / "frames")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "frames").exists()


def test_a_film_of_two_frames_is_too_short(film, tmp_path):
    with pytest.raises(GatlasError, match="has 2 frames: a fit needs a film around it"):
        video_frames(written(tmp_path, mp4_of(film[0][:2])), 8, tmp_path / "frames")


def test_a_film_in_which_nothing_moves_is_refused(film, tmp_path):
    with pytest.raises(GatlasError, match="nothing moves in it"):
        video_frames(written(tmp_path, mp4_of([film[0][0]] * 10)), 8, tmp_path / "frames")


def test_a_sound_is_no_video(tmp_path):
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(GatlasError, match="has no pictures"):
        video_frames(tmp_path / "clip.mp4", 8, tmp_path / "frames")


def test_videos_are_known_by_their_first_bytes_and_pictures_are_none(film, tmp_path):
    assert is_video(written(tmp_path, film[1], "clip.bin"))
    assert not is_video(written(tmp_path, b"\0\0\0\x18ftypheic\0\0\0\0", "photo.heic"))
    assert not is_video(written(tmp_path, b"glTF" + bytes(20), "a.glb"))
    assert not is_video(tmp_path)
    assert not is_video(tmp_path / "missing.mp4")


def test_a_longer_film_takes_no_more_memory(tmp_path):
    def peak(count):
        path = written(tmp_path, mp4_of(frames_of(count, 160, 120)), f"{count}.mp4")
        video_frames(path, 4, tmp_path / f"{count}a")
        tracemalloc.start()
        video_frames(path, 4, tmp_path / f"{count}b")
        return tracemalloc.get_traced_memory()[1], tracemalloc.stop()

    assert peak(80)[0] < peak(10)[0] + 20 * 160 * 120
