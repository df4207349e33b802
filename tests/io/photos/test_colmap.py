"""COLMAP models, text and binary, against a writer that knows only the format's description."""

import numpy as np
import pytest
from PIL import Image

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import orbit
from tests.helpers.colmap_files import project, rows_of, write_binary, write_text
from tests.helpers.warned import recorded

WRITERS = pytest.mark.parametrize("write", [write_text, write_binary], ids=["text", "binary"])
XYZ = np.array([[0.25, -0.5, 0.125], [0.0, 1.0, 2.0]])
RGB = np.array([[255, 0, 51], [0, 102, 255]])


@pytest.fixture
def cameras():
    return orbit(3, 6, 4, elevation=30)


def scene(folder, cameras, write, names=("a.png", "b.png", "c.png"), place="sparse/0", images="images", **more):
    rows = rows_of(cameras, names, **more)
    write(folder / place, rows, XYZ, RGB)
    for i, name in enumerate(names):
        path = folder / images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (cameras.width, cameras.height), (51 * i, 0, 255)).save(path)
    return folder


@WRITERS
def test_photos_and_cameras_come_sorted_by_name(tmp_path, cameras, write):
    views = io.load_views(scene(tmp_path, cameras, write))
    np.testing.assert_allclose(views.cameras.viewmats, cameras.viewmats, atol=1e-6)
    np.testing.assert_allclose(views.cameras.Ks, cameras.Ks, rtol=1e-6)
    np.testing.assert_allclose(views.images[:, 0, 0], [[0, 0, 1], [0.2, 0, 1], [0.4, 0, 1]], atol=1e-6)
    for i in range(3):
        np.testing.assert_allclose(project(views.cameras, i, XYZ), project(cameras, i, XYZ), atol=1e-4)


@WRITERS
def test_points_come_with_their_colours(tmp_path, cameras, write):
    points = io.load_points(scene(tmp_path, cameras, write))
    np.testing.assert_allclose(points.xyz, XYZ)
    np.testing.assert_allclose(points.rgb, RGB / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("place", "images"),
    [("sparse/0", "images"), ("sparse", "images"), ("", "images"), ("", ""), ("colmap/sparse/0", "images")],
)
def test_models_are_found_where_tools_put_them(tmp_path, cameras, place, images):
    scene(tmp_path, cameras, write_binary, names=("x/a.png", "x/b.png", "y z.png"), place=place, images=images)
    assert len(io.load_views(tmp_path)) == 3
    assert len(io.load_views(tmp_path / place)) == 3  # the model's own folder may be named


def test_names_with_spaces_and_lines_without_points_are_read(tmp_path, cameras):
    scene(tmp_path, cameras, lambda *a: write_text(*a, seen=""), names=("a b.png", "c.png", "d e f.png"))
    assert len(io.load_views(tmp_path)) == 3


@pytest.mark.parametrize(
    ("model", "distortion"),
    [("SIMPLE_PINHOLE", ()), ("SIMPLE_RADIAL", (0.0,)), ("RADIAL", (0.0, 0.0)), ("OPENCV", (0.0,) * 4)],
)
@WRITERS
def test_all_pinhole_like_models_are_read(tmp_path, cameras, write, model, distortion):
    found = io.load_cameras(scene(tmp_path, cameras, write, model=model, distortion=distortion))
    np.testing.assert_allclose(found.Ks, cameras.Ks, rtol=1e-6)


@WRITERS
def test_other_models_are_refused_by_name(tmp_path, cameras, write):
    folder = scene(tmp_path, cameras, write, model="OPENCV_FISHEYE", distortion=(0.1, 0, 0, 0))
    with pytest.raises(GatlasError, match=r"cameras\.(bin|txt): the camera model OPENCV_FISHEYE is not read"):
        io.load_views(folder)


def test_missing_photos_are_left_out_with_one_warning(tmp_path, cameras):
    folder = scene(tmp_path, cameras, write_binary)
    (folder / "images" / "b.png").unlink()
    with pytest.warns(
        UserWarning, match=r"images\.bin: 1 of its 3 pictures are missing and left out, .* b\.png"
    ) as seen:
        views = io.load_views(folder)
    assert len(seen) == 1
    np.testing.assert_allclose(views.cameras.viewmats, cameras.viewmats[[0, 2]], atol=1e-6)


def test_no_photo_at_all_is_an_error(tmp_path, cameras):
    folder = scene(tmp_path, cameras, write_binary)
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(GatlasError, match=r"none of its 3 pictures is there: the first would be a\.png"):
        io.load_views(folder)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_binary_files_that_are_cut_short_are_named(tmp_path, cameras, name):
    folder = scene(tmp_path, cameras, write_binary)
    path = folder / "sparse/0" / f"{name}.bin"
    whole = path.read_bytes()
    for size in (4, 12, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(GatlasError, match=rf"{name}\.bin: truncated or damaged"):
            io.load_points(folder) if name == "points3D" else io.load_views(folder)
    path.write_bytes(whole + b"x")
    with pytest.raises(GatlasError, match=rf"{name}\.bin: damaged: 1 bytes follow"):
        io.load_points(folder) if name == "points3D" else io.load_views(folder)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("cameras", "1 PINHOLE 6\n", "line 1: a camera has"),
        ("cameras", "1 PINHOLE 6 4 5 x 3 2\n", "line 1: '5 x 3 2' must be numbers"),
        ("cameras", "7 PINHOLE 6 4 5 5\n8 PINHOLE 6 4 5 5 3 2\n9 PINHOLE 6 4 5 5 3 2\n", "has 2 parameters"),
        ("cameras", "1 PINHOLE 6 4 5 5 3 2\n", "which the model does not have"),
        ("images", "# nothing\n", "the model has no images"),
        ("images", "1 1 0 0 0 0 0 nan 7 a.png\n\n", "NaN or infinite"),
        ("images", "1 0 0 0 0 0 0 0 7 a.png\n\n", "its quaternion is zero"),
        ("images", "1 1 0 0 0 0 0 0 7 a.png\n2 1 0 0 0 0 0 0 7 b.png\n", "line 2: an image takes two lines"),
    ],
)
def test_broken_text_files_are_named(tmp_path, cameras, name, text, words):
    folder = scene(tmp_path, cameras, write_text)
    (folder / "sparse/0" / f"{name}.txt").write_text(text)
    with pytest.raises(GatlasError, match=words):
        io.load_views(folder)


def test_a_binary_pose_that_is_nan_is_named(tmp_path, cameras):
    rows = rows_of(cameras, ["a.png", "b.png", "c.png"])
    rows[1][5][6] = float("nan")
    write_binary(tmp_path, rows)
    with pytest.raises(GatlasError, match=r"image b\.png: its pose is NaN"):
        io.load_cameras(tmp_path)


def models(folder, counts, names, write=write_binary):
    """Models in sparse/N with so many images each, all of whose photos and one more lie in images/."""
    first = 0
    for number, count in counts.items():
        part = names[first : first + count]
        write(
            folder / "sparse" / number,
            rows_of(orbit(count, 6, 4), part),
            XYZ[: 1 + (number != "0")],
            RGB[: 1 + (number != "0")],
        )
        first += count
    (folder / "images").mkdir()
    for name in names:
        Image.new("RGB", (6, 4)).save(folder / "images" / name)
    return folder


@WRITERS
@pytest.mark.parametrize("named", ["", "sparse"])
def test_of_several_models_the_one_with_most_images_is_taken(tmp_path, write, named):
    folder = models(tmp_path / "scan", {"0": 2, "1": 4, "2": 1, "10": 3}, [f"{i}.png" for i in range(10)], write)
    Image.new("RGB", (6, 4)).save(folder / "images" / "left_out.png")
    views, lines = recorded(io.load_views, folder / named)
    assert len(views) == len(io.load_cameras(folder / named)) == 4
    assert len(lines) == 1
    assert "sparse/1: 4 of 11 photos have cameras in this model, the largest of 4: for another" in lines[0]
    assert len(io.load_points(folder / named).xyz) == 2


@pytest.mark.parametrize(("model_dir", "count"), [("sparse/0", 2), ("sparse/10", 3), (None, 4)])
def test_another_model_is_chosen_by_its_folder(tmp_path, model_dir, count):
    folder = models(tmp_path / "scan", {"0": 2, "1": 4, "10": 3}, [f"{i}.png" for i in range(9)])
    assert len(recorded(io.load_views, folder, model_dir=model_dir)[0]) == count
    if model_dir is not None:
        assert len(recorded(io.load_views, folder, model_dir=str(folder / model_dir))[0]) == count
        assert len(recorded(io.load_views, folder / model_dir)[0]) == count
        assert len(io.load_points(folder, model_dir=model_dir).xyz) == {2: 1, 3: 2}[count]
    with pytest.raises(
        GatlasError, match=r"sparse/7: there is no COLMAP model; there are sparse/0, sparse/1, sparse/10"
    ):
        io.load_views(folder, model_dir="sparse/7")


def test_equal_and_damaged_models_do_not_take_the_place_of_the_first(tmp_path):
    folder = models(tmp_path / "scan", {"0": 2, "1": 2}, [f"{i}.png" for i in range(4)])
    (folder / "sparse" / "2").mkdir()
    (folder / "sparse" / "2" / "images.bin").write_bytes(b"damaged")
    views, lines = recorded(io.load_views, folder)
    assert len(views) == 2
    assert "sparse/0: 2 of 4 photos have cameras in this model, the largest of 3" in lines[0]


def test_photos_that_a_single_model_leaves_out_are_counted(tmp_path, cameras):
    folder = scene(tmp_path, cameras, write_binary)
    assert recorded(io.load_views, folder)[1] == []
    Image.new("RGB", (6, 4)).save(folder / "images" / "d.png")
    assert recorded(io.load_views, folder)[1] == [f"{folder}/sparse/0: 3 of 4 photos have cameras"]


@WRITERS
def test_photos_of_several_sizes_have_each_the_camera_of_its_own(tmp_path, write):
    rows, sizes = [], {"a.png": (6, 4), "b.png": (4, 6), "c.png": (7, 4)}
    for i, (name, size) in enumerate(sizes.items()):
        model, distortion = ("OPENCV", (0.05, 0, 0, 0)) if name == "b.png" else ("PINHOLE", ())
        own = rows_of(orbit(3, *size)[i], [name], model=model, distortion=distortion)[0]
        rows.append((7 + i, *own[1:]))
    write(tmp_path / "sparse/0", rows[::-1])
    (tmp_path / "images").mkdir()
    for i, (name, size) in enumerate(sizes.items()):
        Image.new("RGB", size, (51 * i, 0, 255)).save(tmp_path / "images" / name)
    views = io.load_views(tmp_path)
    assert views.cameras.sizes == tuple(sizes.values())
    np.testing.assert_allclose([image[1, 1, 0] for image in views.images], [0, 0.2, 0.4], atol=1e-6)
    for i, size in enumerate(sizes.values()):
        np.testing.assert_allclose(views.cameras.viewmats[i], orbit(3, *size).viewmats[i], atol=1e-6)
        if i != 1:
            np.testing.assert_allclose(views.cameras.Ks[i], orbit(3, *size).Ks[i], rtol=1e-6)
    small = io.load_views(tmp_path, side=4)
    assert small.cameras.sizes == ((4, 3), (3, 4), (4, 2))
    np.testing.assert_allclose(small.cameras.Ks[2, 0], views.cameras.Ks[2, 0] * 4 / 7, rtol=1e-6)


def test_a_photo_of_another_size_than_its_camera_is_named(tmp_path, cameras):
    folder = scene(tmp_path, cameras, write_text)
    path = folder / "sparse/0/cameras.txt"
    path.write_text(path.read_text().replace("PINHOLE 6 4", "PINHOLE 8 4", 1))
    with pytest.raises(GatlasError, match=r"it says 8 x 4 pixels, the pictures have 6 x 4: .* is .*c\.png"):
        io.load_views(folder)


def test_a_model_without_points_has_none(tmp_path, cameras):
    folder = scene(tmp_path, cameras, write_binary)
    (folder / "sparse/0/points3D.bin").unlink()
    assert io.load_points(folder) is None


def test_photos_that_are_missing_do_not_count_as_photos_with_cameras(tmp_path, cameras):
    folder = scene(tmp_path, cameras, write_text)
    pictures = sorted((folder / "images").iterdir())
    pictures[0].unlink()
    (folder / "images" / "z.png").write_bytes(pictures[1].read_bytes())
    _, lines = recorded(io.load_views, folder)
    assert any(f"{len(pictures) - 1} of {len(pictures)} photos have cameras" in line for line in lines)


def test_an_empty_text_of_points_is_a_model_without_points(tmp_path, cameras):
    folder = scene(tmp_path, cameras, write_text)
    (folder / "sparse/0/points3D.txt").write_text("")
    assert io.load_points(folder) is None


def test_a_transforms_file_goes_before_a_model(tmp_path, cameras):
    folder = scene(tmp_path, cameras, write_binary)
    (folder / "transforms.json").write_text("{")
    with pytest.raises(GatlasError, match="not JSON"):
        io.load_views(folder)


def test_a_folder_with_neither_is_refused(tmp_path):
    with pytest.raises(GatlasError, match=r"no transforms\.json in this folder, and no COLMAP model"):
        io.load_views(tmp_path)


def test_the_points_of_a_ply_are_read(tmp_path):
    text = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
    text += "property uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n1 2 3 255 0 51\n4 5 6 0 0 0\n"
    (tmp_path / "p.ply").write_text(text)
    points = io.load_points(tmp_path / "p.ply")
    np.testing.assert_allclose(points.xyz, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(points.rgb, [[1, 0, 0.2], [0, 0, 0]], atol=1e-6)


@WRITERS
def test_points_that_are_not_finite_are_left_out_with_a_count(tmp_path, cameras, write):
    xyz = np.array([(0, 0, 1), (np.nan, 0, 0), (1, -np.inf, 0), (1e300, 0, 0)])
    write(tmp_path / "sparse/0", rows_of(cameras, ("a.png", "b.png", "c.png")), xyz, np.tile(RGB, (2, 1)))
    with pytest.warns(UserWarning, match="3 of its 4 points are NaN or infinite and left out"):
        assert io.load_points(tmp_path).xyz.tolist() == [[0, 0, 1]]
    write(tmp_path / "sparse/0", rows_of(cameras, ("a.png", "b.png", "c.png")), xyz[1:2], RGB[:1])
    with pytest.raises(GatlasError, match="none of its 1 points is finite"):
        io.load_points(tmp_path)


@pytest.mark.parametrize("parameters", ["1e308 9 8 8", "1e-30 9 8 8", "9 9 1e308 8", "9 9 8 -1e12"])
def test_intrinsics_that_no_camera_has_are_refused(tmp_path, cameras, parameters):
    scene(tmp_path, cameras, write_text)
    lines = [f"{i} PINHOLE 6 4 {parameters}" for i in (7, 8, 9)]
    (tmp_path / "sparse/0/cameras.txt").write_text("\n".join(lines))
    with pytest.raises(GatlasError, match="no camera has the focal lengths"):
        io.load_cameras(tmp_path)


@pytest.mark.parametrize("pose", ["1e200 0 0 0 0 0 0", "1 0 0 0 1e300 0 0"])
def test_poses_that_no_camera_has_are_refused(tmp_path, cameras, pose):
    scene(tmp_path, cameras, write_text)
    (tmp_path / "sparse/0/images.txt").write_text(f"1 {pose} 7 a.png\n\n")
    with pytest.raises(GatlasError, match=r"image a\.png: its pose has numbers that no camera has"):
        io.load_cameras(tmp_path)


def test_a_name_without_end_is_cut_in_messages(tmp_path):
    rows = rows_of(orbit(3, 6, 4), [f"{'x' * 5000}{i}.png" for i in range(3)])
    write_text(tmp_path / "sparse" / "0", rows)
    path = tmp_path / "sparse" / "0" / "cameras.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(GatlasError, match="which the model does not have") as caught:
        io.load_cameras(tmp_path)
    assert len(str(caught.value)) < 1000
