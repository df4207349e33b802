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


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("random")
    runpy.run_path(str(EXAMPLES / "make_objects.py"))["main"](made, 40, 3)
    return made


def test_random_objects_are_as_many_as_asked_and_their_captions_name_a_color(random_folder):
    captions = json.loads((random_folder / "captions.json").read_text())
    assert sorted(captions) == sorted(path.stem for path in random_folder.glob("*.glb"))
    assert len(captions) == 40
    assert len(set(captions.values())) > 30
    colors = runpy.run_path(str(EXAMPLES / "make_objects.py"))["COLORS"]
    assert all(any(color in caption for color in colors) for caption in captions.values())


def test_every_part_of_a_random_object_faces_outwards():
    module = runpy.run_path(str(EXAMPLES / "make_objects.py"))
    for kind in ("single", "striped", "stack", "tower", "beside", "table", "chair", "lamp", "plant", "house", "cup",
                 "figure", "rocket", "car", "animal", "dumbbell", "flower", "planet"):  # fmt: skip
        for seed in range(6):
            rng = np.random.default_rng(seed)
            for part in module[kind](rng, module["Palette"](rng))[1]:
                corners, _ = module["facets"](part)
                volume = sum(
                    np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, i], corners[:, i + 1])) for i in (1, 2)
                )
                assert volume > 0, (kind, seed)


def test_a_random_object_follows_from_the_seed_and_its_number(random_folder, tmp_path):
    main = runpy.run_path(str(EXAMPLES / "make_objects.py"))["main"]
    main(tmp_path / "fewer", 3, 3)
    main(tmp_path / "other", 3, 4)
    name = "object-0002.glb"
    assert (tmp_path / "fewer" / name).read_bytes() == (random_folder / name).read_bytes()
    assert (tmp_path / "other" / name).read_bytes() != (random_folder / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["few", "--count", "0"], "--count must be at least 1"),
        (["few", "--count", "2", "--seed", "-1"], "--seed must be at least 0"),
        (["few", "--seed", "1"], "--seed must be at least 0, and needs --count"),
        (["many", "--count", "1"], "many: holds other objects, the first is object-0001.glb"),
        (["file", "--count", "1"], "file"),
    ],
)
def test_wrong_words_are_one_line(tmp_path, monkeypatch, capsys, words, told):
    script = str(EXAMPLES / "make_objects.py")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    runpy.run_path(script)["main"](tmp_path / "many", 2)
    before = {path: path.read_bytes() for path in (tmp_path / "many").iterdir()}
    monkeypatch.setattr("sys.argv", [script, *words])
    with pytest.raises(SystemExit):
        runpy.run_path(script, run_name="__main__")
    assert told in capsys.readouterr().err
    assert not (tmp_path / "few").exists()
    assert before == {path: path.read_bytes() for path in (tmp_path / "many").iterdir()}
