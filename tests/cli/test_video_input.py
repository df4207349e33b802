"""Videos as inputs of fit and pose-pnp."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.geometry.cameras import intrinsics, look_at
from gatlas.io.photos.transforms import camera_entry
from gatlas.io.photos.videos import video_frames
from tests.helpers.corner_photos import save_corner
from tests.helpers.moving_film import frames_of, mp4_of
from tests.helpers.textured import SIDE, K, camera, ellipsoid, photo

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def clip(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(mp4_of(frames_of(20)))
    return "clip.mp4"


def give_cameras(folder):
    """Write cameras of the frames, on an arc, as a user who knows them would."""
    names = sorted(path.name for path in folder.glob("*.jpg"))
    K = intrinsics(40, 96, 64)
    eyes = [(np.sin(angle), 0.0, 3 * np.cos(angle)) for angle in np.linspace(0, 1, len(names))]
    frames = [
        {"file_path": name, **camera_entry(viewmat, K, 96, 64)}
        for name, viewmat in zip(names, look_at(np.array(eyes)), strict=True)
    ]
    (folder / "transforms.json").write_text(json.dumps({"frames": frames}))


def test_a_video_is_fitted_from_its_frames_once_they_have_cameras(gatlas, clip, tmp_path):
    words = ("fit", clip, "--frames", 5, "--frames-out", "frames", "-n", 60, "--iterations", 2, "--resolution", 16)
    give_cameras(video_frames(tmp_path / clip, 5, tmp_path / "frames").folder)
    run = gatlas(*words, "-o", "a.ply", "--init", "random", "--report", "a.json")
    assert "5 frames of an earlier run" in run.stderr
    assert io.load_gaussians(tmp_path / "a.ply").origin.name == "clip"
    assert json.loads((tmp_path / "a.json").read_text())["arguments"]["input"] == "clip.mp4"


def test_the_cameras_of_a_videos_frames_are_found(gatlas, tmp_path):
    gaussians = ellipsoid()
    io.save_gaussians(tmp_path / "egg.ply", gaussians)
    shown = [photo(gaussians, camera(azimuth, 20, 2.4)) for azimuth in range(0, 40, 4)]
    frames = [(255 * each[..., :3] * each[..., 3:] + 0.5).astype(np.uint8) for each in shown]
    (tmp_path / "clip.mp4").write_bytes(mp4_of(frames))
    fov = float(np.degrees(2 * np.arctan(0.5 * SIDE / K[0, 0])))
    words = (
        "clip.mp4",
        "--frames",
        3,
        "--frames-out",
        "frames",
        "--scene",
        "egg.ply",
        "--fov",
        fov,
        "--refine",
        "none",
    )
    run = gatlas("pose-pnp", *words, "-o", "p.json")
    assert "3 of 3 cameras found" in run.stderr
    assert len(io.load_views(tmp_path / "p.json")) == 3  # the paths lead to the frames


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "a.obj", "--frames", 5, "-o", "a.ply"),
        ("pose-pnp", "a.png", "--frames", 5, "--scene", "s.ply", "-o", "p.json"),
    ],
)
def test_frames_of_what_is_no_video_are_refused(gatlas, words):
    run = gatlas(*words, code=1)
    assert "--frames and --frames-out are for videos" in run.stderr


def test_the_cameras_of_a_video_are_found_and_kept_and_it_is_fitted_by_one_command(gatlas, tmp_path):
    pytest.importorskip("pycolmap")
    names, _, _ = save_corner(tmp_path / "photos")
    frames = [np.asarray(Image.open(tmp_path / "photos" / name).convert("RGB")) for name in sorted(names)]
    (tmp_path / "clip.mp4").write_bytes(mp4_of(frames, fps=4))
    words = ("fit", "clip.mp4", "--frames-out", "frames", "--cameras-out", "cameras", "-n", 60, "--iterations", 2)
    run = gatlas(*words, "--resolution", 32, "--init", "random", "-o", "a.ply")
    found = re.search(r"(\d+) of (\d+) photos have cameras", run.stderr)
    assert int(found[1]) >= 6
    assert int(found[2]) == len(frames)
    assert io.load_gaussians(tmp_path / "a.ply").origin.name == "clip"


@pytest.mark.slow
@pytest.mark.shared
def test_a_film_of_the_knight_becomes_a_splat_by_one_command(gatlas, tmp_path, shared_data):
    """Film a turntable, and fit the film and nothing else."""
    pytest.importorskip("pycolmap")
    film = ("--seconds", 4, "--fps", 24, "--elevation", 20, "--width", 512, "--background", "white")
    gatlas("render", shared_data / "models/Knight.glb", "-o", "turn.mp4", *film)
    words = ("turn.mp4", "--frames", 48, "--frames-out", "frames", "--cameras-out", "cameras", "--profile", "quick")
    run = gatlas("fit", *words, "--lambda-lpips", 0, "--report", "a.json", "-o", "a.ply")
    found = re.search(r"(\d+) of (\d+) photos have cameras", run.stderr)
    assert int(found[1]) >= 0.95 * int(found[2])
    assert json.loads((tmp_path / "a.json").read_text())["held_out"]["psnr"] >= 28
