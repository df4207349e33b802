"""Masks of the cells of an atlas: parts of the unit ball, arrays and pictures."""

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.systems import SYSTEMS, system_module
from gatlas.systems.conditions import check_options
from gatlas.systems.edits import read_cells
from gatlas.systems.options import SampleOptions
from gatlas.transport import fibonacci_sphere
from gatlas.types import Atlas
from tests.helpers.atlas_sets import random_atlas

ATLAS = random_atlas()


def atlas_at(points, **meta) -> Atlas:
    """An atlas whose cells hold these positions, in the order of the cells."""
    from gatlas.atlas.plane import plane_permutation

    atlas = random_atlas(**meta)
    sphere = fibonacci_sphere(64)[plane_permutation(8, "equirect")]
    atlas.offset[:] = (points - sphere).reshape(8, 8, 3)
    return atlas


def marked(mask, atlas=ATLAS):
    return read_cells(str(mask), atlas, "chair.npz")


def test_a_box_and_a_ball_mark_the_gaussians_in_them_but_no_padding():
    points = np.random.default_rng(0).uniform(-0.9, 0.9, (64, 3))
    atlas = atlas_at(points)
    atlas.opacity[0] = 0
    real = np.arange(64) >= 8
    box = ((points >= [-1, 0, -0.5]) & (points <= [1, 1, 0.5])).all(axis=1)
    np.testing.assert_array_equal(marked("box:1,0,0.5,-1,1,-0.5", atlas).ravel(), box & real)
    ball = np.linalg.norm(points - [0.5, 0, 0], axis=1) <= 0.7
    np.testing.assert_array_equal(marked("sphere:0.5,0,0,0.7", atlas).ravel(), ball & real)
    # The axes of published files are turned by half a turn about z.
    turned = atlas_at(points * [-1, -1, 1], frame="y-down")
    np.testing.assert_array_equal(marked("box:1,0,0.5,-1,1,-0.5", turned).ravel(), box)


def test_arrays_and_pictures_mark_cells_row_by_row(tmp_path):
    cells = np.random.default_rng(1).random((8, 8)) > 0.5
    np.savez(tmp_path / "bool.npz", mask=cells)
    np.savez(tmp_path / "float.npz", mask=cells[..., None] * 0.1)
    io.save_image(tmp_path / "white.png", np.repeat(cells[..., None], 3, axis=-1).astype(np.float32))
    rgba = np.concatenate([np.ones((8, 8, 3)), cells[..., None]], axis=-1).astype(np.float32)
    io.save_image(tmp_path / "clear.png", rgba)
    for name in ("bool.npz", "float.npz", "white.png", "clear.png"):
        np.testing.assert_array_equal(marked(tmp_path / name), cells)


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        ("box:0,0,0,1,1", r"--mask box:0,0,0,1,1: needs box:X,Y,Z,X,Y,Z or sphere:X,Y,Z,R"),
        ("sphere:0,0,0,a", r"--mask sphere:0,0,0,a: needs box"),
        ("box:5,5,5,6,6,6", r"no Gaussian of chair\.npz is in it"),
        ("small.npz", r"small\.npz: has 4 x 4 cells and chair\.npz has 8 x 8"),
        ("small.png", r"small\.png: has 4 x 4 cells and chair\.npz has 8 x 8"),
        ("none.npz", r"none\.npz: marks no cell"),
        ("other.npz", r"other\.npz: has no array 'mask' of numbers"),
        ("text.npz", r"text\.npz: has no array 'mask' of numbers"),
        ("nan.npz", r"nan\.npz: no mask: .*NaN"),
        ("junk.npz", r"junk\.npz: no mask: .*--mask takes an NPZ"),
        ("absent.npz", r"absent\.npz: "),
    ],
)
def test_a_mask_that_cannot_be_used_is_told_in_one_line(tmp_path, monkeypatch, mask, told):
    monkeypatch.chdir(tmp_path)
    np.savez("small.npz", mask=np.ones((4, 4)))
    io.save_image("small.png", np.ones((4, 4, 3), dtype=np.float32))
    np.savez("none.npz", mask=np.zeros((8, 8), dtype=bool))
    np.savez("other.npz", cells=np.ones((8, 8)))
    np.savez("text.npz", mask=np.full((8, 8), "x"))
    np.savez("nan.npz", mask=np.full((8, 8), np.nan))
    (tmp_path / "junk.npz").write_bytes(b"no zip")
    with pytest.raises(GatlasError, match=told) as error:
        marked(mask)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("system", [name for name in SYSTEMS if name != "gaussian-atlas"])
@pytest.mark.parametrize("name", ["from_atlas", "keep", "strength", "repeats"])
def test_systems_that_take_no_atlas_refuse_the_options_of_one(system, name):
    flag = "--from" if name == "from_atlas" else f"--{name}"
    options = SampleOptions("run", from_atlas="a.npz") if name != "keep" else SampleOptions("run", keep="a", mask="b")
    with pytest.raises(GatlasError, match=f"^{flag}: run is a model of {system}, which") as error:
        check_options(system, system_module(system).TAKES, options, (), {name})
    assert "\n" not in str(error.value)
