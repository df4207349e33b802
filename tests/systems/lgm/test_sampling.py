"""gatlas sample from views of an object: folders, tars, standard input, pictures of an orbit, and wrong words."""

import json
import shutil
import tarfile

import numpy as np
import pytest

import gatlas.systems.lgm.checkpoint as module
from gatlas import io
from gatlas.geometry.cameras import orbit
from gatlas.systems.lgm import create
from gatlas.types import Views
from tests.helpers.command_line import expect, run_here
from tests.helpers.small_lgm import CONFIG, disc_views, write_published

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model folder and views: with poses, as pictures alone, opaque, and masks."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "model").mkdir()
    create(CONFIG).save(str(folder / "model"))
    views = disc_views()
    io.save_views(folder / "views", views)
    (folder / "photos").mkdir()
    for i, image in enumerate(views.images):
        io.save_image(folder / "photos" / f"{i}.png", image)
        opaque = np.where(image[..., 3:] > 0, image[..., :3], 0.5 * np.ones(3, np.float32)).astype(np.float32)
        io.save_image(folder / "photos" / f"{i}_opaque.png", opaque)
        io.save_image(folder / "photos" / f"{i}_white.png", np.where(image[..., 3:] > 0, image[..., :3], np.float32(1)))
        io.save_image(folder / "photos" / f"{i}_opaque_mask.png", np.repeat(image[..., 3:], 3, axis=-1))
    return folder


@pytest.fixture
def sample(made, tmp_path):
    """Run `gatlas sample --model model WORDS...` in an empty folder."""

    def run(*words, code=0, stdin=b"", model=made / "model"):
        return expect(run_here(["sample", "--model", model, "--device", "cpu", *words], tmp_path, stdin), code)

    return run


def pictures(made, ending=".png", count=4):
    return [made / "photos" / f"{i}{ending}" for i in range(count)]


def test_a_folder_a_tar_a_pipe_and_pictures_of_the_same_orbit_are_one_splat(sample, made, tmp_path):
    sample(made / "views", "-o", "folder.ply")
    with tarfile.open(tmp_path / "views.tar", "w") as tar:
        tar.add(made / "views", "views")
    sample("views.tar", "-o", "tar.ply")
    sample("-o", "pipe.ply", stdin=(tmp_path / "views.tar").read_bytes())
    sample("-", "-o", "named.ply", stdin=(tmp_path / "views.tar").read_bytes())
    sample(made / "views" / "transforms.json", "-o", "index.ply")
    whole = (tmp_path / "folder.ply").read_bytes()
    for name in ("tar", "pipe", "named", "index"):
        assert (tmp_path / f"{name}.ply").read_bytes() == whole
    sample(*pictures(made), "-o", "orbit.ply")
    folder, orbited = (io.load_gaussians(tmp_path / f"{name}.ply") for name in ("folder", "orbit"))
    np.testing.assert_allclose(orbited.means, folder.means, atol=1e-4)


def test_several_objects_are_a_folder_and_a_tar(sample, made, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(made / "views", tmp_path / "set" / name)
    sample("set", "-o", "made/")
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["one.json", "one.ply", "two.json", "two.ply"]
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(tmp_path / "set", ".")
    sample("set.tar", "-o", "x.tar")
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert sorted(tar.getnames()) == ["one.json", "one.ply", "two.json", "two.ply"]
        assert tar.extractfile("two.ply").read() == (tmp_path / "made" / "two.ply").read_bytes()


def test_an_orbit_is_where_the_options_say(sample, made, tmp_path):
    words = ["--orbit-azimuths", "10,50,-90", "--orbit-elevation", "30", "--radius", "2", "--fov", "40"]
    told = sample(*pictures(made, count=3), *words, "-o", "x.ply", "--views", "seen").stderr
    assert "3 views, beyond what the weights were trained on (4 views)" in told
    seen = io.load_cameras(tmp_path / "seen")
    expected = [orbit(1, 16, 16, elevation=30, azimuth=each, distance=2).viewmats[0] for each in (10, 50, -90)]
    np.testing.assert_allclose(seen.viewmats, expected, atol=1e-5)
    # A field of view of 40 degrees lies inside the network's 49.1: the discs shrink.
    sizes = [(io.load_views(tmp_path / "seen").images[0].min(axis=-1) < 0.99).sum()]
    sample(*pictures(made), "-o", "y.ply", "--views", "wide")
    sizes.append((io.load_views(tmp_path / "wide").images[0].min(axis=-1) < 0.99).sum())
    assert sizes[0] < sizes[1]


def test_one_picture_is_the_front(sample, made, tmp_path):
    sample(made / "photos" / "0.png", "-o", "x.ply", "--views", "seen")
    front = orbit(1, 16, 16, elevation=0, distance=1.5).viewmats
    np.testing.assert_allclose(io.load_cameras(tmp_path / "seen").viewmats, front, atol=1e-6)


def test_fewer_pictures_are_the_first_of_the_orbit(sample, made, tmp_path):
    told = sample(*pictures(made, count=2), "-o", "x.ply", "--views", "seen").stderr
    assert "2 photos: they are taken to be from azimuths 0, 90; --orbit-azimuths gives others" in told
    expected = [orbit(1, 16, 16, elevation=0, azimuth=each, distance=1.5).viewmats[0] for each in (0, 90)]
    np.testing.assert_allclose(io.load_cameras(tmp_path / "seen").viewmats, expected, atol=1e-6)


def test_masks_and_transparency_and_a_white_background_are_the_same(sample, made, tmp_path):
    sample(*pictures(made), "-o", "alpha.ply")
    mask = str(made / "photos" / "{stem}_mask.png")
    sample(*pictures(made, "_opaque.png"), "--mask", mask, "-o", "mask.ply")
    told = sample(*pictures(made, "_white.png"), "-o", "white.ply").stderr
    assert "white is taken for their background" in told
    alpha, masked, white = (io.load_gaussians(tmp_path / f"{name}.ply") for name in ("alpha", "mask", "white"))
    np.testing.assert_allclose(masked.means, alpha.means, atol=1e-3)
    # The alpha of an outline's pixel over white is an estimate: a few rays enter the hull elsewhere.
    same = (np.abs(white.means - alpha.means) < 2e-3).all(axis=1)
    assert same.mean() > 0.97


def test_masks_of_a_folder_are_found_by_the_names_of_its_pictures(sample, made, tmp_path):
    index = json.loads((made / "views" / "transforms.json").read_text())
    for i, frame in enumerate(index["frames"]):
        frame["file_path"] = str(made / "photos" / f"{i}_opaque.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "transforms.json").write_text(json.dumps(index))
    assert "0_opaque.png: is opaque, so its background" in sample("set", "-o", "x.ply", code=1).stderr
    sample("set", "--mask", str(made / "photos" / "{stem}_mask.png"), "-o", "x.ply")
    sample(made / "views", "-o", "y.ply")
    found, expected = (io.load_gaussians(tmp_path / name) for name in ("x.ply", "y.ply"))
    np.testing.assert_allclose(found.means, expected.means, atol=1e-3)


def test_recentered_objects_stand_in_the_middle(sample, made, tmp_path):
    sample(*pictures(made), "--recenter", "-o", "x.ply", "--views", "seen")
    for image in io.load_views(tmp_path / "seen").images:
        rows, columns = (np.flatnonzero((image.min(axis=-1) < 0.9).any(axis=axis)) for axis in (1, 0))
        assert abs(columns[0] + columns[-1] - 15) <= 1
        assert 12 <= columns[-1] - columns[0] + 1 <= 14  # 0.8 of 16 pixels
        assert 12 <= rows[-1] - rows[0] + 1 <= 14


def test_a_splat_of_views_from_anywhere_opens_upright(sample, made, tmp_path):
    io.save_views(tmp_path / "above", disc_views(elevation=40, distance=4.0))
    assert "upright about" not in sample("above", "-o", "x.ply").stderr
    assert len(io.load_gaussians(tmp_path / "x.ply"))


def test_a_published_file_is_sampled_and_converted(sample, made, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BIG", CONFIG)
    fixed = write_published(tmp_path / "model_fp16_fixrot.safetensors")
    legacy = write_published(tmp_path / "model_fp16.safetensors")
    sample(made / "views", "-o", "fixed.ply", model=fixed)
    told = sample(made / "views", "-o", "legacy.ply", model=legacy, code=1).stderr
    assert "--set legacy_rot=true" in told
    sample(made / "views", "-o", "legacy.ply", "--set", "legacy_rot=true", model=legacy)
    assert (tmp_path / "legacy.ply").read_bytes() != (tmp_path / "fixed.ply").read_bytes()
    sample("--convert", "folder", "--set", "legacy_rot=true", model=legacy)
    sample(made / "views", "-o", "again.ply", model="folder")
    assert (tmp_path / "again.ply").read_bytes() == (tmp_path / "legacy.ply").read_bytes()


def test_its_name_alone_says_where_the_weights_are(sample, made):
    told = sample(made / "views", "-o", "x.ply", model="lgm", code=1).stderr
    assert told.count("\n") == 1
    assert "model_fp16_fixrot.safetensors of huggingface.co/ashawkey/LGM" in told


def without_a_picture(made, folder):
    shutil.copytree(made / "views", folder / "bad")
    (folder / "bad" / "images" / "002.png").unlink()


def with_an_opaque_view(made, folder):
    shutil.copytree(made / "views", folder / "bad")
    io.save_image(folder / "bad" / "images" / "001.png", disc_views().images[1, ..., :3], force=True)


def with_an_empty_view(made, folder):
    shutil.copytree(made / "views", folder / "bad")
    io.save_image(folder / "bad" / "images" / "001.png", np.zeros((32, 32, 4), np.float32), force=True)


def of_several_sizes(made, folder):
    shutil.copytree(made / "views", folder / "bad")
    index = json.loads((folder / "bad" / "transforms.json").read_text())
    shared = {name: index.pop(name) for name in ("w", "h", "fl_x", "fl_y", "cx", "cy")}
    index["frames"] = [{**shared, **frame} for frame in index["frames"]]
    index["frames"][3] |= {"w": 16, "h": 16, "fl_x": 17.5, "fl_y": 17.5, "cx": 8, "cy": 8}
    (folder / "bad" / "transforms.json").write_text(json.dumps(index))
    io.save_image(folder / "bad" / "images" / "003.png", disc_views(side=16).images[3], force=True)


def with_its_object_out_of_view(made, folder):
    shutil.copytree(made / "views", folder / "bad")
    index = json.loads((folder / "bad" / "transforms.json").read_text())
    (folder / "bad" / "transforms.json").write_text(json.dumps({**index, "cx": -300}))


def turned_away(made, folder):
    shutil.copytree(made / "views", folder / "bad")
    index = json.loads((folder / "bad" / "transforms.json").read_text())
    for frame in index["frames"]:
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ np.diag([-1, 1, -1, 1])).tolist()
    (folder / "bad" / "transforms.json").write_text(json.dumps(index))


def without_poses(made, folder):
    shutil.copytree(made / "views" / "images", folder / "bad")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (without_a_picture, "1 of its 4 pictures are missing, the first is images/002.png"),
        (with_an_opaque_view, "images/001.png: is opaque, and other views of the object are not: give --mask"),
        (with_an_empty_view, "images/001.png: shows nothing"),
        (of_several_sizes, "its pictures have several sizes (16 x 16, 32 x 32): views of an object have one"),
        (with_its_object_out_of_view, "images/000.png: the object is outside the network's field of view"),
        (turned_away, "it is not in front of that of bad/transforms.json: images/000.png"),
        (without_poses, "bad: there is no transforms.json with the cameras of its views; to name the pictures"),
    ],
)
def test_bad_views_are_one_line(sample, made, tmp_path, make, told):
    make(made, tmp_path)
    found = sample("bad", "-o", "x.ply", code=1).stderr
    assert told in found
    assert found.count("\n") == 1
    assert not (tmp_path / "x.ply").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["0_opaque.png"], "0_opaque.png: is opaque, so its background would be part of the object: give --mask"),
        (["0.png"] * 5, "5 photos are given, and the orbit has 4 (azimuths 0, 90, 180, 270): say where"),
        (["0.png", "--orbit-azimuths", "0,90"], "has 2 angles, and 1 photos are given"),
        (["0.png", "--orbit-azimuths", "0,x"], "must be degrees with commas between them"),
        (["0.png", "--recenter", "--intrinsics", "k.json"], "--recenter makes pictures of its own field of view"),
        (["0_white.png", "--recenter"], "--recenter needs to know where the object is: give --mask"),
        (["0.png", "1.png", "2.png", "3.png", "--mask", "0_opaque_mask.png"], "photos would share a mask"),
        (["0.png", "no.png", "2.png", "3.png"], "no.png"),
        (["0.png", "../views"], "name photos of one object, or folders and tars of views, not both"),
        (["../views", "--orbit-elevation", "20"], "has the cameras of its views: leave out --orbit-elevation"),
        (["../views", "--fov", "20"], "leave out --fov"),
        (["../views", "--prompt", "a"], "--prompt: "),
        (["../views", "--set", "side=32"], "sampling may change legacy_rot of lgm"),
        (["0.png", "--radius", "0"], "radius must be greater than 0"),
    ],
)
def test_wrong_words_are_one_line(made, tmp_path, words, told):
    named = [made / "photos" / word if word.endswith(".png") or word == "../views" else word for word in words]
    run = run_here(["sample", "--model", made / "model", *named, "-o", "x.ply"], tmp_path)
    expect(run, run.returncode)
    assert run.returncode in (1, 2)
    assert told in run.stderr
    assert len([line for line in run.stderr.splitlines() if line.startswith("gatlas")]) <= 1
    assert not (tmp_path / "x.ply").exists()


def test_pictures_of_several_sizes_are_one_line(sample, made, tmp_path):
    io.save_image(tmp_path / "small.png", disc_views(side=16).images[0])
    told = sample(*pictures(made, count=3), "small.png", "-o", "x.ply", code=1).stderr
    assert "small.png: has 16 x 16 pixels, and " in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "told"), [("../views/transforms.json", "would lie outside the tar"), ("a.png", "no transforms.json")]
)
def test_a_tar_without_views_is_one_line(sample, made, tmp_path, name, told):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(made / "photos" / "0.png", name)
    found = sample("x.tar", "-o", "x.ply", code=1).stderr
    assert told in found
    assert found.count("\n") == 1
    assert "not a tar of views" in sample("-o", "x.ply", code=1, stdin=b"a text").stderr


def test_bad_views_of_one_object_are_found_before_another_is_sampled(sample, made, tmp_path):
    shutil.copytree(made / "views", tmp_path / "set" / "a")
    turned_away(made, tmp_path / "set")
    assert "set/bad/transforms.json" in sample("set", "-o", "x/", code=1).stderr
    assert not (tmp_path / "x").exists()


def test_pictures_from_the_pole_are_turned_by_their_azimuths(sample, made, tmp_path):
    sample(*pictures(made), "--orbit-elevation", "90", "-o", "x.ply", "--views", "seen")
    viewmats = io.load_cameras(tmp_path / "seen").viewmats
    ups = [[0, 0, -1], [-1, 0, 0], [0, 0, 1], [1, 0, 0]]  # away from where the camera would be on the horizon
    np.testing.assert_allclose(-viewmats[:, 1, :3], ups, atol=1e-4)


@pytest.mark.parametrize("elevation", [45, 80, -60])
def test_one_picture_from_above_is_of_an_object_that_stands_upright(sample, made, elevation):
    told = sample(made / "photos" / "0.png", "--orbit-elevation", elevation, "-o", "x.ply").stderr
    assert "upright" not in told


def test_views_that_are_all_white_show_nothing(sample, tmp_path):
    io.save_views(tmp_path / "white", Views(np.ones((4, 32, 32, 3), np.float32), disc_views().cameras))
    assert "white/transforms.json: images/000.png: shows nothing" in sample("white", "-o", "x.ply", code=1).stderr
