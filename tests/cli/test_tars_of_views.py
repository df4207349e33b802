"""Views of one object in a tar, as sample writes them into a pipe, are fitted as their folder is."""

import io as streams
import tarfile

import pytest

from gatlas import io
from tests.helpers.view_sets import textured_views

WORDS = ("-n", 60, "--iterations", 2, "--resolution", 32, "--lambda-lpips", 0, "--device", "cpu")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    io.save_views(folder / "ball", textured_views()[:8])
    return folder


def tar_of(folder, *names, under=""):
    """A tar of files of a folder, in this order."""
    blob = streams.BytesIO()
    with tarfile.open(fileobj=blob, mode="w") as tar:
        for name in names:
            tar.add(folder / name, under + name)
    return blob.getvalue()


def files_of(folder, *, index_first):
    pictures = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    index = "transforms.json"
    return [index, *pictures] if index_first else [*pictures, index]


@pytest.mark.parametrize("index_first", [True, False])
def test_a_tar_from_a_pipe_is_fitted_as_its_folder(gatlas, stored, tmp_path, index_first):
    folder = stored / "ball"
    tar = tar_of(folder, *files_of(folder, index_first=index_first), under="ball/")
    gatlas("fit", folder, *WORDS, "-o", "folder.ply")
    gatlas("fit", "-", *WORDS, "-o", "pipe.ply", stdin=tar)
    assert (tmp_path / "pipe.ply").read_bytes() == (tmp_path / "folder.ply").read_bytes()


def test_a_tar_is_named_and_its_object_is_called_as_the_tar_where_no_folder_names_it(gatlas, stored, tmp_path):
    folder = stored / "ball"
    (tmp_path / "vase.tar").write_bytes(tar_of(folder, *files_of(folder, index_first=True)))
    gatlas("fit", "vase.tar", *WORDS, "-o", "x.ply")
    assert io.load_gaussians(tmp_path / "x.ply").origin.name == "vase"


def test_several_objects_are_refused_in_one_line(gatlas, stored, tmp_path):
    folder = stored / "ball"
    blob = streams.BytesIO()
    with tarfile.open(fileobj=blob, mode="w") as tar:
        for name in ("one", "two"):
            tar.add(folder, name)
    run = gatlas("fit", "-", *WORDS, "-o", "x.ply", stdin=blob.getvalue(), code=1)
    assert "standard input: holds views of 2 objects: unpack the tar and name the folder" in run.stderr
    run = gatlas("fit", "-", *WORDS, "-o", "splats/", stdin=tar_of(stored, "ball"), code=1)
    assert "holds views of one object: name its result, -o NAME.ply" in run.stderr
    assert not list(tmp_path.glob("*.ply"))


def test_a_tar_without_any_object_is_an_error_and_an_empty_one_is_not(gatlas, stored, tmp_path):
    run = gatlas("prune", "-", "-n", 5, stdin=tar_of(stored, "ball"), code=1)
    assert "a tar of 9 files, of which none is one of .ply" in run.stderr
    gatlas("prune", "-", "-n", 5, stdin=tar_of(stored))


def test_meshes_behind_their_pictures_are_a_batch(gatlas, stored, tmp_path):
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh/a.png").write_bytes(next((stored / "ball").rglob("*.png")).read_bytes())
    (tmp_path / "mesh/a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    words = ("-n", 20, "--iterations", 1, "--views", 2, "--resolution", 16, "--lambda-lpips", 0)
    run = gatlas("fit", "-", *words, stdin=tar_of(tmp_path / "mesh", "a.png", "a.obj"))
    with tarfile.open(fileobj=streams.BytesIO(run.stdout)) as tar:
        assert tar.getnames() == ["a.ply"]
