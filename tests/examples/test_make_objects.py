"""The objects of the demo of text to 3D."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from gatlas import io

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("objects")
    runpy.run_path(str(EXAMPLES / "make_objects.py"))["main"](made)
    return made


def test_there_are_eight_objects_each_with_a_caption_of_its_own(folder):
    captions = json.loads((folder / "captions.json").read_text())
    assert sorted(captions) == sorted(path.stem for path in folder.glob("*.glb"))
    assert len(set(captions.values())) == len(captions) == 8


def test_the_captions_are_read_as_captions(folder):
    from gatlas.io.sets.captions import load_captions

    captions = json.loads((folder / "captions.json").read_text())
    assert load_captions(folder / "captions.json") == {name: (caption,) for name, caption in captions.items()}


def test_every_object_is_a_coloured_mesh_that_faces_outwards(folder):
    for path in folder.glob("*.glb"):
        mesh = io.load_mesh(path)
        a, b, c = (np.asarray(mesh.vertices, dtype=np.float64)[mesh.faces[:, i]] for i in range(3))
        # The divergence theorem: the volume is positive where all triangles are counter-clockwise from outside.
        assert np.einsum("fi,fi->", a, np.cross(b, c)) / 6 > 0.1, path.name
        assert (mesh.colors[:, :3] < 1).any(), path.name


def test_the_same_bytes_come_out_each_time(folder, tmp_path):
    runpy.run_path(str(EXAMPLES / "make_objects.py"))["main"](tmp_path)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
