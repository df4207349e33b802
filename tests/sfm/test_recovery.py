"""Cameras of photos from the photos alone."""

import sys
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers, intrinsics, look_at
from gatlas.geometry.rotations import angles_between, so3_exp
from gatlas.io.photos import colmap
from gatlas.io.photos.videos import video_frames
from gatlas.metrics.trajectories import umeyama
from gatlas.sfm import SfmOptions, recover_cameras, recovery
from tests.helpers.corner_photos import pattern, save_corner
from tests.helpers.moving_film import mp4_of

pycolmap = pytest.importorskip("pycolmap")


@pytest.fixture(scope="module")
def corner(tmp_path_factory):
    """A folder of eight photos with a ninth that shows something else; what is found, and the truth."""
    folder = tmp_path_factory.mktemp("corner") / "photos"
    names, viewmats, K = save_corner(folder)
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (180, 240, 3), dtype=np.uint8)).save(folder / "z.png")
    said = []
    out = folder.parent / "cameras"
    found = recover_cameras(folder, out=str(out), report=said.append)
    return folder, found, said, dict(zip(names, viewmats, strict=True)), K


def errors(folder, model, truth):
    """Degrees and per cent of the distance of each camera found, after a similarity; and that similarity."""
    names = [photo.name for photo in colmap.registered_photos(folder, str(model))]
    viewmats = io.load_cameras(str(model)).viewmats.astype(np.float64)
    true = np.stack([truth[name] for name in names])
    moved = umeyama(camera_centers(viewmats), camera_centers(true))
    off = np.linalg.norm(moved.apply(camera_centers(viewmats)) - camera_centers(true), axis=1)
    rotations = viewmats[:, :3, :3] @ moved.rotation.T
    return angles_between(rotations, true[:, :3, :3]), 100 * off / 3.4, moved


def test_cameras_are_those_that_took_the_photos(corner):
    folder, found, _, truth, K = corner
    rotation, position, _ = errors(folder, found.folder, truth)
    assert len(rotation) == len(truth)
    assert np.median(rotation) < 0.6  # of photos 240 pixels wide, of which one is 0.3 degrees
    assert np.median(position) < 1
    assert io.load_cameras(str(found.folder)).Ks[0, 0, 0] == pytest.approx(K[0, 0], rel=0.03)


def test_a_photo_of_something_else_is_listed(corner):
    _, found, said, _, _ = corner
    assert found.lacking == ("z.png",)
    assert "8 of 9 photos have cameras" in said[-1]
    assert said[-1].endswith("without: z.png")


def test_the_world_stands_upright(corner):
    folder, found, _, truth, _ = corner
    _, _, moved = errors(folder, found.folder, truth)
    assert moved.rotation @ [0, 1, 0] == pytest.approx([0, 1, 0], abs=0.06)


def test_points_have_the_colors_of_the_photos(corner):
    folder, found, _, _, _ = corner
    views, points = (
        io.load_views(folder, model_dir=str(found.folder)),
        io.load_points(folder, model_dir=str(found.folder)),
    )
    viewmat, K = views.cameras.viewmats[3], views.cameras.Ks[3]
    seen = (K @ (points.xyz @ viewmat[:3, :3].T + viewmat[:3, 3]).T).T
    x, y = (seen[:, :2] / seen[:, 2:]).T
    inside = (seen[:, 2] > 0) & (x > 1) & (x < 239) & (y > 1) & (y < 179)
    shown = views.images[3][y[inside].astype(int), x[inside].astype(int), :3]
    assert inside.sum() > 100
    assert np.median(np.abs(shown - points.rgb[inside])) < 0.05


def test_the_next_call_reads_what_was_kept(corner, monkeypatch):
    folder, found, _, _, _ = corner
    monkeypatch.setattr(recovery, "load_pycolmap", lambda: pytest.fail("COLMAP is loaded"))
    assert recover_cameras(folder, out=str(found.folder)) == found


def test_the_same_photos_give_the_same_bytes(corner, tmp_path, monkeypatch):
    folder, found, _, _, _ = corner
    monkeypatch.setattr(recovery, "get_num_threads", lambda: 2)
    again = recover_cameras(folder, out=str(tmp_path / "again"))
    for name in ("cameras.bin", "images.bin", "points3D.bin"):
        assert (again.folder / name).read_bytes() == (found.folder / name).read_bytes(), name


def test_the_folder_holds_nothing_but_the_model(corner):
    _, found, _, _, _ = corner
    names = {path.name for path in found.folder.iterdir()}
    assert names - {"rigs.bin", "frames.bin", ".lock"} == {"cameras.bin", "images.bin", "points3D.bin", "photos.json"}


@pytest.mark.parametrize("stage", ["features", "matches", "cameras"])
def test_a_call_that_ends_in_a_stage_is_gone_on_with(corner, tmp_path, stage):
    folder, found, _, _, _ = corner
    counted = {}

    @contextmanager
    def stopping(title, total):
        def count():
            counted[title] = counted.get(title, 0) + 1
            if title == stage and counted[title] == 5:
                raise KeyboardInterrupt

        yield count

    out = tmp_path / "cameras"
    with pytest.raises(KeyboardInterrupt):
        recover_cameras(folder, out=str(out), bar=stopping)
    assert (out / "work" / "database.db").exists()
    assert not (out / "photos.json").exists()
    again = recover_cameras(folder, out=str(out))
    assert again.lacking == found.lacking
    assert (again.folder / "images.bin").read_bytes() == (found.folder / "images.bin").read_bytes()


def test_features_are_not_sought_twice(corner, tmp_path, monkeypatch):
    folder, _, _, _, _ = corner
    monkeypatch.setattr(recovery, "write_matches", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        recover_cameras(folder, out=str(tmp_path / "cameras"))
    monkeypatch.undo()
    monkeypatch.setattr("gatlas.sfm.features.read_gray", lambda *_: pytest.fail("features are sought again"))
    recover_cameras(folder, out=str(tmp_path / "cameras"))


def test_a_lens_of_more_parameters_is_refined(corner, tmp_path):
    folder, _, _, truth, _ = corner
    model = recover_cameras(folder, SfmOptions(camera_model="opencv", fov=50), out=str(tmp_path / "cameras"))
    rotation, position, _ = errors(folder, model.folder, truth)
    assert np.median(rotation) < 1
    assert np.median(position) < 1
    camera = next(iter(pycolmap.Reconstruction(model.folder).cameras.values()))
    assert camera.model_name == "OPENCV"
    assert camera.focal_length_x != camera.focal_length_y


def test_the_principal_point_of_cropped_photos_is_taken_as_it_is_given(corner, tmp_path):
    folder, _, _, truth, K = corner
    cropped = tmp_path / "photos"
    cropped.mkdir()
    for path in folder.glob("*.jpg"):
        with Image.open(path) as photo:
            photo.crop((30, 0, 240, 180)).save(cropped / path.name, quality=95)
    model = recover_cameras(cropped, SfmOptions(principal_point="90,90"), out=str(tmp_path / "cameras"))
    rotation, position, _ = errors(cropped, model.folder, truth)
    assert len(rotation) == len(truth)
    assert np.median(rotation) < 0.6
    assert np.median(position) < 1
    found = io.load_cameras(str(model.folder)).Ks
    assert found[:, :2, 2] == pytest.approx(np.tile([90, 90], (8, 1)))
    assert found[0, 0, 0] == pytest.approx(K[0, 0], rel=0.03)


@pytest.mark.parametrize("value", ["90", "90,90,90", "a,b", "nan,90"])
def test_a_principal_point_is_two_numbers(value):
    with pytest.raises(GatlasError, match="principal_point must be two numbers with a comma"):
        SfmOptions(principal_point=value)


def test_a_principal_point_is_of_photos_of_one_size_and_within_them(tmp_path):
    folder = noise_photos(tmp_path / "photos", 3)
    with pytest.raises(GatlasError, match=r"--principal-point 300,90 is outside the photos of 240 x 180 pixels"):
        recover_cameras(folder, SfmOptions(principal_point="300,90"), out=str(tmp_path / "cameras"))
    Image.new("RGB", (100, 80)).save(folder / "z.png")
    with pytest.raises(GatlasError, match="--principal-point is for photos of one size: these have 2"):
        recover_cameras(folder, SfmOptions(principal_point="90,90"), out=str(tmp_path / "cameras"))
    assert not (tmp_path / "cameras").exists()


def noise_photos(folder, count, blur=0.0, contrast=60):
    from scipy.ndimage import gaussian_filter

    folder.mkdir()
    for i in range(count):
        noise = np.random.default_rng(i).normal(size=(180, 240, 3))
        smooth = gaussian_filter(noise, (2 + blur, 2 + blur, 0))
        pixels = np.clip(128 + contrast * smooth / smooth.std(), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def test_photos_of_different_things_are_one_line_that_helps(tmp_path):
    folder = noise_photos(tmp_path / "photos", 5)
    with pytest.raises(
        GatlasError, match=r"0 of 5 photos could be registered: none of them show the same.*overlap"
    ) as at:
        recover_cameras(folder, out=str(tmp_path / "cameras"))
    assert "\n" not in str(at.value)


def test_blurred_photos_are_one_line_that_helps(tmp_path):
    folder = noise_photos(tmp_path / "photos", 5, blur=30)
    with pytest.raises(
        GatlasError, match=r"0 of 5 photos could be registered: .*little that can be recognized.*blurred"
    ):
        recover_cameras(folder, out=str(tmp_path / "cameras"))


def test_a_plain_wall_is_one_line_that_helps(tmp_path):
    folder = noise_photos(tmp_path / "photos", 4, contrast=0.5)
    with pytest.raises(GatlasError, match=r"0 of 4 photos could be registered: .*plain"):
        recover_cameras(folder, SfmOptions(sequential=True), out=str(tmp_path / "cameras"))


def wall_video(path, place):
    """Write a video of a patterned wall, which the plane z = 0 is; `place` gives the viewmat of each of 12 frames."""
    wall = cv2.resize(pattern(np.random.default_rng(0)), (960, 960), interpolation=cv2.INTER_CUBIC)
    across = np.array([[2 / 480, 0, -2], [0, 2 / 480, -2], [0, 0, 0]])  # from pixels of the wall to its plane
    K = intrinsics(240, 180, 55.0)
    frames = []
    for i in range(12):
        viewmat = place(i / 11)
        H = K @ (viewmat[:3, :3] @ across + np.outer(viewmat[:3, 3], [0, 0, 1]))
        frames.append(cv2.warpPerspective(wall, H, (240, 180)))
    path.write_bytes(mp4_of(frames, fps=4))
    return path


def cameras_of_video(video, said):
    folder = video_frames(video, 12, video.with_name("frames"), report=said.append).folder
    return recover_cameras(folder, SfmOptions(sequential=True), out=str(video.with_name("cameras")), report=said.append)


def along(t):
    return look_at(np.array([[1.6 * t - 0.8, 0.0, -1.8]]), np.array([1.6 * t - 0.8, 0, 0]))[0]


def turning(t):
    viewmat = look_at(np.array([[0, 0, -1.8]]), np.zeros(3))[0]
    viewmat[:3] = so3_exp(np.radians([0, 24 * t - 12, 0])) @ viewmat[:3]
    return viewmat


@pytest.mark.parametrize("place", [along, turning])
def test_a_video_of_a_flat_wall_says_that_the_cameras_may_be_wrong_and_what_helps(tmp_path, place):
    pytest.importorskip("av")
    said = []
    cameras_of_video(wall_video(tmp_path / "wall.mp4", place), said)
    (line,) = (each for each in said if "may be wrong" in each)
    assert "pairs that match show a flat surface, or the camera only turned: walk around the subject" in line
    assert "--fov DEGREES helps" in line
    assert "\n" not in line


def test_a_video_of_a_wall_without_features_is_one_line_that_helps(tmp_path):
    pytest.importorskip("av")
    rng = np.random.default_rng(0)
    frames = [np.clip(200 + rng.normal(0, 6, (180, 240, 3)), 0, 255).astype(np.uint8) for _ in range(12)]
    (tmp_path / "wall.mp4").write_bytes(mp4_of(frames, fps=4))
    with pytest.raises(
        GatlasError, match=r"0 of 12 photos could be registered: .*little that can be recognized.*plain"
    ):
        cameras_of_video(tmp_path / "wall.mp4", [])


def test_photos_of_a_scene_with_depth_are_not_doubted(corner):
    assert not any("may be wrong" in line for line in corner[2])


def test_two_photos_are_too_few(tmp_path):
    folder = noise_photos(tmp_path / "photos", 2)
    with pytest.raises(GatlasError, match="2 photos are too few to find cameras: three or more are needed"):
        recover_cameras(folder, out=str(tmp_path / "cameras"))


def test_a_missing_pycolmap_names_the_extra(tmp_path, monkeypatch):
    folder = noise_photos(tmp_path / "photos", 3)
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(GatlasError, match=r"pip install 'gatlas\[photos\]'"):
        recover_cameras(folder, out=str(tmp_path / "cameras"))
    assert not (tmp_path / "cameras").exists()


def test_a_folder_of_other_cameras_is_refused(corner, tmp_path):
    found = corner[1]
    others = noise_photos(tmp_path / "photos", 3)
    with pytest.raises(GatlasError, match="holds the cameras of other photos or options: name another folder"):
        recover_cameras(others, out=str(found.folder))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("Dear reader")
    with pytest.raises(GatlasError, match=r"holds letter\.txt"):
        recover_cameras(others, out=str(tmp_path / "mine"))


def test_no_features_are_taken_from_what_a_mask_leaves_out(tmp_path):
    from gatlas.io.photos.unposed_photos import list_photos
    from gatlas.sfm.features import write_features

    folder = noise_photos(tmp_path / "photos", 2)
    mask = np.zeros((180, 240), dtype=np.uint8)
    mask[:, :100] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    clear = np.dstack([np.asarray(Image.open(folder / "1.png")), mask])
    Image.fromarray(clear).save(folder / "1.png")
    photos = list_photos(folder, {folder / "0.png": tmp_path / "mask.png"})
    write_features(photos, tmp_path / "database.db", SfmOptions(), threads=1)
    with pycolmap.Database.open(tmp_path / "database.db") as held:
        for number in (1, 2):
            keypoints = held.read_keypoints(number)
            assert len(keypoints) > 20
            assert keypoints[:, 0].max() <= 100
            assert len(held.read_descriptors(number).data) == len(keypoints)
