"""Gaussians that cannot be shown: refused, or left out and counted."""

import gzip
import re
import struct

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from tests.helpers.splat_files import NAMES, foreign, table

REST = [f"f_rest_{i}" for i in range(9)]


def broken():
    """Seven Gaussians: two good ones, and one with each fault."""
    values = table(7, [*NAMES, *REST], x=np.arange(7))
    values["x"][1] = np.nan
    values["opacity"][2] = np.nan
    values["scale_2"][3] = 100
    values["rot_0"][4] = 0
    values["f_rest_7"][5] = np.inf
    return foreign(values)


def test_the_refusal_names_the_option_that_leaves_them_out():
    with pytest.raises(GatlasError, match=r"^x\.ply: 1 of its 7 Gaussians have a position .* use --drop-invalid$"):
        io.load_gaussians(io.Blob("x.ply", broken()))


def test_invalid_gaussians_are_left_out_and_counted_once():
    said = []
    back = io.load_gaussians(io.Blob("x.ply", broken()), drop_invalid=True, report=said.append)
    np.testing.assert_array_equal(back.means[:, 0], [0, -6])
    (line,) = said
    assert line.startswith("x.ply: dropped 5 of its 7 Gaussians: 1 with a position that is NaN or infinite, 1 with an ")
    assert all(np.isfinite(getattr(back, name)).all() for name in ("means", "quats", "scales", "opacities", "sh"))


def test_one_with_two_faults_counts_once():
    said = []
    values = table(3, x=[np.nan, 0, 0], rot_0=[0, 0, 1])
    io.load_gaussians(io.Blob("x.ply", foreign(values)), drop_invalid=True, report=said.append)
    assert re.search(r"dropped 2 of its 3 Gaussians: 1 with a position [^,]*, 1 with a rotation", said[0])


def test_a_grid_of_pixels_does_not_survive_a_gap():
    said = [f"gatlas {words}" for words in ("frame y-down", "grid 1 1")]
    values = table(3, x=[np.nan, 0, 0])
    back = io.load_gaussians(io.Blob("x.ply", foreign(values, comments=said)), drop_invalid=True)
    assert back.origin.grid is None


def test_none_that_can_be_shown_is_an_error():
    with pytest.raises(GatlasError, match=r"^x\.ply: none of its 3 Gaussians can be shown: 3 with a position"):
        io.load_gaussians(io.Blob("x.ply", foreign(table(3, x=np.nan))), drop_invalid=True)


def test_records_without_a_rotation_or_scale_are_left_out():
    good = struct.pack("<6f8B", 1, 2, 3, 1, 1, 1, *[255] * 4, 255, 128, 128, 128)
    flat = struct.pack("<6f8B", 1, 2, 3, 1, 0, 1, *[255] * 4, 255, 128, 128, 128)
    assert len(io.load_gaussians(io.Blob("x.splat", good + flat, key="x"), drop_invalid=True)) == 1


@pytest.mark.parametrize("verb", ["render", "prune", "atlas-encode"])
def test_verbs_drop_them_where_asked(verb, tmp_path):
    from tests.helpers.command_line import expect, run_here

    (tmp_path / "x.ply").write_bytes(broken())
    small = {"render": ["--width", 16, "-o", "x.png"], "prune": ["-n", 2, "--score", "opacity", "-o", "y.ply"]}
    words = [verb, "x.ply", *small.get(verb, ["--size", 2, "-o", "x.npz"])]
    assert "use --drop-invalid" in expect(run_here(words, tmp_path), 1).stderr
    said = expect(run_here([*words, "--drop-invalid"], tmp_path), 0).stderr
    assert said.count("dropped 5 of its 7 Gaussians") == 1


def test_an_spz_whose_gaussians_are_all_sound_drops_nothing():
    head = struct.pack("<4sIIBBBB", b"NGSP", 3, 1, 0, 12, 0, 0)
    body = bytes(9) + bytes([51]) + bytes(3) + bytes([96] * 3) + (3 << 30).to_bytes(4, "little")
    said = []
    io.load_gaussians(io.Blob("x.spz", gzip.compress(head + body)), drop_invalid=True, report=said.append)
    assert not any("dropped" in line for line in said)
