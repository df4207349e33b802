import json

import numpy as np
import pytest

from gatlas import io
from gatlas.geometry.cameras import orbit
from gatlas.types import Views
from tests.cli.test_score import rows_of


@pytest.fixture
def scene(tmp_path):
    """Photos with true cameras, and a file as pose-pnp writes it, with one camera turned and one not found."""
    cameras = orbit(6, 16, 16, elevation=20.0)
    io.save_views(tmp_path / "photos", Views(np.ones((6, 16, 16, 3), dtype=np.float32), cameras))
    document = json.loads((tmp_path / "photos" / "transforms.json").read_text())
    for frame in document["frames"]:
        frame["file_path"] = "photos/" + frame["file_path"]
    lost = document["frames"].pop()
    document["not_found"] = [{"file_path": lost["file_path"], "reason": "too dark"}]
    (tmp_path / "poses.json").write_text(json.dumps(document))
    return document


def test_found_cameras_are_matched_by_name_and_lost_ones_lower_the_areas(gatlas, scene):
    row = rows_of(gatlas("score", "poses", "poses.json", "--truth", "photos/").stdout.decode())["poses"]
    assert row[0] == "83%"
    assert [float(each) for each in row[1:3]] == [pytest.approx(0, abs=1e-3)] * 2
    assert float(row[3]) == pytest.approx(5 / 6, abs=1e-3)


def test_cameras_of_another_world_are_aligned_on_request(gatlas, scene, tmp_path):
    turn = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    for frame in scene["frames"]:
        pose = np.array(frame["transform_matrix"])
        pose[:3, :3], pose[:3, 3] = turn @ pose[:3, :3], 5 * turn @ pose[:3, 3] + [1, 2, 3]
        frame["transform_matrix"] = pose.tolist()
    (tmp_path / "poses.json").write_text(json.dumps(scene))
    command = ("score", "poses", "poses.json", "--truth", "photos/")
    assert float(rows_of(gatlas(*command).stdout.decode())["poses"][1]) > 90
    row = rows_of(gatlas(*command, "--align", "similarity").stdout.decode())["poses"]
    assert row[0] == "83%"
    assert [float(each) for each in row[1:3]] == [pytest.approx(0, abs=1e-3)] * 2


def test_photos_of_the_truth_that_nobody_names_are_said_and_counted_on_request(gatlas, scene, tmp_path):
    del scene["not_found"]
    (tmp_path / "poses.json").write_text(json.dumps(scene))
    command = ("score", "poses", "poses.json", "--truth", "photos/transforms.json", "--json", "-")
    run = gatlas(*command)
    assert "1 of 6 photos of the truth are not in it" in run.stderr
    assert json.loads(run.stdout)["objects"][0]["found"] == 1
    assert json.loads(gatlas(*command, "--every").stdout)["objects"][0]["found"] == pytest.approx(5 / 6)


def test_scenes_are_pooled_and_files_of_parts_merge(gatlas, scene, tmp_path):
    (tmp_path / "true").mkdir()
    for i in range(2):
        pair = {**scene, "frames": scene["frames"][2 * i : 2 * i + 2], "not_found": []}
        for folder in (tmp_path, tmp_path / "true"):
            (folder / f"s{i}.json").write_text(json.dumps(pair))
    command = ("score", "poses", "--truth", "true/{stem}.json", "--unscaled", "--json")
    gatlas(*command, "whole.json", "s0.json", "s1.json")
    for i in range(2):
        gatlas(*command, f"part{i}.json", f"s{i}.json")
    merged = gatlas("score", "table", "part1.json", "part0.json", "--merge", "--json", "-").stdout
    assert merged == (tmp_path / "whole.json").read_bytes()
    assert json.loads(merged)["set"]["auc@5"] == pytest.approx(1, abs=1e-4)
    rows = rows_of(gatlas("score", "table", "whole.json").stdout.decode())
    assert list(rows) == ["s0", "s1", "mean of 2", "median of 2", "worst", "all together"]
    assert rows["s0"][-1] == "not measured"  # ATE of two cameras
    compared = rows_of(gatlas("score", "table", "whole.json", "part0.json").stdout.decode())
    assert "NoPoSplat, RE10K (claimed)" in compared
    command = ("score", "table", "whole.json", "part0.json", "--force", "--json", "whole.json")
    assert "whole.json: is one of the runs" in gatlas(*command, code=1).stderr
    assert merged == (tmp_path / "whole.json").read_bytes()


def test_a_photo_that_the_truth_lacks_is_one_line(gatlas, scene, tmp_path):
    scene["frames"][0]["file_path"] = "photos/other.png"
    (tmp_path / "poses.json").write_text(json.dumps(scene))
    run = gatlas("score", "poses", "poses.json", "--truth", "photos/", code=1)
    assert "has no camera of photos/other.png" in run.stderr
