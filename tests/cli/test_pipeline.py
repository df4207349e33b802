"""The main job, as a shell pipeline."""

import io as stdio
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData

from gatlas import io
from gatlas.geometry.cameras import camera_centers

GATLAS = f"{sys.executable} -m gatlas"


def shell(pipeline, cwd):
    run = subprocess.run(["bash", "-o", "pipefail", "-c", pipeline], capture_output=True, cwd=cwd, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return run


def test_from_a_mesh_to_an_atlas_and_back_to_a_picture(tmp_path, example):
    fit = f"{GATLAS} fit {example} -n 300 --iterations 10 --views 6 --resolution 64 --report fit.json"
    shell(f"{fit} | {GATLAS} atlas-encode --size 16 -o obj.npz", tmp_path)
    shell(f"{GATLAS} atlas-decode obj.npz | {GATLAS} render --orbit 8 --width 48 -o obj.png", tmp_path)

    report = json.loads((tmp_path / "fit.json").read_text())
    assert report["count"] == 300
    assert report["held_out"]["psnr"] > 15
    atlas = np.load(tmp_path / "obj.npz", allow_pickle=False)
    assert atlas["offset"].shape == (16, 16, 3)
    meta = json.loads(str(atlas["meta"]))
    assert (meta["count"], meta["dropped"], meta["origin"]["name"]) == (300, 44, "rocket")
    sheet = np.asarray(Image.open(tmp_path / "obj.png"))
    assert sheet.shape == (2 * 48, 4 * 48, 3)
    assert all((sheet[r : r + 48, c : c + 48] < 250).any() for r in (0, 48) for c in (0, 48, 96, 144))


def test_fit_gives_the_count_it_was_asked_for_and_the_same_bytes_again(gatlas, example, tmp_path):
    words = ["fit", example, "-n", 123, "--iterations", 5, "--views", 4, "--resolution", 32, "--seed", 3]
    first, second = gatlas(*words).stdout, gatlas(*words).stdout
    assert first == second
    vertices = PlyData.read(stdio.BytesIO(first))["vertex"]
    assert len(vertices) == 123
    assert gatlas(*words[:-1], 4).stdout != first


def test_views_of_a_fit_are_written(gatlas, example, tmp_path):
    gatlas(
        "fit",
        example,
        "-n",
        50,
        "--iterations",
        0,
        "--views",
        3,
        "--resolution",
        32,
        "--views-out",
        "views",
        "-o",
        "a.ply",
    )
    transforms = json.loads((tmp_path / "views" / "transforms.json").read_text())
    assert len(transforms["frames"]) == 3
    assert len(list((tmp_path / "views").rglob("*.png"))) == 3


def test_render_of_a_mesh_equals_render_with_its_own_cameras(gatlas, example, tmp_path):
    gatlas("render", example, "--orbit", 2, "--width", 40, "-o", "views/")
    gatlas("render", example, "--camera", "views/transforms.json", "-o", "again.png")
    gatlas("render", example, "--orbit", 2, "--width", 40, "-o", "orbit.png")
    again, orbit = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("again.png", "orbit.png"))
    assert np.abs(again - orbit).mean() < 0.5


def test_prune_keeps_the_count_and_the_name(gatlas, splat):
    out = gatlas("prune", "-", "-n", 40, "--views", 2, "--resolution", 32, stdin=splat.read_bytes()).stdout
    assert len(PlyData.read(stdio.BytesIO(out))["vertex"]) == 40
    assert b"ball" in out[:1000]


def test_prune_of_a_small_splat_changes_nothing(gatlas, splat):
    assert gatlas("prune", splat, "-n", 100).stdout == splat.read_bytes()


def test_background_and_size_of_a_render(gatlas, splat, tmp_path):
    gatlas("render", splat, "--width", 30, "--height", 20, "--background", "#00ff00", "-o", "green.png")
    picture = np.asarray(Image.open(tmp_path / "green.png"))
    assert picture.shape == (20, 30, 3)
    assert picture[0, 0].tolist() == [0, 255, 0]
    gatlas("render", splat, "--width", 30, "--background", "transparent", "-o", "clear.png")
    assert np.asarray(Image.open(tmp_path / "clear.png"))[0, 0, 3] == 0


def test_render_from_all_sides_and_after_an_orbit(gatlas, example, tmp_path):
    gatlas("render", example, "--sphere", 6, "--width", 20, "-o", "sides/")
    gatlas("render", example, "--orbit", 2, "--elevation", 0, "--sphere", 6, "--width", 20, "-o", "both/")
    sides, both = (io.load_cameras(tmp_path / name).viewmats for name in ("sides", "both"))
    assert (len(sides), len(both)) == (6, 8)
    np.testing.assert_allclose(both[2:], sides, atol=1e-6)
    heights = camera_centers(sides)[:, 1] / 2.6
    np.testing.assert_allclose(heights, 1 - (2 * np.arange(6) + 1) / 6, atol=1e-5)
    np.testing.assert_allclose(camera_centers(both[:2]), [[0, 0, 2.6], [0, 0, -2.6]], atol=1e-5)


@pytest.mark.parametrize(
    "words",
    [["render", "--orbit", "2", "--camera", "x.json"], ["render", "--sphere", "2", "--camera", "x.json"]],
)
def test_options_that_exclude_each_other(gatlas, splat, words):
    assert "exclude each other" in gatlas(words[0], splat, *words[1:], "-o", "a.png", code=1).stderr


def test_a_fit_that_is_stopped_goes_on_to_the_same_bytes(gatlas, example, tmp_path):
    words = ["fit", example, "-n", 100, "--iterations", 60, "--views", 4, "--resolution", 32]
    whole = gatlas(*words).stdout
    stopped = gatlas(*words, "--resume", "fit.npz", "--time-limit", 0, code=75)
    assert "saved in fit.npz" in stopped.stderr
    assert stopped.stdout == b""
    again = gatlas(*words, "--resume", "fit.npz")
    assert "resuming after" in again.stderr
    assert again.stdout == whole
    assert not (tmp_path / "fit.npz").exists()


def test_a_checkpoint_of_another_fit_is_refused(gatlas, example):
    words = ["fit", example, "-n", 100, "--iterations", 60, "--views", 4, "--resolution", 32, "--resume", "fit.npz"]
    gatlas(*words, "--time-limit", 0, code=75)
    assert "other options" in gatlas(*words, "--seed", 1, code=1).stderr


def test_a_checkpoint_of_photos_with_another_lens_is_refused(gatlas, example, tmp_path):
    gatlas("render", example, "--orbit", 4, "--width", 32, "-o", "photos/")
    words = ["fit", "photos", "-n", 50, "--iterations", 4, "--resolution", 32, "--resume", "fit.npz", "-o", "x.ply"]
    gatlas(*words, "--time-limit", 0, code=75)
    cameras = tmp_path / "photos" / "transforms.json"
    before = cameras.read_text()
    held = json.loads(before)
    held |= {"fl_x": 1.5 * held["fl_x"], "fl_y": 1.5 * held["fl_y"]}
    cameras.write_text(json.dumps(held))
    assert "of other photos" in gatlas(*words, code=1).stderr
    cameras.write_text(before)
    assert "resuming after 0 steps" in gatlas(*words).stderr


def test_a_preview_is_drawn(gatlas, example, tmp_path):
    words = ["fit", example, "-n", 50, "--iterations", 2, "--views", 2, "--resolution", 32]
    gatlas(*words, "--preview", "now.png", "-o", "x.ply")
    assert Image.open(tmp_path / "now.png").size == (3 * 320, 320)


def test_prune_reports_what_it_cost(gatlas, splat, tmp_path):
    words = ["prune", splat, "-n", 50, "--views", 4, "--resolution", 32, "--report", "cost.json", "-o", "few.ply"]
    gatlas(*words)
    dropped = json.loads((tmp_path / "cost.json").read_text())
    run = gatlas(*words, "--finetune", 40, "--force")
    tuned = json.loads((tmp_path / "cost.json").read_text())
    assert tuned["psnr"] > dropped["psnr"]
    assert f"PSNR {tuned['psnr']:.2f} dB, SSIM {tuned['ssim']:.4f} against the original splat" in run.stderr


def test_prune_says_what_it_cost_against_a_mesh(gatlas, example, tmp_path):
    gatlas("fit", example, "-n", 80, "--iterations", 0, "--views", 2, "--resolution", 32, "-o", "fit.ply")
    words = ["prune", "fit.ply", "-n", 40, "--views", 2, "--resolution", 32, "--reference", example]
    said = gatlas(*words, "--report", "cost.json", "-o", "few.ply").stderr
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert f"PSNR {cost['psnr']:.2f} dB (before {cost['psnr_before']:.2f}), SSIM" in said
    assert said.rstrip().endswith(f"against {example}")


def test_a_splat_can_be_refined(gatlas, example, tmp_path):
    words = ["-n", 300, "--views", 6, "--resolution", 64]
    gatlas("fit", example, *words, "--iterations", 60, "-o", "first.ply", "--report", "first.json")
    refine = ["fit", example, *words, "--init", "first.ply", "-n", 200, "--iterations", 0, "--report", "second.json"]
    gatlas(*refine, "-o", "second.ply")
    first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("first", "second"))
    assert second["count"] == 200
    assert second["held_out"]["psnr"] > 0.8 * first["held_out"]["psnr"]


def test_own_units_are_written_when_asked_for(gatlas, example, tmp_path):
    words = ["fit", example, "-n", 60, "--iterations", 0, "--views", 4, "--resolution", 32]
    unit = PlyData.read(stdio.BytesIO(gatlas(*words).stdout))["vertex"]
    own = PlyData.read(stdio.BytesIO(gatlas(*words, "--denormalize").stdout))["vertex"]
    from gatlas import io

    low, high = (bound(io.load_mesh(example).vertices, axis=0) for bound in (np.min, np.max))
    assert np.all(own["y"] >= low[1] - 0.2)
    assert np.ptp(own["y"]) == pytest.approx(high[1] - low[1], rel=0.1)
    assert np.ptp(unit["y"]) < 2.01


def test_photos_with_cameras_are_fitted(gatlas, example, tmp_path):
    gatlas("render", example, "--orbit", 10, "--width", 64, "-o", "photos/")
    words = ["fit", "photos", "-n", 200, "--iterations", 20, "--resolution", 64, "--report", "fit.json"]
    assert "held-out PSNR" in gatlas(*words, "-o", "scene.ply").stderr
    report = json.loads((tmp_path / "fit.json").read_text())
    assert report["count"] == 200
    assert report["source"] == "photos"
    assert "gatlas name photos" in PlyData.read(tmp_path / "scene.ply").comments


@pytest.mark.parametrize("given", ["photos/transforms.json", "photos/"])
def test_a_scene_is_called_after_the_folder_of_its_photos(gatlas, example, given):
    gatlas("render", example, "--orbit", 3, "--width", 32, "-o", "photos/")
    splat = gatlas("fit", given, "-n", 20, "--iterations", 0, "--resolution", 32).stdout
    assert b"comment gatlas name photos\n" in splat


def test_the_scaffold_ends_at_or_under_the_count(gatlas, example):
    words = ["fit", example, "-n", 300, "--model", "scaffold", "--iterations", 10, "--views", 4, "--resolution", 48]
    vertices = PlyData.read(stdio.BytesIO(gatlas(*words).stdout))["vertex"]
    assert 100 < len(vertices) <= 300


@pytest.mark.parametrize("words", [["--resume", "x.npz"], ["--init", "surface"]])
def test_what_the_scaffold_cannot_do_is_refused(gatlas, example, words):
    assert "--model scaffold does not go with" in gatlas("fit", example, "--model", "scaffold", *words, code=1).stderr


def test_a_result_is_never_removed_as_its_own_checkpoint(gatlas, example):
    assert "the same name" in gatlas("fit", example, "--resume", "same", "-o", "./same", "--force", code=1).stderr


def test_photos_serve_the_scaffold_and_prune_as_well(gatlas, example, tmp_path):
    gatlas("render", example, "--orbit", 10, "--width", 64, "-o", "photos/")
    words = ["-n", 200, "--iterations", 10, "--resolution", 64]
    gatlas("fit", "photos", *words, "--model", "scaffold", "-o", "scaffold.ply")
    gatlas("fit", "photos", *words, "-o", "scene.ply")
    prune = ["prune", "scene.ply", "-n", 120, "--views", 2, "--resolution", 64, "--reference", "photos"]
    gatlas(*prune, "--finetune", 20, "--report", "cost.json", "-o", "few.ply")
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert cost["count"] == 120
    assert cost["psnr"] > cost["psnr_before"] - 3
