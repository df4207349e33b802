"""`gatlas info` shows a small picture in a terminal, and nothing but facts elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.cli.inspect_tree import drawn_tree
from gatlas.inspection import Inspection, inspect
from gatlas.inspection.pictures import small_picture
from tests.helpers.atlas_sets import random_atlas
from tests.helpers.command_line import run_here
from tests.helpers.splat_files import one_gaussian
from tests.helpers.terminals import in_a_terminal

SIZE = {"columns": 80, "lines": 40}


def opaque():
    """One small Gaussian, in the middle."""
    return replace(one_gaussian(), opacities=np.float32([0.99]), scales=np.full((1, 3), 0.2, np.float32))


@pytest.mark.slow
def test_a_picture_follows_the_facts_in_a_terminal(tmp_path):
    io.save_gaussians(tmp_path / "x.ply", opaque())
    shown, _ = in_a_terminal(["info", "x.ply"], tmp_path, **SIZE)
    rows = shown.splitlines()[-20:]
    assert len(rows) == 20  # 40 pixels
    drawn = [i for i, row in enumerate(rows) if "▀" in row]
    assert drawn
    assert abs(np.mean(drawn) - 9.5) < 1.5, "the Gaussian is in the middle"


def test_the_facts_in_a_terminal_are_a_tree(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    found = Inspection("x.ply", "splat", "a splat PLY", notes=["x.ply: its axes are a guess"])
    found.facts = {"Gaussians": 16384, "bounds": {"from": [0.0, 1.0], "to": [2.0, 3.0]}, "name": "pot [red]\x1b[2J"}
    found.find("3 Gaussians are not finite", "gatlas prune drops them")
    assert drawn_tree(found) == (
        "x.ply: a splat PLY\n"
        "├── Gaussians  16,384\n"
        "├── bounds\n"
        "│   ├── from  0 1\n"
        "│   └── to    2 3\n"
        "├── name       pot [red]\\x1b[2J\n"
        "├── note: its axes are a guess\n"
        "└── wrong: 3 Gaussians are not finite: gatlas prune drops \n"
        "    them\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("words", "term"), [(["--json"], "xterm-256color"), ([], "dumb")])
def test_no_picture_is_in_json_nor_where_a_terminal_shows_none(tmp_path, words, term):
    io.save_gaussians(tmp_path / "x.ply", opaque())
    words = ["info", *words, "x.ply"]
    shown, _ = in_a_terminal(words, tmp_path, **SIZE, term=term)
    assert shown == run_here(words, tmp_path).stdout.decode()


def test_splats_atlases_meshes_and_pictures_have_a_small_picture(tmp_path):
    io.save_gaussians(tmp_path / "x.ply", opaque())
    io.save_atlas(tmp_path / "x.npz", random_atlas())
    io.save_image(tmp_path / "x.png", np.full((100, 50, 3), 0.5, np.float32))
    (tmp_path / "x.obj").write_text("v -1 -1 0\nv 1 -1 0\nv 0 1 0\nf 1 2 3\n")
    for name, size in [("x.ply", (16, 16, 4)), ("x.npz", (16, 16, 4)), ("x.obj", (16, 16, 4)), ("x.png", (16, 8, 3))]:
        picture = small_picture(inspect(str(tmp_path / name)), 16)
        assert picture.shape == size
        assert picture[..., -1].max() > 0.4, name


def test_what_is_too_large_to_draw_and_what_is_unreadable_have_no_picture(tmp_path, monkeypatch):
    io.save_gaussians(tmp_path / "x.ply", opaque())
    (tmp_path / "x.txt").write_text("hello")
    assert small_picture(inspect(str(tmp_path / "x.txt")), 16) is None
    monkeypatch.setattr("gatlas.inspection.pictures.MOST_GAUSSIANS", 0)
    assert small_picture(inspect(str(tmp_path / "x.ply")), 16) is None
