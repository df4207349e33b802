"""gatlas pose-pnp, as its users run it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.io.photos.photo_loader import read_photos
from gatlas.metrics.pose_errors import center_errors, rotation_errors
from gatlas.pose.solve import reprojection_errors
from gatlas.types import Cameras, Origin, Views
from tests.helpers.textured import SIDE, K, camera, correspondences, ellipsoid, photo

TRUTHS = [camera(30, 20, 2.4, 10), camera(150, -15, 2.7, -5)]
pytestmark = pytest.mark.usefixtures("one_thread")


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
    assert "focal" not in run.stderr
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
    words = (
        "noise.png",
        scene / "photos/images/000.png",
        "--scene",
        scene / "egg.ply",
        "--fov",
        47,
        "--refine",
        "none",
    )
    run = gatlas("pose-pnp", *words, "-o", "p.json", code=3)
    assert "noise.png: no camera found" in run.stderr
    assert "1 of 2 cameras found" in run.stderr
    document = json.loads((tmp_path / "p.json").read_text())
    assert [frame["file_path"] for frame in document["frames"]] != ["noise.png"]
    assert [each["file_path"] for each in document["not_found"]] == ["noise.png"]


def test_a_focal_length_that_looks_wrong_is_said(gatlas, scene, tmp_path):
    words = ("pose-pnp", scene / "photos/images/000.png", "--scene", scene / "egg.ply", "--fov", 70)
    assert "the focal length looks too short" in gatlas(*words, "-o", "p.json").stderr


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
    document = json.loads((tmp_path / "q.json").read_text())
    assert document["frames"] == []
    assert len(document["not_found"]) == 1


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


def test_a_majority_of_given_correspondences_outweighs_a_picture_that_shows_nothing(gatlas, scene, tmp_path):
    io.save_image(tmp_path / "flat.png", np.full((SIDE, SIDE, 3), 0.5, dtype=np.float32))
    words = ("pose-pnp", "flat.png", "--scene", scene / "egg.ply", "--fov", 47)
    for name, wrong in (("most", 20), ("few", 40)):
        points, pixels = correspondences(TRUTHS[0], wrong)
        np.savez(tmp_path / f"{name}.npz", points=points, pixels=pixels)
    run = gatlas(*words, "--matches", "most.npz", "-o", "p.json")
    assert "flat.png: not refined: the Gaussians" in run.stderr
    frame = json.loads((tmp_path / "p.json").read_text())["frames"][0]
    assert frame["not_refined"].startswith("the Gaussians")
    assert frame["inliers"] >= 40
    assert rotation_errors(found_in(tmp_path / "p.json"), TRUTHS[0][None])[0] < 1e-3
    run = gatlas(*words, "--matches", "few.npz", "-o", "q.json", code=1)
    assert "flat.png: no camera found: PnP found one with 2" in run.stderr


def test_points_have_the_units_of_cameras_in_files(gatlas, scene, tmp_path):
    points, pixels = correspondences(TRUTHS[0], 0)
    np.savez(tmp_path / "m.npz", points=points * 5.0 + [3.0, -2.0, 1.0], pixels=pixels)
    words = ("pose-pnp", scene / "photos/images/000.png", "--scene", scene / "egg.ply", "--fov", 47)
    gatlas(*words, "--matches", "m.npz", "--own-units", "--refine", "none", "-o", "p.json")
    found = found_in(tmp_path / "p.json")
    assert rotation_errors(found, TRUTHS[0][None])[0] < 1e-3
    eye = -found[0, :3, :3].T @ found[0, :3, 3]
    assert np.allclose(eye, -TRUTHS[0][:3, :3].T @ TRUTHS[0][:3, 3] * 5.0 + [3.0, -2.0, 1.0], atol=1e-3)


def test_exact_correspondences_are_not_refined_away_and_the_residual_is_of_the_camera(gatlas, scene, tmp_path):
    points, pixels = correspondences(TRUTHS[0], 0)
    np.savez(tmp_path / "m.npz", points=points, pixels=pixels)
    words = ("pose-pnp", scene / "photos/images/000.png", "--scene", scene / "egg.ply", "--fov", 47)
    run = gatlas(*words, "--matches", "m.npz", "-o", "p.json")
    assert "not refined: the residual of the correspondences would rise" in run.stderr
    frame = json.loads((tmp_path / "p.json").read_text())["frames"][0]
    seen = reprojection_errors(found_in(tmp_path / "p.json")[0], points, pixels, K)
    assert np.median(seen) < 1e-3
    assert abs(np.median(seen) - frame["residual"]) < 1e-3


def bent_correspondences(lens):
    """Sixty points and where the first camera shows them through a lens: OpenCV's formula of k1, k2, p1 and p2."""
    k1, k2, p1, p2 = (lens.get(name, 0.0) for name in ("k1", "k2", "p1", "p2"))
    points = correspondences(TRUTHS[0], 0)[0]
    local = points @ TRUTHS[0][:3, :3].T + TRUTHS[0][:3, 3]
    x, y = local[:, 0] / local[:, 2], local[:, 1] / local[:, 2]
    squared = x * x + y * y
    radial = 1 + k1 * squared + k2 * squared**2
    bent = np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (squared + 2 * x * x),
            y * radial + p1 * (squared + 2 * y * y) + 2 * p2 * x * y,
            np.ones_like(x),
        ],
        axis=1,
    )
    return points, (bent @ K.T)[:, :2]


@pytest.mark.parametrize("lens", [{"k1": 0.25}, {"k1": -0.25}, {"k1": -0.2, "k2": 0.1, "p1": 0.01, "p2": -0.02}])
def test_exact_correspondences_of_a_bent_photo_give_the_exact_camera(gatlas, scene, tmp_path, lens):
    io.save_image(tmp_path / "a.png", io.load_image(scene / "photos/images/000.png"))
    (tmp_path / "k.json").write_text(json.dumps({"fl_x": float(K[0, 0]), **lens, "w": SIDE, "h": SIDE}))
    points, pixels = bent_correspondences(lens)
    np.savez(tmp_path / "m.npz", points=points, pixels=pixels)
    words = ("pose-pnp", "a.png", "--scene", scene / "egg.ply", "--intrinsics", "k.json", "--matches", "m.npz")
    gatlas(*words, "--refine", "none", "-o", "p.json")
    found = found_in(tmp_path / "p.json")
    assert rotation_errors(found, TRUTHS[0][None])[0] < 1e-4
    assert center_errors(found, TRUTHS[0][None])[0] < 1e-4
    frame = json.loads((tmp_path / "p.json").read_text())["frames"][0]
    assert frame["residual"] < 1e-6
    assert frame["inliers"] == 60
    assert {name: frame[name] for name in lens} == lens
    assert frame["fl_x"] == pytest.approx(K[0, 0], rel=1e-12)


def test_pixels_that_no_ray_meets_are_said_and_are_outliers(gatlas, scene, tmp_path):
    io.save_image(tmp_path / "a.png", io.load_image(scene / "photos/images/000.png"))
    # At the corner r = 0.616 is short of the fold at 0.645, and the photo's own corner is beyond what the lens reaches.
    (tmp_path / "k.json").write_text(json.dumps({"fl_x": float(K[0, 0]), "k1": -0.8, "w": SIDE, "h": SIDE}))
    points, pixels = bent_correspondences({"k1": -0.8})
    pixels[:2] = 0.5
    np.savez(tmp_path / "m.npz", points=points, pixels=pixels)
    words = ("pose-pnp", "a.png", "--scene", scene / "egg.ply", "--intrinsics", "k.json", "--matches", "m.npz")
    run = gatlas(*words, "--refine", "none", "-o", "p.json")
    assert "m.npz: 2 of 60 pixels are outside the field of the lens of a.png (k1 = -0.8)" in run.stderr
    assert rotation_errors(found_in(tmp_path / "p.json"), TRUTHS[0][None])[0] < 1e-4
    frame = json.loads((tmp_path / "p.json").read_text())["frames"][0]
    assert (frame["inliers"], frame["correspondences"]) == (58, 60)


def test_the_help_says_where_a_pixels_center_is(gatlas):
    shown = " ".join(gatlas("pose-pnp", "--help").stdout.decode().split())
    assert "The center of the first pixel is (0.5, 0.5)." in shown


def test_a_bent_photo_is_fitted_and_rendered_as_it_was_found(gatlas, scene, tmp_path):
    picture = io.load_image(scene / "photos/images/000.png")
    io.save_image(tmp_path / "a.png", picture)
    focal = float(K[0, 0])
    (tmp_path / "k.json").write_text(json.dumps({"fl_x": focal, "k1": 0.08, "w": SIDE, "h": SIDE}))
    points, pixels = bent_correspondences({"k1": 0.08})
    undistorted = read_photos([str(tmp_path / "a.png")], source=str(tmp_path / "k.json"))[0]
    np.savez(tmp_path / "m.npz", points=points, pixels=pixels)
    words = ("pose-pnp", "a.png", "--scene", scene / "egg.ply", "--intrinsics", "k.json", "--matches", "m.npz")
    gatlas(*words, "--refine", "none", "-o", "p.json")
    views = io.load_views(tmp_path / "p.json")
    assert np.allclose(views.images[0], undistorted.image, atol=1e-5)
    assert np.allclose(views.cameras.Ks[0], undistorted.K, rtol=1e-6)
    assert undistorted.K[0, 0] > 1.01 * focal
    gatlas("render", scene / "egg.ply", "--camera", "p.json", "-o", "same.png")


def test_a_named_folder_is_where_the_pictures_of_init_lie_and_init_may_be_a_folder(gatlas, scene, tmp_path):
    (tmp_path / "noisy").mkdir()
    index = (scene / "photos/transforms.json").read_text()
    (tmp_path / "noisy/n.json").write_text(index)
    words = ("--scene", scene / "egg.ply", "--threads", 1)
    run = gatlas("pose-pnp", scene / "photos", *words, "--init", "noisy/n.json", "-o", "p.json")
    assert "2 of 2 cameras found" in run.stderr
    run = gatlas("pose-pnp", *words, "--init", "noisy/n.json", "-o", "q.json", code=1)
    assert "noisy/n.json: 2 of its pictures are missing in noisy" in run.stderr
    run = gatlas("pose-pnp", *words, "--init", scene / "photos", "-o", "q.json")
    assert found_in(tmp_path / "q.json") == pytest.approx(found_in(tmp_path / "p.json"))


def test_photos_of_one_stem_are_refused_and_never_judged_by_each_other(gatlas, scene, tmp_path):
    for i, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        io.save_image(tmp_path / name / "x.png", io.load_image(scene / f"photos/images/00{i}.png"))
    document = json.loads((scene / "photos/transforms.json").read_text())
    document["frames"] = [{**document["frames"][0], "file_path": "a/x.png"}]
    (tmp_path / "one.json").write_text(json.dumps(document))
    words = ("pose-pnp", "a/x.png", "b/x.png", "--scene", scene / "egg.ply", "--fov", 47, "-o", "p.json")
    for option in ("--ground-truth", "--init"):
        assert "one.json: b/x.png: none of its frames is that file" in gatlas(*words, option, "one.json", code=1).stderr
    assert "photos would share a mask" in gatlas(*words, "--mask", "{stem}.png", code=1).stderr


def test_photos_of_several_sizes_are_found_refined_together_and_rendered_each_in_its_own(gatlas, scene, tmp_path):
    image = photo(ellipsoid(), TRUTHS[0])
    io.save_image(tmp_path / "large.png", image.repeat(2, axis=0).repeat(2, axis=1))
    words = ("pose-pnp", "large.png", scene / "photos/images/001.png", "--scene", scene / "egg.ply", "--fov", 47)
    gatlas(*words, "--refine", "none", "-o", "p.json")
    assert io.load_cameras(tmp_path / "p.json").sizes == ((2 * SIDE, 2 * SIDE), (SIDE, SIDE))
    gatlas("render", scene / "egg.ply", "--camera", "p.json", "-o", "views/")
    for shown, taken in zip(
        io.load_views(tmp_path / "views").images, io.load_views(tmp_path / "p.json").images, strict=True
    ):
        assert shown.shape[:2] == taken.shape[:2]
        assert np.abs(shown[..., 3] - (np.ptp(taken, axis=-1) > 0.1)).mean() < 0.3
    gatlas("render", scene / "egg.ply", "--camera", "p.json", "-o", "sheet.png")
    assert io.load_image(tmp_path / "sheet.png").shape[:2] == (2 * SIDE, 4 * SIDE)
    gatlas("pose-pnp", "--init", "p.json", "--scene", scene / "egg.ply", "-o", "q.json")
    refined = found_in(tmp_path / "q.json")
    assert rotation_errors(refined, np.stack(TRUTHS)).max() < 0.3
    gatlas("pose-pnp", *words[1:], "--candidates", "p.json", "--refine", "none", "-o", "r.json")
    assert rotation_errors(found_in(tmp_path / "r.json"), np.stack(TRUTHS)).max() < 2


def test_what_truth_cannot_judge_is_said_before_any_work(gatlas, scene, tmp_path):
    document = json.loads((scene / "photos/transforms.json").read_text())
    words = ("pose-pnp", scene / "photos", "--scene", scene / "egg.ply", "-o", "p.json", "--ground-truth", "gt.json")
    frames = document["frames"]
    (tmp_path / "gt.json").write_text(json.dumps({**document, "frames": frames[:1]}))
    run = gatlas(*words, code=1)
    assert "gt.json: has no camera of" in run.stderr
    assert "cameras found" not in run.stderr
    middle = np.median(io.load_gaussians(scene / "egg.ply").means, axis=0)
    there = np.eye(4)
    there[:3, 3] = middle
    (tmp_path / "gt.json").write_text(
        json.dumps({**document, "frames": [frames[0], {**frames[1], "transform_matrix": there.tolist()}]})
    )
    run = gatlas(*words, code=1)
    assert "images/001.png is in the middle of the scene" in run.stderr
    assert "cameras found" not in run.stderr


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
        (("--fov", 47, "--candidates", "c.json", "--views", 20), "--views is the number of views from all sides"),
        (("--fov", 47, "--refine", "noposplat", "--background", "transparent"), "must be a color"),
        (("--fov", 47, "--background", "pinkish"), "is not a color"),
        (("--matches", "-", "--intrinsics", "-"), "--matches and --intrinsics cannot both come from standard input"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(gatlas, scene, tmp_path, words, message):
    run = gatlas(
        "pose-pnp", scene / "photos/images/000.png", "--scene", scene / "egg.ply", *words, "-o", "p.json", code=1
    )
    assert message in run.stderr
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{folder}", "--mask", "m.png"), "photos would share a mask"),
        (("--init", "{folder}/transforms.json", "--mask", "m.png"), "photos would share a mask"),
        (("--fov", 47, "--matches", "-"), "the photo and --matches cannot both come from standard input"),
    ],
)
def test_what_cannot_be_done_with_what_is_not_named_is_said_in_one_line(gatlas, scene, words, message):
    words = [str(word).format(folder=scene / "photos") for word in words]
    run = gatlas("pose-pnp", *words, "--scene", scene / "egg.ply", "-o", "p.json", code=1)
    assert message in run.stderr
    assert run.stderr.strip().count("\n") == 0


def test_a_file_in_which_nothing_was_found_is_not_called_a_strange_one(gatlas, scene, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"frames": [], "not_found": [{"file_path": "a.png"}]}))
    run = gatlas("render", scene / "egg.ply", "--camera", "p.json", "-o", "x.png", code=1)
    assert "p.json: has no camera: its list of 'frames' is empty" in run.stderr
