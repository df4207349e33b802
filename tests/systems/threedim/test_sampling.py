"""gatlas sample of new views: orbits, files of cameras, relative cameras, streams, wrong words."""

import json
import tarfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest

from gatlas import io
from gatlas.geometry.cameras import orbit
from gatlas.io.photos.transforms import encode_index
from gatlas.systems.lgm import create as create_lgm
from gatlas.types import Cameras
from tests.helpers.command_line import expect, run_here
from tests.helpers.small_lgm import CONFIG as LGM
from tests.helpers.small_lgm import disc_views
from tests.helpers.small_threedim import CONFIG, small_system

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Model folders of both kinds, views of an object, and its front."""
    folder = tmp_path_factory.mktemp("made")
    for name, relative in (("absolute", False), ("relative", True)):
        (folder / name).mkdir()
        small_system(replace(CONFIG, relative=relative)).save(str(folder / name))
    views = disc_views(side=16, elevation=20, distance=2.6)
    io.save_views(folder / "views", views)
    io.save_image(folder / "front.png", views.images[0])
    io.save_image(folder / "wide.png", np.repeat(views.images[0], 2, axis=1))
    return folder


@pytest.fixture
def sample(made, tmp_path):
    """Run `gatlas sample --model MODEL WORDS...` in an empty folder."""

    def run(*words, model="absolute", code=0):
        words = [made / word if word in ("front.png", "wide.png", "views") else word for word in words]
        return expect(run_here(["sample", "--model", made / model, "--device", "cpu", *words], tmp_path), code)

    return run


PLACED = ("--orbit-azimuths", "0", "--orbit-elevation", "20")


def test_an_orbit_of_views_from_a_photo_is_a_folder_with_cameras(sample, tmp_path):
    told = sample("front.png", *PLACED, "--orbit", "3", "-o", "views/").stderr
    assert "3 views of 8 x 8, 6 network evaluations each" in told
    views = io.load_views(tmp_path / "views")
    assert views.images.shape == (3, 8, 8, 3)
    expected = orbit(3, 8, 8, elevation=20, distance=2.6, fov=47)
    np.testing.assert_allclose(views.cameras.viewmats, expected.viewmats, atol=1e-5)
    np.testing.assert_allclose(views.cameras.Ks, expected.Ks, rtol=1e-5)
    record = json.loads((tmp_path / "views" / "transforms.json").read_text())["sample"]
    named = ("number", "seed", "steps", "guidance", "scheduler", "condition_on")
    assert [record[name] for name in named] == [0, 0, 3, 1.0, "ancestral", "pool"]


def test_a_photo_and_a_folder_of_its_view_give_the_same_views(sample, made, tmp_path):
    sample("front.png", *PLACED, "--fov", "49.1", "--orbit", "2", "-o", "photo/")
    io.save_views(tmp_path / "front", io.load_views(made / "views")[0])
    sample("front", "--orbit", "2", "-o", "folder/")
    photo, folder = (io.load_views(tmp_path / name) for name in ("photo", "folder"))
    np.testing.assert_allclose(photo.cameras.viewmats, folder.cameras.viewmats, atol=1e-5)
    np.testing.assert_allclose(photo.images, folder.images, atol=0.05)  # the file's camera is rounded


def test_several_views_and_cameras_of_a_file(sample, made, tmp_path):
    io.save_views(tmp_path / "targets", disc_views(3, 24, elevation=-10, distance=3.0, fov=40))
    sample("views", "--cameras", "targets", "-o", "made/", "--condition-on", "first", "--scheduler", "ddim")
    views, targets = io.load_views(tmp_path / "made"), io.load_cameras(tmp_path / "targets")
    np.testing.assert_allclose(views.cameras.viewmats, targets.viewmats, atol=1e-5)
    np.testing.assert_allclose(views.cameras.Ks[:, :2], targets.Ks[:, :2] / 3, rtol=1e-5)  # of 24 pixels to 8
    sample("views", "--cameras", "targets", "-o", "pool/", "--scheduler", "ddim")
    assert not np.array_equal(views.images[1:], io.load_views(tmp_path / "pool").images[1:])


def test_a_relative_model_takes_a_photo_of_which_nothing_is_known(sample, tmp_path):
    sample("front.png", "--orbit", "3", "-o", "orbit/", model="relative")
    level = orbit(3, 8, 8, elevation=0, distance=2.6).viewmats
    np.testing.assert_allclose(io.load_cameras(tmp_path / "orbit").viewmats, level, atol=1e-5)
    sample("front.png", "--orbit", "3", "--relative", "-o", "same/", model="relative")
    assert np.array_equal(*(io.load_views(tmp_path / name).images for name in ("orbit", "same")))


def test_relative_cameras_of_a_file_are_in_the_axes_of_the_photos_own(sample, tmp_path):
    """The orbit that begins at the photo, written in the photo's axes, gives the orbit's views."""
    sample("front.png", *PLACED, "--orbit", "2", "-o", "orbit/", model="relative")
    world = orbit(2, 16, 16, elevation=20, distance=2.6)
    viewmats = world.viewmats.astype(np.float64) @ np.linalg.inv(world.viewmats[0].astype(np.float64))
    (tmp_path / "relative.json").write_bytes(encode_index(Cameras(viewmats, world.Ks, 16, 16))[1])
    sample("front.png", "--relative", "--cameras", "relative.json", "-o", "file/", model="relative")
    first, second = (io.load_views(tmp_path / name).images for name in ("orbit", "file"))
    np.testing.assert_allclose(first, second, atol=0.03)  # cameras of a file are float32


def test_a_tar_stream_holds_the_files_of_the_folder(sample, tmp_path):
    words = ("front.png", *PLACED, "--orbit", "2")
    sample(*words, "-o", "front/")
    piped = sample(*words).stdout
    with tarfile.open(fileobj=BytesIO(piped)) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    files = [path for path in (tmp_path / "front").rglob("*") if path.is_file()]
    assert members == {str(path.relative_to(tmp_path)): path.read_bytes() for path in files}


def test_lgm_reads_the_views_from_a_folder_and_from_a_pipe_though_they_are_opaque(sample, made, tmp_path):
    (tmp_path / "lgm").mkdir()
    create_lgm(LGM).save(str(tmp_path / "lgm"))
    words = ("front.png", *PLACED, "--orbit", "4")
    sample(*words, "-o", "views/")
    assert io.load_views(tmp_path / "views").images[:, 0].min() < 0.9  # their edges are not white
    lgm = ["sample", "--model", "lgm", "--device", "cpu"]
    expect(run_here([*lgm, "views", "-o", "folder.ply"], tmp_path), 0)
    expect(run_here([*lgm, "-o", "pipe.ply"], tmp_path, sample(*words).stdout), 0)
    folder, pipe = (io.load_gaussians(tmp_path / f"{name}.ply") for name in ("folder", "pipe"))
    assert np.array_equal(folder.means, pipe.means)


def test_one_view_is_a_picture(sample, tmp_path):
    sample("front.png", *PLACED, "--orbit", "1", "-o", "x.png")
    assert io.load_image(tmp_path / "x.png").shape == (8, 8, 3)


def test_a_seed_and_a_number_give_other_views_and_batches_do_not(sample, tmp_path):
    words = ("front.png", *PLACED, "--orbit", "2", "-n", "2")
    for name, more in (("one", ["--batch", "1"]), ("eight", ["--batch", "8"]), ("other", ["--seed", "1"])):
        sample(*words, *more, "-o", f"{name}/")
    one, eight, other = (
        np.stack([io.load_views(tmp_path / name / each).images for each in ("front", "front-1")])
        for name in ("one", "eight", "other")
    )
    np.testing.assert_allclose(one, eight, atol=1.01 / 255)
    assert not np.allclose(one, other, atol=0.1)
    assert not np.allclose(one[0], one[1], atol=0.1)


def test_finished_views_are_kept_and_other_options_are_refused(sample):
    words = ("front.png", *PLACED, "--orbit", "2", "-o", "made/")
    sample(*words)
    assert "1 samples are in made/ already and are kept" in sample(*words).stderr
    told = sample(*words, "--guidance", "0", code=1).stderr
    assert "made: was made with guidance 1.0 (now 0.0): --force" in told
    assert "made with condition_on pool (now first)" in sample(*words, "--condition-on", "first", code=1).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["front.png", "--orbit", "2"], "front.png: where it is taken from is not known, and "),
        (["front.png", "--relative", "--orbit", "2"], "give --orbit-azimuths (0 is the front)"),
        (["front.png", *PLACED], "no cameras of the views to make: give --orbit N, or --cameras FILE"),
        (["wide.png", *PLACED, "--orbit", "2"], "wide.png: has 32 x 16 pixels, and the model's views are square"),
        (["front.png", *PLACED, "--orbit", "2", "--cameras", "x.json"], "--orbit and --cameras both say where"),
        (["front.png", "--cameras", "x.json"], "front.png: where it is taken from is not known: give --orbit-azimuths"),
        (["views", "--relative", "--orbit", "2"], "has the cameras of its views: leave out --relative"),
        (["front.png", *PLACED, "--relative", "--cameras", "x.json"], "--relative: the cameras of --cameras are in"),
        (["front.png", *PLACED, "--orbit", "2", "--scheduler", "unipc"], "--scheduler unipc: threedim has ancestral"),
        (["front.png", *PLACED, "--orbit", "2", "--intrinsics", "k.json"], "the center of its camera, 40, 8, is"),
        (["--orbit", "2", "--prompt", "a chair"], "--prompt: "),
        (["front.png", *PLACED, "--orbit", "0"], "Invalid value for '--orbit'"),
        (["front.png", *PLACED, "--orbit", "2", "--set", "side=16"], "--set"),
        (["front.png", *PLACED, "--orbit", "2", "-o", "x.png"], "holds one view, and 2 are asked for"),
    ],
)
def test_wrong_words_are_one_line(made, tmp_path, words, told):
    odd = {"fl_x": 16, "fl_y": 16, "cx": 40, "cy": 8, "w": 16, "h": 16}
    (tmp_path / "k.json").write_text(json.dumps(odd))
    words = [made / word if word in ("front.png", "wide.png", "views") else word for word in words]
    more = [] if "-o" in words else ["-o", "made/"]
    run = run_here(["sample", "--model", made / "absolute", "--device", "cpu", *words, *more], tmp_path)
    assert run.returncode in (1, 2), run.stderr
    assert told in run.stderr
    assert len([line for line in run.stderr.splitlines() if line.startswith("gatlas")]) <= 1
    assert not (tmp_path / "made").exists()


def test_options_of_views_are_refused_by_systems_that_make_none(made, tmp_path):
    (tmp_path / "lgm").mkdir()
    create_lgm(LGM).save(str(tmp_path / "lgm"))
    for words in (["--orbit", "3"], ["--relative"], ["--condition-on", "first"]):
        told = expect(run_here(["sample", "--model", "lgm", made / "views", *words, "-o", "x.ply"], tmp_path), 1).stderr
        assert f"{words[0]}: lgm is a model of lgm, which samples from photos" in told
