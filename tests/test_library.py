"""Every verb from Python: the same options, no command line, the same result as the command line's file.

`fit`, `train`, `sample`, `pose-pnp` and batches have such tests in the folders of their rooms.
"""

import numpy as np
import pytest

from gatlas import io
from gatlas.atlas import (
    DecodeOptions,
    EncodeOptions,
    StatisticsOptions,
    decode,
    encode,
    measure_statistics,
    merge_statistics,
)
from gatlas.atlas.set_statistics import LazyAtlas
from gatlas.cli.verbs import VERBS
from gatlas.geometry.cameras import orbit
from gatlas.prune import PruneOptions, measure_pruning, prune
from gatlas.render import RenderOptions, render
from tests.helpers.atlas_sets import ball, random_atlas
from tests.helpers.command_line import expect, run_here


@pytest.fixture
def command_line(tmp_path):
    return lambda *words: expect(run_here(words, tmp_path), 0)


def assert_equal_gaussians(one, other):
    for name in ("means", "quats", "scales", "opacities", "sh"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_options_of_every_verb_are_made_without_a_command_line():
    assert {type(options) for options in (EncodeOptions(), DecodeOptions(), StatisticsOptions(), RenderOptions())} <= {
        verb.options for verb in VERBS.values()
    }


def test_prune_keeps_the_most_opaque_as_the_command_line_does(tmp_path, command_line):
    io.save_gaussians(tmp_path / "ball.ply", ball("red", 40))
    gaussians = io.load_gaussians(tmp_path / "ball.ply")
    kept = prune(gaussians, PruneOptions(count=10, score="opacity"))
    order = np.sort(np.argsort(-gaussians.opacities, kind="stable")[:10])
    assert_equal_gaussians(kept, gaussians[order])
    command_line("prune", "ball.ply", "-n", 10, "--score", "opacity", "-o", "small.ply")
    assert_equal_gaussians(io.load_gaussians(tmp_path / "small.ply"), kept)
    assert measure_pruning(gaussians, gaussians, None, resolution=16)["psnr"] > 120  # moved into the ball and back
    assert measure_pruning(gaussians, kept, None, resolution=16)["psnr"] < 40


def test_encode_and_decode_are_those_of_the_command_line(tmp_path, command_line):
    io.save_gaussians(tmp_path / "ball.ply", ball("red", 50))
    options = EncodeOptions(size=8, projection="octahedral", threads=2)
    atlas = encode(io.load_gaussians(tmp_path / "ball.ply"), options)
    command_line("atlas-encode", "ball.ply", "--size", 8, "--projection", "octahedral", "-o", "ball.npz")
    stored = io.load_atlas(tmp_path / "ball.npz")
    for plane in ("offset", "color", "opacity", "scale", "rotation"):
        np.testing.assert_array_equal(getattr(stored, plane), getattr(atlas, plane))
    command_line("atlas-decode", "ball.npz", "-o", "back.ply")
    back = io.load_gaussians(tmp_path / "back.ply")
    decoded = decode(stored)
    assert len(decoded) == len(back) == 50
    np.testing.assert_allclose(back.means, decoded.means, atol=1e-7)


def test_statistics_are_numpys_and_parts_merge_to_the_whole(tmp_path, command_line):
    atlases = [random_atlas(seed) for seed in range(5)]
    sources = [LazyAtlas(f"{i}.npz", str(i), lambda atlas=atlas: atlas) for i, atlas in enumerate(atlases)]
    whole, report = measure_statistics(sources)
    offsets = np.stack([atlas.offset for atlas in atlases]).astype(np.float64)
    np.testing.assert_allclose(whole.mean[..., :3], offsets.mean(axis=0), atol=1e-12)
    assert report["count"] == 5
    parts = [("first", measure_statistics(sources[:2]).stats), ("rest", measure_statistics(sources[2:]).stats)]
    np.testing.assert_allclose(merge_statistics(parts).m2, whole.m2, atol=1e-12)
    (tmp_path / "set").mkdir()
    for number, atlas in enumerate(atlases):
        io.save_atlas(tmp_path / "set" / f"{number}.npz", atlas)
    command_line("normalize-stats", "set/", "-o", "stats.npz")
    np.testing.assert_allclose(io.load_stats(tmp_path / "stats.npz").mean, whole.mean, atol=1e-12)


def test_render_takes_an_orbit_or_given_cameras(tmp_path, command_line):
    gaussians = ball("green", 30)
    options = RenderOptions(orbit=2, width=24, elevation=10, background="black")
    views = render(gaussians, options)
    assert views.images.shape == (2, 24, 24, 3)
    again = render(gaussians, RenderOptions(background="black"), cameras=orbit(2, 24, 24, elevation=10))
    np.testing.assert_array_equal(again.images, views.images)
    io.save_gaussians(tmp_path / "ball.ply", gaussians)
    command_line(
        "render", "ball.ply", "--orbit", 2, "--width", 24, "--elevation", 10, "--background", "black", "-o", "x.png"
    )
    sheet = io.load_image(tmp_path / "x.png")
    assert np.abs(sheet[:, :24] - views.images[0]).max() < 1 / 255
