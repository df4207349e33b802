"""gatlas pose-pnp, as its users run it."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.metrics.pose_errors import center_errors, rotation_errors
from gatlas.types import Cameras, Origin, Views

sys.path.append(str(Path(__file__).parents[1] / "pose"))
from textured import SIDE, K, camera, ellipsoid, photo

TRUTHS = [camera(30, 20, 2.4, 10), camera(150, -15, 2.7, -5)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A splat, and a folder of two photos with their true cameras."""
    folder = tmp_path_factory.mktemp("scene")
    gaussians = ellipsoid()
    origin = Origin("egg", center=(3.0, -2.0, 1.0), scale=5.0, normalized=True)
    io.save_gaussians(folder / "egg.ply", replace(gaussians, origin=origin))
    images = np.stack([photo(gaussians, truth) for truth in TRUTHS])
    cameras = Cameras(np.stack(TRUTHS), np.stack([K] * 2), SIDE, SIDE)
    io.save_views(folder / "photos", Views(images, cameras))
    return folder


def found_in(path):
    cameras = io.load_cameras(path)
    return np.asarray(cameras.viewmats, dtype=np.float64)


def test_photos_are_found_and_the_file_is_read_again(gatlas, scene, tmp_path):
    truth = scene / "photos/transforms.json"
    run = gatlas("pose-pnp", scene / "photos", "--scene", scene / "egg.ply", "--ground-truth", truth, "-o", "p.json")
    assert "2 of 2 cameras found" in run.stderr
    assert "AUC@5" in run.stderr
    document = json.loads((tmp_path / "p.json").read_text())
    assert all(frame["inliers"] >= 12 and frame["loss_after"] is not None for frame in document["frames"])
    assert max(document["errors"]["rotation_degrees"]) < 0.2
    viewmats = found_in(tmp_path / "p.json")
    assert rotation_errors(viewmats, np.stack(TRUTHS)).max() < 0.2
    assert center_errors(viewmats, np.stack(TRUTHS)).max() < 0.5
    gatlas("render", scene / "egg.ply", "--camera", "p.json", "-o", "same.png")
    assert len(io.load_views(tmp_path / "p.json")) == 2  # the paths lead to the photos


def test_what_is_not_in_the_scene_is_said_and_never_a_pose(gatlas, scene, tmp_path):
    noise = np.random.default_rng(0).random((SIDE, SIDE, 3)).astype(np.float32)
    io.save_image(tmp_path / "noise.png", noise)
    words = ("--scene", scene / "egg.ply", "--fov", 47, "-o", "p.json")
    run = gatlas("pose-pnp", "noise.png", *words, code=1)
    assert "noise.png: no camera found" in run.stderr
    document = json.loads((tmp_path / "p.json").read_text())
    assert document["frames"] == []
    assert document["not_found"][0]["file_path"] == "noise.png"
    run = gatlas("pose-pnp", "noise.png", scene / "photos/images/000.png", *words, "--force", code=3)
    assert "1 of 2 cameras found" in run.stderr


def test_correspondences_give_a_camera(gatlas, scene, tmp_path):
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (60, 3))
    local = points @ TRUTHS[0][:3, :3].T + TRUTHS[0][:3, 3]
    seen = local @ K.T
    pixels = seen[:, :2] / seen[:, 2:]
    pixels[:15] = rng.uniform(0, SIDE, (15, 2))
    np.savez(tmp_path / "m.npz", points=points, pixels=pixels)
    words = ("pose-pnp", scene / "photos/images/000.png", "--scene", scene / "egg.ply", "--fov", 47)
    gatlas(*words, "--matches", "m.npz", "--refine", "none", "-o", "p.json")
    assert rotation_errors(found_in(tmp_path / "p.json"), TRUTHS[0][None])[0] < 1e-3
    assert json.loads((tmp_path / "p.json").read_text())["frames"][0]["inliers"] >= 45
    np.savez(tmp_path / "few.npz", points=points[:20], pixels=rng.uniform(0, SIDE, (20, 2)))
    run = gatlas(*words, "--matches", "few.npz", "-o", "q.json", code=1)
    assert "fewer than 12 of 20 correspondences agree" in run.stderr


def test_noisy_cameras_are_refined_in_the_objects_own_units(gatlas, scene, tmp_path):
    document = json.loads((scene / "photos/transforms.json").read_text())
    turn = np.eye(4)
    angle = np.radians(1.4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    truths = []
    for frame in document["frames"]:
        pose = np.array(frame["transform_matrix"])
        pose[:3, 3] = pose[:3, 3] * 5.0 + [3.0, -2.0, 1.0]
        truths.append(pose[:3, :3].copy())
        frame["transform_matrix"] = (pose @ turn).tolist()
        frame["file_path"] = str(scene / "photos" / frame["file_path"])
    (tmp_path / "noisy.json").write_text(json.dumps(document))
    gatlas(
        "pose-pnp",
        "--init",
        "noisy.json",
        scene / "photos",
        "--scene",
        scene / "egg.ply",
        "--own-units",
        "-o",
        "p.json",
    )
    frames = json.loads((tmp_path / "p.json").read_text())["frames"]
    for frame, truth in zip(frames, truths, strict=True):
        between = np.array(frame["transform_matrix"])[:3, :3] @ truth.T
        assert np.degrees(np.arccos((np.trace(between) - 1) / 2)) < 0.2
        assert frame["loss_after"] < frame["loss_before"]


def test_what_many_matches_agree_on_is_kept_where_the_pictures_differ_too_much(gatlas, scene, tmp_path):
    image = photo(ellipsoid(), TRUTHS[0])
    stained = np.indices((SIDE, SIDE)).sum(axis=0) % 40 < 9
    image[stained, :3] = 1 - image[stained, :3]
    io.save_image(tmp_path / "stained.png", image)
    words = ("pose-pnp", "stained.png", "--scene", scene / "egg.ply", "--fov", 47, "-o", "p.json")
    run = gatlas(*words)
    assert "stained.png: not refined: the Gaussians explain" in run.stderr
    frame = json.loads((tmp_path / "p.json").read_text())["frames"][0]
    assert frame["inliers"] >= 40
    assert "of the photo" in frame["not_refined"]
    assert rotation_errors(found_in(tmp_path / "p.json"), TRUTHS[0][None])[0] < 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the photos' field of view is needed"),
        (("--fov", 47, "--matches", "a.npz", "--init", "b.json"), "--matches and --init exclude each other"),
        (("--fov", 47, "--find", "grid"), "has no pixel grid"),
        (("--fov", 200), "--fov must be between 0 and 180"),
        (("--fov", 47, "--refine", "none", "--focal"), "--focal needs --refine photometric"),
        (("--fov", 47, "--mask", "no.png"), "no.png: No such file"),
        (("--intrinsics", "no.json"), "no.json: No such file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(gatlas, scene, tmp_path, words, message):
    run = gatlas(
        "pose-pnp", scene / "photos/images/000.png", "--scene", scene / "egg.ply", *words, "-o", "p.json", code=1
    )
    assert message in run.stderr
    assert not (tmp_path / "p.json").exists()
