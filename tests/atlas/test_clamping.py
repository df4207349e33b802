"""One color per Gaussian in an atlas, and what its summary says of clamping: what pictures show."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.atlas import EncodeOptions, encode
from gatlas.atlas.encoding import summary
from gatlas.atlas.spaces import clamping_psnr
from tests.helpers.shiny_ball import shiny_ball


def test_harmonics_that_are_all_zero_give_the_same_bytes_as_none():
    ball = shiny_ball(100)
    padded = replace(ball, sh=ball.sh * np.float32([1, 0, 0, 0])[:, None])
    bare = replace(ball, sh=ball.sh[:, :1])
    first, second = (io.atlas_bytes(encode(each, EncodeOptions(size=10))) for each in (padded, bare))
    assert b"".join(map(bytes, first)) == b"".join(map(bytes, second))


def said(gaussians):
    return summary(encode(gaussians, EncodeOptions(size=10)), gaussians)


def test_thin_discs_are_clamped_without_a_word():
    ball = replace(shiny_ball(100), sh=np.zeros((100, 1, 3), np.float32))
    thin = replace(ball, scales=(ball.scales * [1, 1, 1e-8]).astype(np.float32))
    assert encode(thin, EncodeOptions(size=10)).meta["clamped"]["scales"] == 100
    assert clamping_psnr(thin) > 60
    assert "scales outside" not in said(thin)


def test_what_pictures_show_of_clamping_is_said_with_what_to_do():
    ball = replace(shiny_ball(100), sh=np.zeros((100, 1, 3), np.float32))
    ball.scales[:2, :2] = 0.9
    assert clamping_psnr(ball) < 40
    line = said(ball)
    assert "dB): 2 Gaussians with scales outside -9..-1.5" in line
    assert "split or remove the largest" in line
    assert "view-dependent" not in line


def test_view_dependent_colour_is_mentioned_once():
    assert said(shiny_ball(100)).count("100 got the mean of their view-dependent color") == 1


@pytest.mark.shared
@pytest.mark.parametrize("name", ["gaussianverse_9350303", "gaussianverse_9585727"])
def test_the_thin_discs_of_a_published_fit_are_clamped_unseen(shared_data, name):
    assert clamping_psnr(io.load_gaussians(shared_data / "splats" / f"{name}.ply")) > 70
