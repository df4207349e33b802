"""The set of shapes times colors, and the judgement of what was made of its words."""

import json
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.atlas import EncodeOptions, decode, encode
from gatlas.fit import FitOptions, fit

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compose")
    runpy.run_path(str(EXAMPLES / "make_objects.py"))["main"](folder, compose=True)
    return folder


def captions_of(objects, part):
    return json.loads((objects / part / "captions.json").read_text())


def test_every_word_of_what_is_held_back_is_learned_in_other_combinations(objects):
    learned, held_back = (captions_of(objects, part) for part in ("learned", "held-back"))
    assert (len(learned), len(held_back)) == (96, 24)
    assert not set(learned.values()) & set(held_back.values())
    combinations = [tuple(name.split("-")) for name in learned]
    for name in held_back:
        color, shape = name.split("-")
        assert sum(other == color for other, _ in combinations) >= 8
        assert sum(other == shape for _, other in combinations) == 8


@pytest.fixture(scope="module")
def judged(objects, tmp_path_factory):
    """The judgement of samples that are the objects themselves; one has a wrong color, one a wrong shape."""
    folder = tmp_path_factory.mktemp("judged")
    chosen = {"learned": ["red-cube", "blue-cube", "red-cone"], "held-back": ["red-ball"]}
    options = FitOptions(count=64, profile="instant", resolution=64)
    atlases = {}
    (folder / "samples").mkdir()
    for part, names in chosen.items():
        (folder / "atlases" / part).mkdir(parents=True)
        (folder / "objects" / part).mkdir(parents=True)
        (folder / "objects" / part / "captions.json").write_text(json.dumps(captions_of(objects, part)))
        for name in names:
            os.symlink(objects / part / f"{name}.glb", folder / "objects" / part / f"{name}.glb")
            gaussians = fit(io.load_mesh(objects / part / f"{name}.glb"), options).gaussians
            atlases[name] = encode(gaussians, EncodeOptions(size=8))
            io.save_atlas(folder / "atlases" / part / f"{name}.npz", atlases[name])
    samples = {
        "a red cube": "red-cube", "a blue cube": "red-cube", "a red ball": "red-cone", "the cone is red": "red-cone",
    }  # fmt: skip
    for number, (prompt, name) in enumerate(samples.items()):
        atlas = replace(atlases[name], meta={**atlases[name].meta, "sample": {"prompt": prompt}})
        io.save_atlas(folder / "samples" / f"{number}.npz", atlas)
    assert len(decode(atlas)) == 64
    command = [sys.executable, EXAMPLES / "judge_compose.py", *(folder / n for n in ("objects", "atlases", "samples"))]
    done = subprocess.run([*command, folder / "sheet.png"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), io.load_image(folder / "sheet.png")


def test_shapes_and_colors_are_judged_by_the_words_of_the_prompt(judged):
    rows = {line.split()[0]: line.split()[1:5] for line in judged[0][1:]}
    assert rows == {
        "learned": ["2", "2", "1", "1"],  # the blue cube is red
        "held-back": ["1", "0", "1", "0"],  # the ball is a cone
        "reordered": ["1", "1", "1", "1"],
    }


def test_the_sheet_shows_the_samples(judged):
    assert (np.asarray(judged[1])[..., :3].min(axis=-1) < 0.5).mean() > 0.05


@pytest.mark.slow
def test_the_example_runs_from_meshes_to_a_table(tmp_path):
    program = tmp_path / "bin/gatlas"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gatlas "$@"\n')
    program.chmod(0o755)
    work = {"OUT": str(tmp_path / "out"), "ONLY": "*-ring", "TRAIN": "--steps 2 --set warmup=1 --set schedule_steps=2"}
    done = subprocess.run(
        [EXAMPLES / "compose.sh"],
        env={**os.environ, **work, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split()[:2] for line in done.stdout.splitlines()]
    assert rows[-3:] == [["learned", "2"], ["held-back", "2"], ["reordered", "2"]]
    assert io.load_image(tmp_path / "out/sheet.png").shape[2] == 3
