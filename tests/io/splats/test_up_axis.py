"""The vertical axis of a splat file: said by its header or the caller, and nothing else of the object changes."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import around, orbit
from gatlas.geometry.frames import UPRIGHT, turned
from gatlas.geometry.rotations import normalize_quats
from gatlas.geometry.sh import eval_sh, rotated_sh
from gatlas.io.splats.up_axis import Y_DOWN, axis, stated_up, upright_rotation
from gatlas.raster import rasterize, straight_rgba
from gatlas.types import Origin
from tests.helpers.splat_files import dump, foreign, gaussians_of, load, table

COMMENTS = {"z": "Vertical Axis: z", "-z": "up axis = -Z", "x": "vertical_axis: x", "-x": "Vertical axis: -x"}


def lying(gaussians, up, comment=None):
    """A file in which the object's y axis points along `up`, with nobody's comment or with that one."""
    means, quats, sh = turned(gaussians.means, gaussians.quats.astype(float), gaussians.sh, upright_rotation(up).T)
    laid = replace(gaussians, means=means, quats=normalize_quats(quats).astype(np.float32), sh=sh)
    said = f"comment {comment}\n".encode() if comment else b""
    return dump(laid, "y-up").replace(b"comment gatlas frame y-up\n", said)


def pictures(gaussians):
    return straight_rgba(rasterize(gaussians, around(gaussians, orbit(3, 24, 24, elevation=30.0))))[..., :3]


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize("name", ["z", "-z", "x", "-x"])
def test_an_object_written_with_two_up_axes_gives_the_same_picture(name, degree):
    ours = gaussians_of(60, degree)
    ours = replace(ours, means=0.3 * ours.means, sh=0.3 * ours.sh)
    expected = pictures(load(dump(ours)))
    said = load(lying(ours, axis(name), COMMENTS[name]))
    np.testing.assert_allclose(pictures(said), expected, atol=2e-5)
    asked = io.load_gaussians(io.Blob("x.ply", lying(ours, axis(name))), up=name)
    np.testing.assert_allclose(asked.means, said.means)
    assert np.abs(pictures(load(lying(ours, axis(name)))) - expected).max() > 0.05  # unsaid, it lies on its side


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, 1e300, 0.0), (1e-320, 0.0, 0.0), (-0.6, 0.2, 0.7)])
def test_three_numbers_are_the_direction_that_points_up(up):
    unit = np.array(up) / np.abs(up).max()
    unit = tuple(unit / np.linalg.norm(unit))
    ours = gaussians_of(30, 2)
    back = load(lying(ours, unit, "Vertical axis: {} {} {}".format(*up)))
    np.testing.assert_allclose(back.means, ours.means, atol=1e-6)
    np.testing.assert_allclose(np.abs((back.quats * ours.quats).sum(axis=1)), 1, atol=1e-6)
    np.testing.assert_allclose(back.sh, ours.sh, atol=2e-6)


def test_a_direction_on_an_axis_is_turned_as_the_axis():
    for name in UPRIGHT:
        direction = np.add(axis(name), 1e-9)
        np.testing.assert_allclose(upright_rotation(tuple(direction)), upright_rotation(axis(name)), atol=1e-8)


@pytest.mark.parametrize(
    "comment",
    [
        "up: z",
        "Up direction: +Z",
        "z-up",
        "Z up",
        "UpAxis Z_UP",
        "Vertical Axis: Z_UP",
        "axes: z-up",
        "Up Vector: 0 0 2",
    ],
)
def test_other_spellings_of_the_vertical_axis(comment):
    assert stated_up((comment,)) == (comment, (0.0, 0.0, 1.0))


@pytest.mark.parametrize("comment", ["gatlas name z up", "gatlas frame y-down", "update: x", "setup x", "up to date"])
def test_comments_that_say_nothing_of_the_vertical_axis(comment):
    assert stated_up((comment,)) is None


@pytest.mark.parametrize("comment", ["Vertical axis: y", "Vertical axis: 0 -1 0", "Vertical Axis: -y"])
def test_what_brush_writes_of_a_file_that_points_y_down_leaves_its_bytes_meaning(comment):
    data = foreign(table(x=1, y=2, z=3), comments=[comment])
    np.testing.assert_array_equal(load(data).means, [[-1, -2, 3]] * 3)
    assert stated_up((comment,)) == (comment, Y_DOWN)


def test_our_own_comment_wins_and_the_caller_wins_over_it():
    ours = gaussians_of(5)
    data = dump(ours).replace(b"comment gatlas frame", b"comment Vertical Axis: z\ncomment gatlas frame")
    np.testing.assert_array_equal(load(data).means, ours.means)
    asked = io.load_gaussians(io.Blob("x.ply", data), up="y")
    np.testing.assert_array_equal(asked.means, ours.means * [-1, -1, 1])


def test_what_the_header_decides_is_said_in_a_line():
    said = []
    io.load_gaussians(io.Blob("x.ply", foreign(table(), comments=["Vertical Axis: z"])), report=said.append)
    io.load_gaussians(io.Blob("x.ply", foreign(table(), comments=["Vertical Axis: 0 0 0"])), report=said.append)
    assert said == [
        "x.ply: read as z up, as its header says ('Vertical Axis: z'); --up overrides it",
        "x.ply: its header's 'Vertical Axis: 0 0 0' is not understood: y down is assumed; --up sets it",
    ]


def test_the_way_back_to_own_units_turns_with_the_object():
    ours = gaussians_of(5, origin=Origin(center=(1.0, 2.0, 3.0), scale=2.0, normalized=True))
    back = io.load_gaussians(io.Blob("x.ply", dump(ours)), up="y")
    assert back.origin.center == (-1.0, -2.0, 3.0)


def test_harmonics_turn_with_the_object():
    sh = gaussians_of(20, 3).sh.astype(np.float64)
    directions = np.random.default_rng(1).normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rotation = upright_rotation((0.48, -0.64, 0.6))
    seen = eval_sh(rotated_sh(sh, rotation), directions @ rotation.T)
    np.testing.assert_allclose(seen, eval_sh(sh, directions), atol=1e-12)


def test_index_maps_need_an_axis_that_they_can_name():
    data = io.Blob("x.ply", foreign(table(), comments=["Vertical Axis: z"]))
    with pytest.raises(GatlasError, match=r"^x\.ply: its header says z up"):
        io.stored_frame(data)


@pytest.mark.shared
def test_a_file_of_nerfstudio_stands_up(shared_data):
    case = shared_data / "cases" / "splat_up_axis"
    base, nerfstudio = io.load_gaussians(case / "base.ply", up="z"), io.load_gaussians(case / "nerfstudio.ply")
    np.testing.assert_array_equal(base.means, nerfstudio.means)
    plain = io.load_gaussians(case / "base.ply")
    np.testing.assert_allclose(nerfstudio.means, plain.means[:, [0, 2, 1]] * [-1, 1, 1])
