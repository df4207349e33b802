import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_score import rows_of

FAST = ("--views", 2, "--resolution", 32, "--points", 200)
KEYS = {"psnr", "ssim", "lpips", "iou", "depth_error", "chamfer", "f_score", "normal_consistency", "views"}


@pytest.fixture
def objects(tmp_path, splat, example):
    """Two splats and their meshes, in folders."""
    for folder in ("splats", "meshes"):
        (tmp_path / folder).mkdir()
    for name in ("one", "two"):
        shutil.copy(splat, tmp_path / "splats" / f"{name}.ply")
        shutil.copy(example, tmp_path / "meshes" / f"{name}.glb")
    return ("score", "fidelity", "splats/", "--reference", "meshes/{stem}.glb", *FAST)


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def test_a_table_of_objects_with_mean_median_and_worst(gatlas, objects):
    run = gatlas(*objects)
    rows = rows_of(run.stdout.decode())
    assert list(rows) == ["one", "two", "mean of 2", "median of 2", "worst"]
    assert rows["one"][2] == "not measured"
    assert float(rows["one"][0]) > 5
    assert rows["worst"][0].split()[1] in ("one", "two")


def test_absent_weights_are_one_line_that_says_which_from_where_and_how_large(gatlas, objects):
    (line,) = (line for line in gatlas(*objects).stderr.splitlines() if "LPIPS" in line)
    assert "vgg16-397923af.pth" in line
    assert "https://download.pytorch.org" in line
    assert "528 MB" in line


def test_shards_in_a_folder_merge_into_the_document_of_one_call(gatlas, objects, tmp_path):
    gatlas(*objects, "--json", "whole.json")
    for shard in ("0/2", "1/2"):
        gatlas(*objects, "-o", "out/", "--shard", shard)
    assert "2 done (2 earlier)" in gatlas(*objects, "-o", "out/").stderr
    gatlas("score", "table", "out/", "--json", "merged.json")
    assert (tmp_path / "merged.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    whole = json.loads((tmp_path / "whole.json").read_text())
    assert {"version", "options", "cameras", "weights", "summary"} <= set(whole)
    assert whole["options"]["seed"] == 0
    assert set(whole["objects"][0]) >= KEYS
    gatlas("score", "table", "out/one.json", "out/two.json", "--merge", "--json", "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_an_object_without_a_reference_fails_alone(gatlas, objects, tmp_path):
    (tmp_path / "meshes" / "two.glb").unlink()
    run = gatlas(*objects, code=3)
    assert list(rows_of(run.stdout.decode())) == ["one"]
    assert "meshes/two.glb" in run.stderr
    (tmp_path / "meshes" / "one.glb").unlink()
    assert gatlas(*objects, code=1).stdout == b""


def test_an_object_from_a_pipe_and_a_mesh_are_scored(gatlas, splat_bytes, example):
    run = gatlas("score", "fidelity", "--reference", example, *FAST, stdin=splat_bytes)
    assert list(rows_of(run.stdout.decode())) == ["object"]
    perfect = rows_of(gatlas("score", "fidelity", example, "--reference", example, *FAST).stdout.decode())["rocket"]
    assert perfect[:2] == ["100.00", "1.0000"]
    refused = gatlas("score", "fidelity", "--reference", "{stem}.glb", *FAST, stdin=splat_bytes, code=1)
    assert "standard input has no name for {stem}" in refused.stderr


def test_views_are_a_reference(gatlas, splat, tmp_path):
    gatlas("render", splat, "--orbit", 4, "--width", 32, "-o", "views/")
    (row,) = rows_of(gatlas("score", "fidelity", splat, "--reference", "views/").stdout.decode()).values()
    assert float(row[0]) > 40  # rounded to 8 bits
    assert row[4:8] == ["not measured"] * 4


def test_a_plot_has_a_histogram_of_each_figure(gatlas, objects, tmp_path):
    pytest.importorskip("matplotlib")
    gatlas(*objects, "--plot", "x.png", "--json", "-")
    assert np.ptp(np.asarray(Image.open(tmp_path / "x.png"))) > 100


def test_runs_stand_side_by_side_with_what_was_claimed(gatlas, objects):
    for name in ("a", "b"):
        gatlas(*objects, "--json", f"{name}.json")
    rows = rows_of(gatlas("score", "table", "a.json", "b.json").stdout.decode())
    assert list(rows) == ["a", "b", "3DiM, SRN cars (claimed)", "3DiM, SRN chairs (claimed)"]
    assert list(rows_of(gatlas("score", "table", "a.json", "b.json", "--measured-only").stdout.decode())) == ["a", "b"]


def test_a_file_that_is_no_score_is_refused_in_one_line(gatlas, tmp_path):
    (tmp_path / "x.json").write_text("[]")
    assert "x.json: not the scores" in gatlas("score", "table", "x.json", code=1).stderr
    (tmp_path / "x.json").write_text('{"score": "smell", "objects": []}')
    assert "scores of 'smell'" in gatlas("score", "table", "x.json", code=1).stderr


def test_objects_in_folders_of_a_folder_have_references_there(gatlas, objects, tmp_path):
    for place, suffix in (("splats", "ply"), ("meshes", "glb")):
        (tmp_path / place / "more").mkdir()
        shutil.copy(tmp_path / place / f"one.{suffix}", tmp_path / place / "more" / f"one.{suffix}")
    assert list(rows_of(gatlas(*objects).stdout.decode()))[:3] == ["more/one", "one", "two"]


def test_a_terminal_gets_a_drawn_table(monkeypatch, capsys):
    from gatlas.cli.score_output import show_table
    from gatlas.score.tables import ScoreTable

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    show_table(ScoreTable(("object", "PSNR (dB)"), (("a[b]\x1b", "40.00"), ("mean of 1", "40.00")), 1))
    shown = capsys.readouterr().out
    assert "|" not in shown
    assert "a[b]" in shown
    assert "\x1b" not in shown.replace("\x1b[", "")


def test_lpips_is_measured_with_given_weights_whose_digest_is_recorded(gatlas, example, tmp_path):
    from safetensors.torch import save_file

    from tests.metrics.test_lpips import random_state

    save_file(random_state("alexnet"), tmp_path / "alex.safetensors")
    command = ("score", "fidelity", example, "--reference", example, *FAST, "--lpips-weights", "alex.safetensors")
    held = json.loads(gatlas(*command, "--json", "-").stdout)
    assert held["objects"][0]["lpips"] == 0
    assert held["weights"]["lpips"]["network"] == "alexnet"
    assert len(held["weights"]["lpips"]["files"]["alex.safetensors"]) == 64
    assert "absent.pth: no such file" in gatlas(*command[:-1], "absent.pth", code=1).stderr
