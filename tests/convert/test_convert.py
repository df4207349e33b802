"""Splats moved, turned, scaled, cropped and merged: against the covariances and colors of moved points."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.convert import ConvertOptions, convert, merge
from gatlas.errors import GatlasError
from gatlas.geometry.rotations import quats_to_matrices
from gatlas.geometry.sh import eval_sh
from gatlas.types import Origin
from tests.helpers.command_line import run_here
from tests.helpers.splat_files import gaussians_of

NORMALIZED = Origin("pot", (1.0, 2.0, 3.0), 4.0, True, pixel_sizes=(0.001, 0.002))


def covariances(g):
    axes = quats_to_matrices(g.quats.astype(float)) * g.scales[:, None]
    return axes @ axes.transpose(0, 2, 1)


def test_scaled_then_turned_then_moved():
    ours = gaussians_of(6, degree=2)
    g = convert(ours, ConvertOptions(scale=2.0, rotate="90,0,90", translate="1,0,-1"))
    turn = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0.0]])  # y to z to z; x to x to y; z to -y to x
    np.testing.assert_allclose(g.means, 2 * ours.means @ turn.T + [1, 0, -1], atol=1e-5)
    np.testing.assert_allclose(covariances(g), 4 * turn @ covariances(ours) @ turn.T, atol=1e-5)
    directions = np.random.default_rng(0).normal(size=(6, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(eval_sh(g.sh, directions @ turn.T), eval_sh(ours.sh, directions), atol=1e-4)


def test_what_was_moved_is_in_the_units_that_result_and_it_is_said():
    said = []
    g = convert(gaussians_of(6, origin=NORMALIZED), ConvertOptions(scale=3.0), report=said.append)
    assert (g.origin.normalized, g.origin.center, g.origin.scale) == (False, (0, 0, 0), 1)
    np.testing.assert_allclose(g.origin.pixel_sizes, (0.003, 0.006))
    assert len(said) == 1
    assert "the way back to the units of its source is left out" in said[0]


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_a_scale_out_of_the_range_of_floats_is_named(scale):
    with pytest.raises(GatlasError, match=r"--scale 1e[+-]300: the Gaussians leave the range of 32-bit numbers"):
        convert(gaussians_of(3), ConvertOptions(scale=scale))


def test_denormalized_first():
    ours = gaussians_of(6, origin=NORMALIZED)
    g = convert(ours, ConvertOptions(denormalize=True, translate="-1,-2,-3"))
    np.testing.assert_allclose(g.means, 4 * ours.means, atol=1e-5)


def test_a_splat_far_away_keeps_its_precision():
    """Its positions are relative to a center, which moves and turns with it."""
    far = gaussians_of(6, origin=Origin("map", (5e6, 0.0, 0.0)))
    g = convert(far, ConvertOptions(rotate="0,0,90", translate="0,0,7"))
    np.testing.assert_allclose(g.origin.center, [0, 5e6, 7], atol=1e-6)
    np.testing.assert_allclose(g.means, far.means @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]), atol=1e-6)
    assert len(convert(far, ConvertOptions(crop="sphere:5000000,0,0,100"))) == 6


@pytest.mark.parametrize(
    ("crop", "inside"),
    [
        ("sphere:0.5,0,0,1", lambda p: np.linalg.norm(p - [0.5, 0, 0], axis=1) <= 1),
        ("box:-1,1,-1,1,-1,0", lambda p: ((np.abs(p) <= 1) & (p <= [1, 1, 0])).all(axis=1)),
    ],
)
def test_the_centers_in_a_region_are_kept(crop, inside):
    ours = gaussians_of(100)
    np.testing.assert_array_equal(convert(ours, ConvertOptions(crop=crop)).means, ours.means[inside(ours.means)])


def test_no_degree_grows_and_a_higher_one_is_cut():
    ours = gaussians_of(3, degree=2)
    np.testing.assert_array_equal(convert(ours, ConvertOptions(sh_degree=1)).sh, ours.sh[:, :4])
    assert convert(ours, ConvertOptions(sh_degree=3)) is ours


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rotate": "1,2"}, r"--rotate 1,2: needs X,Y,Z"),
        ({"translate": "a,b,c"}, "--translate a,b,c: needs X,Y,Z"),
        ({"translate": "nan,0,0"}, "--translate nan,0,0: needs X,Y,Z"),
        ({"crop": "cube:1"}, "--crop cube:1: needs box:"),
        ({"crop": "sphere:1,2,3"}, "--crop sphere:1,2,3: needs box:"),
        ({"scale": 0.0}, "scale must be greater than 0"),
        ({"spz_version": 2}, "spz_version must be"),
    ],
)
def test_numbers_that_cannot_be_read_are_refused(options, words):
    with pytest.raises(GatlasError, match=words):
        ConvertOptions(**options)


def test_an_empty_crop_is_an_error():
    with pytest.raises(GatlasError, match=r"none of the 5 Gaussians is in it"):
        convert(gaussians_of(5), ConvertOptions(crop="sphere:100,0,0,1"))


def test_merged_sets_of_one_normalization_keep_it_and_have_the_highest_degree():
    one, other = gaussians_of(3, origin=NORMALIZED), gaussians_of(4, degree=2, seed=1, origin=NORMALIZED)
    both = merge([one, other])
    assert (len(both), both.sh.shape[1], both.origin) == (7, 9, NORMALIZED)
    np.testing.assert_array_equal(both.means, np.concatenate([one.means, other.means]))
    assert (both.sh[:3, 1:] == 0).all()


def test_merged_sets_of_several_sources_stand_where_these_are():
    said = []
    one, other = gaussians_of(3, origin=NORMALIZED), gaussians_of(4, seed=1)
    both = merge([one, other], report=said.append)
    np.testing.assert_allclose(both.means[:3], one.means * 4 + [1, 2, 3], atol=1e-5)
    np.testing.assert_array_equal(both.means[3:], other.means)
    assert not both.origin.normalized
    assert len(said) == 1


def test_merged_sets_far_away_keep_their_precision():
    one, other = (gaussians_of(3, seed=i, origin=Origin("map", (5e6 + i, 0.0, 0.0))) for i in range(2))
    both = merge([one, other])
    np.testing.assert_allclose(both.means[3:], other.means + np.eye(3)[0], atol=1e-6)
    assert both.origin.center == (5e6, 0, 0)


def test_the_verb_converts_one_many_and_merges(tmp_path):
    for i in range(2):
        io.save_gaussians(tmp_path / f"{i}.ply", gaussians_of(4, seed=i))
    assert run_here(["convert", "0.ply", "-o", "a.compressed.ply"], tmp_path).returncode == 0
    assert io.read(tmp_path / "a.compressed.ply").format.name == "compressed PLY"
    assert run_here(["convert", "0.ply", "1.ply", "-o", "out/{stem}.compressed.ply"], tmp_path).returncode == 0
    assert io.read(tmp_path / "out" / "1.compressed.ply").format.name == "compressed PLY"
    merged = run_here(["convert", "0.ply", "1.ply", "--merge", "--spz-version", 3, "-o", "both.spz"], tmp_path)
    assert merged.returncode == 0, merged.stderr
    assert len(io.load_gaussians(tmp_path / "both.spz")) == 8
    refused = run_here(["convert", "0.ply", "--spz-version", 3, "-o", "b.sog"], tmp_path)
    assert "--spz-version is for another format: b.sog is SOG" in refused.stderr
    refused = run_here(["convert", "0.ply", "1.ply", "--merge", "-o", "dir/"], tmp_path)
    assert "all inputs are to give one result: name a file for it with -o" in refused.stderr
    refused = run_here(["convert", "0.ply", "1.ply", "--merge", "--shard", "0/2", "-o", "c.ply"], tmp_path)
    assert "takes no options of a batch: leave them out" in refused.stderr


@pytest.mark.parametrize("output", ["x.sogs", "x.foo", "x.ply.gz", "{stem}.foo", "new/{stem}.gltg"])
def test_a_suffix_that_names_no_format_is_refused_before_anything_is_written(tmp_path, output):
    io.save_gaussians(tmp_path / "a.ply", gaussians_of(4))
    refused = run_here(["convert", "a.ply", "-o", output], tmp_path)
    assert refused.returncode == 1
    assert f"{output}: Gaussians cannot be written as .{output.split('.')[-1]}: name the output" in refused.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["a.ply"]


@pytest.mark.parametrize("output", ["x", "dir.v1/", "all.tar", "/dev/null"])
def test_an_output_without_a_suffix_of_its_own_gets_the_usual_format(tmp_path, output):
    io.save_gaussians(tmp_path / "a.ply", gaussians_of(4))
    run = run_here(["convert", "a.ply", "-o", output], tmp_path)
    assert run.returncode == 0, run.stderr


def test_invalid_gaussians_are_dropped_where_asked(tmp_path):
    ours = gaussians_of(4)
    io.save_gaussians(tmp_path / "x.ply", ours)
    content = bytearray((tmp_path / "x.ply").read_bytes())
    content[-16:] = bytes(16)  # the last quaternion
    (tmp_path / "x.ply").write_bytes(content)
    assert "to leave out what cannot be shown, use --drop-invalid" in run_here(["convert", "x.ply"], tmp_path).stderr
    assert run_here(["convert", "x.ply", "--drop-invalid", "-o", "y.ply"], tmp_path).returncode == 0
    np.testing.assert_array_equal(io.load_gaussians(tmp_path / "y.ply").means, ours.means[:3])


def test_up_turns_a_splat_for_good(tmp_path):
    ours = gaussians_of(4)
    io.save_gaussians(tmp_path / "x.ply", ours)
    assert run_here(["convert", "x.ply", "--up", "z", "-o", "y.glb"], tmp_path).returncode == 0
    stored = io.load_gaussians(tmp_path / "x.ply", as_stored=True).means
    np.testing.assert_allclose(
        io.load_gaussians(tmp_path / "y.glb").means, stored[:, [0, 2, 1]] * [1, 1, -1], atol=1e-6
    )


def test_replacing_nothing_gives_the_same_gaussians():
    ours = gaussians_of(4)
    assert convert(replace(ours), ConvertOptions()).means is ours.means
