"""The table of formats: one line and one module add a format, everywhere."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io import registry
from tests.helpers.splat_files import gaussians_of
from tests.helpers.toy_splat import TOY


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(registry, "FORMATS", [*registry.FORMATS, TOY])


def save_toy(path):
    gaussians = gaussians_of(7)
    io.save_gaussians(path, gaussians)
    return gaussians


@pytest.mark.usefixtures("toy")
def test_a_new_format_is_written_and_read(tmp_path):
    gaussians = save_toy(tmp_path / "a.toy")
    assert (tmp_path / "a.toy").read_bytes().startswith(b"TOY1")
    back = io.load_gaussians(tmp_path / "a.toy")
    for name in ("means", "quats", "scales", "opacities", "sh"):
        np.testing.assert_array_equal(getattr(back, name), getattr(gaussians, name))
    piped = io.Blob("standard input", (tmp_path / "a.toy").read_bytes())
    assert len(io.load_gaussians(piped)) == 7


@pytest.mark.usefixtures("toy")
def test_a_new_format_is_an_input_in_folders_and_lists(tmp_path):
    save_toy(tmp_path / "a.toy")
    save_toy(tmp_path / "b.ply")
    assert [item.key for item in io.list_items([str(tmp_path)], registry.suffixes("splat"))] == ["a", "b"]
    with pytest.raises(GatlasError, match=r"b\.ply: a splat PLY, not a mesh|holds Gaussians, not a mesh"):
        io.load_mesh(tmp_path / "b.ply")
    with pytest.raises(GatlasError, match=r"hello: not a splat PLY: gatlas reads .*, glTF and toy$"):
        io.load_gaussians(io.Blob("hello", b"hello"))


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("load", "message"),
    [
        (
            io.load_mesh,
            "a.toy: a toy splat, not a mesh.\nTo make a mesh of it, run: gatlas mesh a.toy -o a-mesh.glb",
        ),
        (io.load_image, "a.toy: a toy splat, not a picture: gatlas reads PNG, JPEG and WebP"),
        (io.load_points, "a.toy: a toy splat, not a point cloud: gatlas reads PLY"),
        (io.load_cameras, "a.toy: a toy splat, not cameras: gatlas reads transforms.json"),
        (
            io.load_atlas,
            "a.toy: a toy splat, not an atlas.\nTo encode it, run: gatlas atlas-encode a.toy -o atlas.npz",
        ),
    ],
)
def test_a_new_format_is_named_where_another_noun_is_wanted(tmp_path, monkeypatch, load, message):
    monkeypatch.chdir(tmp_path)
    save_toy(tmp_path / "a.toy")
    with pytest.raises(GatlasError) as error:
        load("a.toy")
    assert str(error.value) == message


@pytest.mark.usefixtures("toy")
def test_an_output_of_another_noun_cannot_have_its_suffix(tmp_path):
    with pytest.raises(GatlasError, match=r"x\.toy: a picture cannot be written as \.toy: name the output x\.png$"):
        io.save_image(tmp_path / "x.toy", np.zeros((2, 2, 3)))


WITH_TOY = """
from gatlas.io import registry
from tests.helpers.toy_splat import TOY
registry.FORMATS.append(TOY)
from gatlas.cli import main
main()
"""


def test_verbs_take_and_refuse_a_new_format(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "FORMATS", [*registry.FORMATS, TOY])
    (tmp_path / "set").mkdir()
    save_toy(tmp_path / "set" / "a.toy")
    save_toy(tmp_path / "set" / "b.ply")
    root = str(Path(__file__).parents[2])

    def gatlas(*words):
        command = [sys.executable, "-c", WITH_TOY, *words]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)

    batch = gatlas("prune", "set", "-n", "3", "--score", "opacity", "-o", "out/")
    assert batch.returncode == 0, batch.stderr
    assert [len(io.load_gaussians(tmp_path / "out" / f"{name}.ply")) for name in "ab"] == [3, 3]
    assert gatlas("prune", "set/b.ply", "-n", "3", "--score", "opacity", "-o", "b.toy").returncode == 0
    assert len(io.load_gaussians(tmp_path / "b.toy")) == 3
    refused = gatlas("fit", "set/a.toy", "-o", "x.ply")
    assert refused.returncode == 1
    advice = "To make a mesh of it, run: gatlas mesh set/a.toy -o a-mesh.glb"
    assert refused.stderr == f"gatlas fit: set/a.toy: a toy splat, not a mesh.\n{advice}\n"


def test_every_reader_and_writer_of_the_table_is_there():
    for each in registry.FORMATS:
        assert each.noun in registry.NOUNS
        for name in filter(None, (each.decode, each.encode)):
            module, _, function = name.partition(":")
            assert callable(getattr(importlib.import_module(module), function))
        assert each.decode or each.remedy or each.noun in ("npz", "json")


def test_the_table_is_light():
    code = "import sys; from gatlas.io.registry import suffixes; print(*suffixes('splat', 'mesh')); " + (
        "assert not {'numpy', 'torch', 'PIL', 'json', 'zipfile'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [".ply", ".splat", ".spz", ".sog", ".ksplat", ".glb", ".gltf", ".obj"]
