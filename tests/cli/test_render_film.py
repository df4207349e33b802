import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

FILM = ["--seconds", "0.3", "--fps", "10", "--width", "48"]


def first_frame(path):
    if path.suffix == ".mp4":
        av = pytest.importorskip("av")
        with av.open(str(path)) as film:
            return next(film.decode(video=0)).to_ndarray(format="rgb24")
    with Image.open(path) as film:
        return np.asarray(film.convert("RGB"))


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_the_first_frame_of_a_film_is_the_picture_of_its_camera(gatlas, splat, tmp_path, suffix):
    pytest.importorskip("av")
    gatlas("render", splat, "-o", f"a{suffix}", *FILM, "--elevation", 50)
    gatlas("render", splat, "-o", "a.png", "--width", 48, "--elevation", 50)
    picture = np.asarray(Image.open(tmp_path / "a.png"), dtype=float)
    error = np.mean((first_frame(tmp_path / f"a{suffix}") - picture) ** 2) / 255**2
    assert -10 * np.log10(error) > 30


def test_a_film_follows_the_cameras_of_a_path(gatlas, splat, tmp_path):
    gatlas("render", splat, "--orbit", 5, "--width", 24, "-o", "views/")
    gatlas("render", splat, "--path", "views", "--fps", 10, "-o", "a.gif")
    gatlas("render", splat, "--path", "views/transforms.json", "--seconds", 0.8, "--fps", 10, "-o", "b.gif")
    with Image.open(tmp_path / "a.gif") as each, Image.open(tmp_path / "b.gif") as smooth:
        assert (each.size, each.n_frames, smooth.n_frames) == ((24, 24), 5, 8)


def test_many_films_are_a_batch(gatlas, splat, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        (tmp_path / "in" / f"{name}.ply").write_bytes(splat.read_bytes())
    gatlas("render", "in", "-o", "out/{stem}.webp", *FILM)
    assert {path.name for path in (tmp_path / "out").glob("*.webp")} == {"one.webp", "two.webp"}
    again = gatlas("render", "in", "-o", "out/{stem}.webp", *FILM)
    assert "2 earlier" in again.stderr


def test_a_mesh_turns_too(gatlas, example, tmp_path):
    gatlas("render", example, "-o", "a.gif", *FILM)
    assert Image.open(tmp_path / "a.gif").n_frames == 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-o", "a.avi"], "a.avi: a film cannot be written as .avi: name the output a.mp4"),
        (["-o", "a.png", "--fps", 3], "--fps is for films: name the output x.mp4, x.gif or x.webp"),
        (["-o", "d/", "--seconds", 3], "--seconds is for films: name the output x.mp4, x.gif or x.webp"),
        (["-o", "-", "--path", "x.json"], "--path is for films: name the output x.mp4, x.gif or x.webp"),
        (["-o", "a.gif", "--orbit", 3], "--orbit is not for films: its cameras are --seconds times --fps"),
        (["-o", "a.gif", "--camera", "x.json"], "--camera is not for films: use --path FILE"),
        (["-o", "a.gif", "--path", "x.json", "--orbit", 3], "--orbit and --path exclude each other"),
        (["-o", "a.gif", "--background", "transparent"], "a.gif: GIF holds no partial transparency: name the output a"),
        (["-o", "a.gif", "--fps", 60], "a.gif: GIF has at most 50 frames per second, not 60"),
    ],
)
def test_what_a_film_cannot_be_is_one_line(gatlas, splat, tmp_path, words, line):
    before = set(tmp_path.iterdir())
    said = gatlas("render", splat, *words, code=1).stderr
    assert said.startswith(f"gatlas render: {line}")
    assert said.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


def test_an_atlas_has_no_film(gatlas, splat, tmp_path):
    gatlas("atlas-encode", splat, "--size", 16, "-o", "a.npz")
    assert "for a film of it, run atlas-decode first" in gatlas("render", "a.npz", "-o", "a.gif", code=1).stderr


def test_a_film_with_a_missing_extra_is_one_line(gatlas, splat, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    said = gatlas("render", splat, "-o", "a.mp4", code=1).stderr
    assert said == ("gatlas render: a.mp4: MP4 needs PyAV: pip install 'gatlas[video]', or name the output a.webp\n")


def test_an_existing_film_is_kept(gatlas, splat, tmp_path):
    (tmp_path / "a.gif").write_bytes(b"mine")
    assert "a.gif exists: use --force" in gatlas("render", splat, "-o", "a.gif", *FILM, code=1).stderr
    assert (tmp_path / "a.gif").read_bytes() == b"mine"


def test_a_film_goes_into_a_named_pipe(gatlas, splat, tmp_path):
    pytest.importorskip("av")
    os.mkfifo(tmp_path / "pipe.mp4")
    with subprocess.Popen(["cat", "pipe.mp4"], stdout=subprocess.PIPE, cwd=tmp_path) as reader:
        gatlas("render", splat, *FILM, "-o", "pipe.mp4")
        through = reader.communicate()[0]
    gatlas("render", splat, *FILM, "-o", "file.mp4")
    assert through == (tmp_path / "file.mp4").read_bytes()


def test_a_reader_that_dies_ends_a_film_quietly(splat, tmp_path):
    os.mkfifo(tmp_path / "pipe.gif")
    line = f"head -c 10 pipe.gif > head & {sys.executable} -m gatlas render {splat} --seconds 3 -o pipe.gif; echo $?"
    run = subprocess.run(["bash", "-c", line], capture_output=True, cwd=tmp_path, check=False)
    assert (run.stdout.decode().strip(), run.stderr) == ("141", b"")
    assert (tmp_path / "head").read_bytes() == b"GIF89a" + (512).to_bytes(2, "little") * 2
