"""Scenes far from the origin, as maps have them: what the doubles of a file hold is not lost in float32."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from gatlas import io
from gatlas.fit import FitOptions, fit
from gatlas.fit.quality import picture_quality
from gatlas.geometry.cameras import camera_centers, fibonacci_views, look_at
from gatlas.geometry.far_coordinates import center_of_far, float32_holds
from gatlas.geometry.float32_rotations import float32_matrix
from gatlas.geometry.frames import scaled_views
from gatlas.geometry.rotations import quats_to_matrices, rigid_motions, so3_exp
from gatlas.io.photos.pose_file import read_viewmats
from gatlas.render import RenderOptions, render
from gatlas.types import Views
from tests.helpers.blobs import lump, photo_of
from tests.helpers.box_meshes import FACES
from tests.helpers.colmap_files import rows_of, write_binary, write_text
from tests.helpers.command_line import expect, run_here
from tests.helpers.gltf_files import Gltf

pytestmark = pytest.mark.usefixtures("one_thread")

SITE = np.array([512345.25, 4612345.5, 310.0])
LOCAL = np.zeros(3)
SIDE = 40


@pytest.fixture(scope="module")
def splat():
    return lump(300)


@pytest.fixture(scope="module")
def views(splat):
    cameras = fibonacci_views(10, SIDE, SIDE)
    exact = look_at(camera_centers(cameras.viewmats).astype(np.float64))  # rotations to float64's precision
    pictures = [photo_of(splat, viewmat, cameras.Ks[0], SIDE) for viewmat in exact]
    return Views(np.stack(pictures), replace(cameras, viewmats=exact))


def at(cameras, place):
    """The cameras where the scene's origin is at a place."""
    return replace(cameras, viewmats=scaled_views(cameras.viewmats, place, 1.0))


def write_photos(folder, views, place, how, points):
    cameras = at(views.cameras, place)
    io.save_views(folder, replace(views, cameras=cameras))
    xyz, rgb = points + place, np.full((len(points), 3), 128)
    if how == "transforms":
        write_double_points(folder / "points.ply", xyz)
        index = json.loads((folder / "transforms.json").read_text())
        (folder / "transforms.json").write_text(json.dumps({**index, "ply_file_path": "points.ply"}))
    else:
        (folder / "transforms.json").unlink()
        write = write_text if how == "colmap text" else write_binary
        write(folder / "sparse" / "0", rows_of(cameras, [f"{i:03d}.png" for i in range(len(views))]), xyz, rgb)
    return folder


def write_double_points(path, xyz):
    header = f"ply\nformat ascii 1.0\nelement vertex {len(xyz)}\n"
    header += "".join(f"property double {axis}\n" for axis in "xyz") + "end_header\n"
    path.write_text(header + "".join(" ".join(repr(float(v)) for v in row) + "\n" for row in xyz))


def double_splat(path, splat, place):
    """A splat PLY of the Gaussians with double positions, shifted in the file's axes."""
    io.save_gaussians(path, splat, force=True)
    head, body = path.read_bytes().split(b"end_header\n", 1)
    table = np.frombuffer(body, dtype="<f4").reshape(len(splat), -1)
    kept = [line for line in head.decode().splitlines() if not line.startswith("comment")]
    kept = [line.replace("float", "double") if line.split()[-1] in "xyz" else line for line in kept]
    rows = np.zeros(len(splat), dtype=[("xyz", "<f8", 3), ("rest", "<f4", table.shape[1] - 3)])
    rows["xyz"], rows["rest"] = table[:, :3].astype(np.float64) + place, table[:, 3:]
    path.write_bytes(("\n".join(kept) + "\nend_header\n").encode() + rows.tobytes())
    return path


def far_splat(path, splat):
    """A file of the Gaussians at SITE in their own axes, which a splat PLY turns about z; its warning is expected."""
    return double_splat(path, splat, SITE * [-1, -1, 1])


KINDS = [("transforms", "points"), ("transforms", "hull"), ("colmap text", "points"), ("colmap binary", "points")]


@pytest.mark.parametrize(("how", "init"), KINDS)
def test_photos_of_a_far_scene_are_fitted_as_well_as_near_ones(splat, views, how, init, tmp_path):
    options = FitOptions(count=100, iterations=20, resolution=SIDE, init=init)
    fits = []
    for name, place in (("near", LOCAL), ("far", SITE)):
        folder = write_photos(tmp_path / name, views, place, how, splat.means[:150].astype(np.float64))
        fits.append(fit(io.load_views(folder), options, points=io.load_points(folder)))
    near, far = fits
    assert near.psnr > 14
    assert far.psnr == pytest.approx(near.psnr, abs=0.1)
    np.testing.assert_allclose(far.gaussians.origin.center - SITE, near.gaussians.origin.center, atol=1e-4)
    assert far.gaussians.origin.scale == pytest.approx(near.gaussians.origin.scale, rel=1e-4)


def test_rotations_rounded_in_a_text_file_do_not_move_far_cameras(views, tmp_path):
    io.save_views(tmp_path / "there", replace(views, cameras=at(views.cameras, SITE)))
    path = tmp_path / "there" / "transforms.json"
    index = json.loads(path.read_text())
    for frame in index["frames"]:
        matrix = np.array(frame["transform_matrix"])
        frame["transform_matrix"] = np.concatenate([matrix[:, :3].round(7), matrix[:, 3:]], axis=1).tolist()
    path.write_text(json.dumps(index))
    found = camera_centers(io.load_cameras(path).viewmats) - SITE
    np.testing.assert_allclose(found, camera_centers(views.cameras.viewmats), atol=1e-6)


def test_rotations_that_are_too_coarse_for_far_cameras_of_colmap_are_said(views, tmp_path):
    """COLMAP writes -R c for a position c: what R has lost cannot be had back."""
    for name, place, digits in (("near", LOCAL, 7), ("far", SITE, 7), ("exact", SITE, 17)):
        rows = rows_of(at(views.cameras, place), [f"{i:03d}.png" for i in range(len(views))])
        rounded = [(*row[:5], [*np.round(row[5][:4], digits), *row[5][4:]], row[6]) for row in rows]
        write_text(tmp_path / name / "sparse", rounded)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            io.load_cameras(tmp_path / name)
        assert any("its rotations are exact to" in str(each.message) for each in said) == (name == "far")


def shepperd(matrix):
    """wxyz of a matrix of positive trace, not made unit."""
    w = np.sqrt(1 + np.trace(matrix)) / 2
    skew = [matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]
    return np.array([w, *(np.array(skew) / (4 * w))])


def test_cameras_of_colmap_whose_rotations_were_float32_stand_where_they_were(views, tmp_path):
    """The translation was made of the rounded matrix, the quaternion of its entries in double precision."""
    turns = np.random.default_rng(1).normal(size=(6, 3))
    matrices = so3_exp(turns / np.linalg.norm(turns, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    eyes = camera_centers(views.cameras.viewmats)[:6] + SITE
    names = [f"{i:03d}.png" for i in range(6)]
    rows = rows_of(views.cameras[:6], names)[::-1]
    poses = [[*shepperd(matrix), *(-matrix @ eye)] for matrix, eye in zip(matrices, eyes, strict=True)]
    write_binary(tmp_path / "sparse", [(*row[:5], pose, row[6]) for row, pose in zip(rows, poses, strict=True)])
    found = io.load_cameras(tmp_path)
    np.testing.assert_allclose(camera_centers(found.viewmats), eyes, atol=0.01)
    quats = np.array(poses)[:, :4]
    wrong = camera_centers(np.stack([as_read(pose) for pose in poses]))
    assert np.abs(wrong - eyes).max() > 0.03  # without the matrices
    for quat in quats:
        np.testing.assert_allclose(shepperd(float32_matrix(quat)), quat, rtol=0, atol=1e-10)
        assert float32_matrix(quat / np.linalg.norm(quat)) is None


def as_read(pose):
    return rigid_motions(quats_to_matrices(np.array(pose[:4])), np.array(pose[4:]))


def test_what_float32_holds_stays_float32(splat, views, tmp_path):
    folder = write_photos(tmp_path / "near", views, LOCAL, "transforms", splat.means[:50].astype(np.float64))
    assert io.load_cameras(folder).viewmats.dtype == np.float32
    assert io.load_views(folder).cameras.viewmats.dtype == np.float32
    assert io.load_points(folder).xyz.dtype == np.float32
    io.save_gaussians(tmp_path / "near.ply", splat)
    assert not io.load_gaussians(tmp_path / "near.ply").origin.recentered


def test_the_rule_knows_no_unit_and_no_strays():
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(5000, 3))
    for unit in (1.0, 2.0**-20, 2.0**20):
        for distance, held in ((0.0, True), (50.0, True), (5000.0, False)):
            places = (cloud + np.array([0.0, distance, 0.0])) * unit
            assert float32_holds(places) == held
            assert (center_of_far(places) is None) == held
            places[0] = [0.0, 1e9 * unit, 0.0]
            assert float32_holds(places) == held
    assert float32_holds(np.full((3, 3), 4e6))
    assert float32_holds(np.empty((0, 3)))


def test_a_double_splat_is_shown_as_the_near_one_and_its_center_is_kept(splat, tmp_path):
    near = io.load_gaussians(double_splat(tmp_path / "near.ply", splat, LOCAL))
    with pytest.warns(UserWarning, match=r"far.ply: it is far from the origin.*relative to \(512345, 4612346, 310\)"):
        far = io.load_gaussians(far_splat(tmp_path / "far.ply", splat))
    assert far.origin.recentered
    np.testing.assert_allclose(far.means + np.array(far.origin.center) - SITE, near.means, atol=1e-6)
    options = RenderOptions(width=64, orbit=2)
    np.testing.assert_allclose(render(far, options).images, render(near, options).images, atol=1e-3)
    io.save_gaussians(tmp_path / "again.ply", far)
    again = io.load_gaussians(tmp_path / "again.ply")
    assert again.origin.center == far.origin.center
    np.testing.assert_array_equal(again.means, far.means)


@pytest.mark.filterwarnings("ignore:.*far from the origin")
def test_cameras_in_files_are_where_a_far_splat_is(splat, views, tmp_path):
    far = io.load_gaussians(far_splat(tmp_path / "far.ply", splat))
    folder = write_photos(tmp_path / "photos", views, SITE, "transforms", splat.means[:50].astype(np.float64))
    options = RenderOptions(background="transparent")
    seen = render(far, options, io.load_cameras(folder))
    assert seen.cameras.viewmats.dtype == np.float32
    np.testing.assert_allclose(seen.images, views.images, atol=6e-3)  # photos are 8 bits deep
    assert picture_quality(far, io.load_views(folder))[0] > 40
    one = json.loads((folder / "transforms.json").read_text())
    (folder / "one.json").write_text(json.dumps({**one, "frames": one["frames"][3:4]}))
    single = render(far, options, io.load_cameras(folder / "one.json"))
    np.testing.assert_allclose(single.images[0], views.images[3], atol=6e-3)


def test_render_and_pose_pnp_write_cameras_in_the_coordinates_of_a_far_splat(splat, tmp_path):
    far_splat(tmp_path / "far.ply", splat)
    words = ["render", "far.ply", "--orbit", "4", "--width", "64", "-o", "ring"]
    expect(run_here([*words[:-1], "ring/"], tmp_path), 0)
    ring = io.load_cameras(tmp_path / "ring")
    eyes = camera_centers(ring.viewmats) - SITE
    assert ring.viewmats.dtype == np.float64
    assert np.linalg.norm(eyes, axis=1) == pytest.approx([2.0] * 4, abs=0.5)
    pixels = splat.means[:100].astype(np.float64) @ ring.viewmats[0, :3, :3].T
    pixels = (pixels + ring.viewmats[0, :3, :3] @ SITE + ring.viewmats[0, :3, 3]) @ ring.Ks[0].T.astype(np.float64)
    np.savez(tmp_path / "matches.npz", points=splat.means[:100] + SITE, pixels=pixels[:, :2] / pixels[:, 2:])
    words = ["pose-pnp", "ring/images/000.png", "--scene", "far.ply", "--matches", "matches.npz", "--refine", "none"]
    words += ["--intrinsics", "ring/transforms.json", "--ground-truth", "ring/transforms.json", "-o", "poses.json"]
    expect(run_here(words, tmp_path), 0)
    found = read_viewmats(tmp_path / "poses.json", [str(tmp_path / "ring/images/000.png")])
    np.testing.assert_allclose(camera_centers(found)[0] - SITE, eyes[0], atol=1e-4)
    assert max(json.loads((tmp_path / "poses.json").read_text())["errors"]["position"]) < 0.01
    expect(run_here(["render", "far.ply", "--camera", "poses.json", "-o", "seen.png"], tmp_path), 0)
    seen, there = (io.load_image(tmp_path / name) for name in ("seen.png", "ring/images/000.png"))
    assert np.abs(seen[..., :3] - (there[..., :3] * there[..., 3:] + 1 - there[..., 3:])).mean() < 2e-3


@pytest.mark.filterwarnings("ignore:.*far from the origin")
def test_a_far_splat_begins_a_fit_of_photos_and_of_a_mesh(splat, views, tmp_path):
    far = io.load_gaussians(far_splat(tmp_path / "far.ply", splat))
    folder = write_photos(tmp_path / "photos", views, SITE, "transforms", splat.means[:50].astype(np.float64))
    begun = fit(io.load_views(folder), FitOptions(count=300, iterations=0, resolution=SIDE, init="far.ply"), start=far)
    assert begun.psnr > 35
    path = tmp_path / "box.obj"
    path.write_text(box_text(SITE))
    options = FitOptions(count=300, iterations=0, views=2, resolution=32, supersample=1, held_out=1, init="far.ply")
    fitted = fit(io.load_mesh(path), options, start=far).gaussians
    own = fitted.means.astype(np.float64) * fitted.origin.scale + fitted.origin.center
    np.testing.assert_allclose(own - SITE, splat.means, atol=1e-5)


def box_text(place):
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1.0, 0.8) for z in (-0.5, 0.7)]) + place
    return "\n".join(["v " + " ".join(repr(float(v)) for v in p) for p in corners] + [f"f {face}" for face in FACES])


def test_a_far_mesh_is_fitted_as_a_near_one_and_denormalize_says_what_it_cannot_hold(tmp_path):
    for name, place in (("near", LOCAL), ("far", SITE)):
        (tmp_path / f"{name}.obj").write_text(box_text(place))
        budget = ["-n", "60", "--iterations", "2", "--views", "4", "--resolution", "32", "--lambda-lpips", "0"]
        words = ["fit", f"{name}.obj", *budget, "--supersample", "1"]
        expect(run_here([*words, "-o", f"{name}.ply"], tmp_path), 0)
        said = expect(run_here([*words, "--denormalize", "-o", f"{name}_own.ply"], tmp_path), 0).stderr
        line = "--denormalize: float32 has steps of 0.5 at these coordinates, and the object is "
        assert (line in said) == (name == "far")
    near, far = (io.load_gaussians(tmp_path / f"{name}.ply") for name in ("near", "far"))
    np.testing.assert_allclose(far.means, near.means, atol=1e-6)
    np.testing.assert_allclose(far.origin.center - SITE, near.origin.center, atol=1e-9)


def test_a_gltf_node_may_stand_far_away(tmp_path):
    grown = Gltf()
    grown.primitive(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.5]]))
    grown.root["nodes"][0]["translation"] = SITE.tolist()
    mesh = io.load_mesh(grown.blob())
    np.testing.assert_allclose(mesh.vertices - SITE, [[0, 0, 0], [1, 0, 0], [0, 1, 0.5]], atol=1e-8)


@pytest.mark.shared
@pytest.mark.slow
def test_the_map_s_photos_are_fitted_to_the_decibel(shared_data):
    options = FitOptions(count=1000, profile="quick", iterations=100, resolution=128)
    found = fit(io.load_views(shared_data / "cases" / "utm_cameras" / "transforms_utm", side=128), options)
    assert found.psnr > 29.5


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore:.*far from the origin")
def test_the_map_s_splat_is_a_cube(shared_data):
    splat = io.load_gaussians(shared_data / "cases" / "utm_cameras" / "utm_double.ply")
    assert len(np.unique(splat.means[:, 1])) > 100
