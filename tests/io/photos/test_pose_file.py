"""Found cameras as a file: what is read from it again is what they were found with."""

import json

import numpy as np
import pytest

from gatlas import io
from gatlas.geometry.lens import Lens, distort, zoom_lens
from gatlas.io.photos.photo_loader import read_photos
from gatlas.io.photos.pose_file import PoseRecord, read_viewmats, write_poses

BENT = {"fl_x": 40.0, "fl_y": 42.0, "cx": 23.0, "cy": 17.0, "k1": 0.1, "k2": 0.02, "p1": 0.003}


@pytest.fixture
def bent(tmp_path):
    """A photo that a bending lens took, and what is known of the lens."""
    picture = np.random.default_rng(0).random((32, 48, 3)).astype(np.float32)
    io.save_image(tmp_path / "a.png", picture)
    (tmp_path / "k.json").write_text(json.dumps({**BENT, "w": 48, "h": 32}))
    return read_photos([str(tmp_path / "a.png")], source=str(tmp_path / "k.json"))[0]


def test_a_bent_photo_comes_back_undistorted_with_the_camera_it_was_found_with(bent, tmp_path):
    record = PoseRecord(str(tmp_path / "a.png"), (48, 32), bent.original, bent.lens, np.eye(4), {"inliers": 20})
    write_poses(tmp_path / "p.json", [record], force=False, summary={})
    frame = json.loads((tmp_path / "p.json").read_text())["frames"][0]
    assert {name: frame[name] for name in BENT} == BENT
    views = io.load_views(tmp_path / "p.json")
    assert not np.allclose(bent.K, bent.original)
    assert np.allclose(views.images[0], bent.image, atol=1e-5)
    assert np.allclose(views.cameras.Ks[0], bent.K, rtol=1e-6)
    assert np.allclose(io.load_cameras(tmp_path / "p.json").Ks[0], bent.K, rtol=1e-6)


def test_a_refined_focal_length_leaves_the_picture_as_it_was(bent, tmp_path):
    factor = 1.2
    longer = np.diag([factor, factor, 1.0])
    K = bent.original.copy()
    K[:2, :2] = longer[:2, :2] @ K[:2, :2]
    record = PoseRecord(str(tmp_path / "a.png"), (48, 32), K, zoom_lens(bent.lens, factor), np.eye(4), {})
    write_poses(tmp_path / "p.json", [record], force=False, summary={})
    views = io.load_views(tmp_path / "p.json")
    assert np.allclose(views.images[0], bent.image, atol=1e-5)
    assert views.cameras.Ks[0][0, 0] == pytest.approx(factor * bent.K[0, 0], rel=1e-6)


def test_a_lens_of_a_longer_focal_length_bends_the_same_pixels():
    lens = Lens(0.1, -0.05, 0.02, 0.01, 0.003, -0.004)
    rays = np.random.default_rng(0).uniform(-0.6, 0.6, (20, 2))
    assert np.allclose(1.5 * distort(zoom_lens(lens, 1.5), rays / 1.5), distort(lens, rays))


def test_cameras_are_those_of_the_photos_in_their_order(tmp_path):
    frames = []
    for i in range(3):
        pose = np.eye(4)
        pose[0, 3] = i
        frames.append({"file_path": f"{'ab'[i % 2]}/{i // 2}.png", "transform_matrix": pose.tolist()})
    document = {"fl_x": 10, "w": 20, "h": 20, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    for frame in frames:
        (tmp_path / frame["file_path"]).parent.mkdir(exist_ok=True)
        io.save_image(tmp_path / frame["file_path"], np.zeros((20, 20, 3), dtype=np.float32))
    found = read_viewmats(tmp_path, [str(tmp_path / name) for name in ("b/0.png", "a/1.png", "a/0.png")])
    assert np.array_equal(-found[:, 0, 3], [1, 2, 0])
