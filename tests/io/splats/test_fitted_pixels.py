"""The pixels that a splat was fitted to and the mode that it is for, in the headers of splat files."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from gatlas.geometry.frames import denormalized
from gatlas.io.splats.ply import encode_ply
from gatlas.raster import rasterize
from gatlas.raster.blur import fitted_blur
from gatlas.types import Origin
from tests.helpers.raster_scenes import gaussians
from tests.helpers.splat_files import dump, foreign, gaussians_of, load, table
from tests.io.splats.test_splat_formats import compressed_ply, spz

FITTED = Origin("tea", (0.5, -2.0, 3.0), 4.0, normalized=True, pixel_sizes=(0.001, 1 / 300), antialiased=True)


def test_the_header_holds_both():
    lines = encode_ply(gaussians_of(5, origin=FITTED))[0].decode().splitlines()
    assert f"comment gatlas pixels 0.001 {1 / 300!r}" in lines
    assert "comment SplatRenderMode: mip" in lines
    assert not [line for line in lines if "ball" in line]
    assert load(dump(gaussians_of(5, origin=FITTED))).origin == FITTED


def test_own_units_hold_the_ball_too():
    own = denormalized(gaussians_of(5, origin=FITTED))
    assert load(dump(own)).origin == own.origin
    assert own.origin.ball == (0.5, -2.0, 3.0, 4.0)
    assert "comment gatlas ball 0.5 -2.0 3.0 4.0" in encode_ply(own)[0].decode().splitlines()


def test_the_ball_turns_with_the_object():
    data = dump(denormalized(gaussians_of(5, origin=FITTED)))
    turned = io.load_gaussians(io.Blob("x.ply", data), up="y")  # on its head: half a turn about z
    assert turned.origin.ball == (-0.5, 2.0, 3.0, 4.0)
    assert io.load_gaussians(io.Blob("x.ply", data), as_stored=True).origin.ball == (-0.5, 2.0, 3.0, 4.0)


def test_the_ball_of_a_far_object_is_relative_to_its_center():
    splat = gaussians_of(500)
    near = replace(
        splat, means=splat.means + np.float32(1e7), origin=Origin(pixel_sizes=(1, 2), ball=(1e7, 1e7, 1e7, 4))
    )
    with pytest.warns(UserWarning, match="far from the origin"):
        origin = load(dump(near)).origin
    assert np.add(origin.center, origin.ball[:3]) == pytest.approx([1e7] * 3)


@pytest.mark.parametrize("line", ["pixels 1", "pixels 2 1", "pixels 0 1", "pixels a b", "pixels 1 nan", "pixels 1 inf"])
@pytest.mark.parametrize("ball", ["ball 0 0 0 1"])
def test_damaged_pixels_are_refused(line, ball):
    with pytest.raises(GatlasError, match=r"x\.ply: its 'comment gatlas …' lines are damaged"):
        load(foreign(table(), comments=[f"gatlas {line}", f"gatlas {ball}"]))


@pytest.mark.parametrize("line", ["pixels 1e30 1e30", "pixels 1e-300 1", "pixels 1 1e300"])
@pytest.mark.parametrize("ball", [[], ["gatlas ball 0 0 0 1e3"]])
def test_pixels_that_no_camera_has_are_refused(line, ball):
    """They would blur every picture until it is empty."""
    with pytest.raises(GatlasError, match="lines are damaged"):
        load(foreign(table(), comments=[f"gatlas {line}", *ball]))


@pytest.mark.parametrize(
    "ball", ["ball 0 0 0", "ball 0 0 0 0", "ball 0 nan 0 1", "ball 1e300 0 0 1", "ball 0 0 0 1e99"]
)
def test_a_damaged_ball_is_refused(ball):
    with pytest.raises(GatlasError, match="lines are damaged"):
        load(foreign(table(), comments=["gatlas pixels 1 2", f"gatlas {ball}"]))


@pytest.mark.parametrize(
    ("comments", "antialiased"),
    [
        ([], False),
        (["SplatRenderMode: default"], False),
        (["SplatRenderMode: mip"], True),
        (["splatrendermode: MIP"], True),
        (["antialiased 1"], True),  # Postshot
        (["antialiased 0"], False),
        (["SplatRenderMode: mip", "SplatRenderMode: default"], False),  # the last counts, as for Brush
        (["SplatRenderMode: mip", "antialiased as never before"], True),
        (["SplatRenderMode: sparkling"], False),
    ],
)
def test_the_mode_that_other_programs_name(comments, antialiased):
    assert load(foreign(table(), comments=comments)).origin.antialiased is antialiased


def test_compressed_files_name_it_too():
    data = compressed_ply()
    assert not load(data).origin.antialiased
    assert load(data.replace(b"element chunk", b"comment SplatRenderMode: mip\nelement chunk")).origin.antialiased
    assert [load(spz(flags=flags), "x.spz").origin.antialiased for flags in (0, 1)] == [False, True]


def test_a_header_of_before_is_read_and_shown_as_before():
    splat = replace(gaussians(20, 1, size=0.1), origin=Origin("tea", normalized=True))
    assert b"pixels" not in dump(splat)
    back = load(dump(splat))
    assert back.origin == splat.origin
    plain = load(foreign(table(3, x=[0, 0.1, 0.2], scale_0=-2, scale_1=-2, scale_2=-2), comments=["made by another"]))
    for each in (back, plain):
        cameras = orbit(1, 96, 96)
        given = rasterize(each, cameras, eps2d=0.3, rasterize_mode="classic")
        np.testing.assert_array_equal(rasterize(each, cameras).colors, given.colors)
        assert given.alphas.max() > 0


def test_what_is_read_back_is_shown_alike():
    splat = replace(gaussians(20, 1, size=0.1), origin=replace(FITTED, pixel_sizes=(0.01, 0.02)))
    back, cameras = load(dump(splat)), orbit(1, 1024, 1024)
    assert fitted_blur(back, cameras)[0] == fitted_blur(splat, cameras)[0] > 3
    np.testing.assert_allclose(rasterize(back, cameras).colors, rasterize(splat, cameras).colors, atol=1e-4)
