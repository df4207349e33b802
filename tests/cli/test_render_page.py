"""gatlas render -o x.html: splats as one page for a browser."""

import base64
import gzip
import json
import os
import re
import subprocess
import sys

import pytest

from tests.cli.test_errors import only_message


def settings(path):
    """What the page tells its script."""
    return json.loads(re.search(r'id="page">(.*?)</script>', path.read_text())[1])


def names(path):
    return [splat["name"] for splat in settings(path)["splats"]]


@pytest.fixture
def atlas(gatlas, splat):
    gatlas("atlas-encode", "ball.ply", "--size", 10, "-o", "ball.npz")
    return "ball.npz"


def test_a_page_holds_all_that_it_shows(gatlas, splat, tmp_path):
    gatlas("render", "ball.ply", "-o", "x.html")
    text = (tmp_path / "x.html").read_text()
    addresses = set(re.findall(r'(?:src|href)="([^"]{0,5})', text))
    assert addresses == {"data:"}
    assert not re.search(r"https?:|\bimport\b|@import|url\(", text)
    data = re.search(r'id="splat-0">(.*?)</script>', text)[1]
    assert len(gzip.decompress(base64.b64decode(data))) == 100 * (3 * 2 + 3 + 4 + 3 + 1)
    assert names(tmp_path / "x.html") == ["ball"]


def test_the_page_begins_as_the_options_say(gatlas, splat, tmp_path):
    gatlas("render", "ball.ply", "--azimuth", 90, "--elevation", -30, "--background", "#102030", "-o", "x.html")
    found = settings(tmp_path / "x.html")
    assert found["azimuth"] == pytest.approx(1.5707963)
    assert found["elevation"] == pytest.approx(-0.5235988)
    assert found["background"] == "#102030"
    assert '<body style="--page: #102030" class="dark"' in (tmp_path / "x.html").read_text()


def test_the_same_splat_gives_the_same_page(gatlas, splat, tmp_path):
    for name in ("a.html", "b.html"):
        gatlas("render", "ball.ply", "-o", name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_files_folders_and_atlases_are_gathered_on_one_page(gatlas, atlas, splat_bytes, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.ply").write_bytes(splat_bytes)
    gatlas("render", "ball.ply", "more", atlas, "-o", "x.html")
    assert names(tmp_path / "x.html") == ["ball", "other", "ball (2)"]
    assert settings(tmp_path / "x.html")["together"]


def test_a_tar_of_samples_is_one_page_also_from_a_pipe(gatlas, splat, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.ply").write_bytes(splat.read_bytes())
    subprocess.run(["tar", "-cf", "s.tar", "a.ply", "b.ply"], cwd=tmp_path, check=True)
    gatlas("render", "s.tar", "-o", "x.html")
    gatlas("render", "-o", "y.html", stdin=(tmp_path / "s.tar").read_bytes())
    assert names(tmp_path / "x.html") == names(tmp_path / "y.html") == ["a", "b"]


def test_of_many_only_the_first_is_shown_at_first(gatlas, splat, tmp_path):
    gatlas("render", *["ball.ply"] * 10, "-o", "x.html")
    assert not settings(tmp_path / "x.html")["together"]
    assert (tmp_path / "x.html").read_text().count('style="display: none"') == 9


def test_a_name_in_curly_brackets_is_a_page_of_each(gatlas, splat, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.ply").write_bytes(splat.read_bytes())
    gatlas("render", "in", "-o", "out/{stem}.html")
    assert [names(tmp_path / "out" / f"{name}.html") for name in ("a", "b")] == [["a"], ["b"]]


def test_an_atlas_is_shown_below_its_splat_on_request(gatlas, atlas, tmp_path):
    for words, shown in ((), False), (("--with-atlas",), True):
        gatlas("render", atlas, *words, "-o", "x.html", "--force")
        assert ('class="atlas"' in (tmp_path / "x.html").read_text()) == shown


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["ball.ply", "--width", 64], "--width is not for pages"),
        (["ball.ply", "--orbit", 4], "--orbit is not for pages"),
        (["ball.ply", "--camera", "c.json"], "--camera is not for pages"),
        (["ball.ply", "--with-atlas"], "--with-atlas is for atlases"),
        (["ball.ply", "--background", "mauve"], "is not a color"),
        (["ball.ply", "ball.ply", "--jobs", 2], "takes no --jobs"),
        (["ROCKET"], "a page shows splats and atlases: fit the mesh first"),
        (["ball.ply", "nowhere.ply"], "nowhere.ply"),
        (["ball.npz", "--up", "z"], "an atlas is upright"),
    ],
)
def test_what_cannot_be_shown_is_one_line(gatlas, splat, atlas, example, tmp_path, words, fault):
    words = [str(example) if word == "ROCKET" else word for word in words]
    assert fault in only_message(gatlas("render", *words, "-o", "x.html", code=1))
    assert not (tmp_path / "x.html").exists()


def test_a_page_is_not_read(gatlas, splat):
    gatlas("render", "ball.ply", "-o", "x.html")
    assert "name the splat that it was made of" in only_message(gatlas("prune", "x.html", "-o", "y.ply", code=1))


def test_with_atlas_is_for_pages(gatlas, atlas):
    assert "--with-atlas is for pages" in only_message(gatlas("render", atlas, "--with-atlas", "-o", "x.png", code=1))


def test_a_splat_that_nobody_can_see_is_one_line(gatlas, tmp_path):
    from gatlas import io
    from tests.helpers.splat_files import gaussians_of

    faint = gaussians_of(5)
    faint.opacities[:] = 1e-4
    io.save_gaussians(tmp_path / "faint.ply", faint)
    assert "faint: nothing to show" in only_message(gatlas("render", "faint.ply", "-o", "x.html", code=1))


def test_a_name_that_is_no_text_does_not_break_the_page(gatlas, splat_bytes, tmp_path):
    name = os.fsdecode(b"\xff<b>\x1b[31m.ply")
    (tmp_path / name).write_bytes(splat_bytes)
    gatlas("render", tmp_path / name, "-o", "x.html")
    assert names(tmp_path / "x.html") == ["?<b>\\x1b[31m"]
    assert "<title>?&lt;b&gt;" in (tmp_path / "x.html").read_text()


@pytest.mark.slow
def test_a_page_needs_no_torch(splat, tmp_path):
    script = (
        "import sys; from gatlas.cli import main\n"
        "try: main(['render', 'ball.ply', '-o', 'x.html'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "standard output is no terminal to show a picture in"),
        (["ball.ply"], "standard output is no terminal to show a picture in"),
        (["-o", "x.png"], "--inline shows the picture in the terminal and writes no file"),
        (["-o", "x.html"], "--inline shows a picture in the terminal and writes no file"),
        (["-o", "x.gif"], "--inline shows a picture in the terminal and writes no file"),
    ],
)
def test_inline_is_for_a_terminal(gatlas, splat, tmp_path, words, fault):
    assert fault in only_message(gatlas("render", "ball.ply", "--inline", *words, code=1))
    assert [path.name for path in tmp_path.iterdir()] == ["ball.ply"]
