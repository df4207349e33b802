"""The judge of the demo of text to 3D."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatlas import io
from gatlas.atlas import EncodeOptions, encode
from gatlas.geometry.sh import rgb_to_dc
from gatlas.types import Gaussians

EXAMPLES = Path(__file__).parents[2] / "examples"
SIZE = 8  # cells a side


@pytest.fixture(scope="module")
def judge():
    return runpy.run_path(str(EXAMPLES / "judge_samples.py"))


@pytest.fixture(scope="module")
def atlases(tmp_path_factory):
    """Atlases of the eight objects in few Gaussians, by name, and their captions."""
    folder = tmp_path_factory.mktemp("objects")
    runpy.run_path(str(EXAMPLES / "make_objects.py"))["main"](folder)
    captions = json.loads((folder / "captions.json").read_text())
    return {
        name: encode(_few_gaussians(folder / f"{name}.glb"), EncodeOptions(size=SIZE)) for name in captions
    }, captions


def _few_gaussians(path):
    mesh = io.load_mesh(path)
    chosen = np.random.default_rng(0).choice(len(mesh.vertices), SIZE * SIZE, replace=False)
    count = len(chosen)
    return Gaussians(
        means=(mesh.vertices[chosen] / 1.6).astype(np.float32),
        quats=np.tile(np.array([1, 0, 0, 0], dtype=np.float32), (count, 1)),
        scales=np.full((count, 3), 0.05, dtype=np.float32),
        opacities=np.full(count, 0.9, dtype=np.float32),
        sh=rgb_to_dc(mesh.colors[chosen, None, :3] ** (1 / 2.2)).astype(np.float32),
    )


def _write(folder, atlases, captions, prompts):
    """Objects, captions and samples as the judge reads them; `prompts` says what each object is sampled for."""
    objects, samples = folder / "atlases", folder / "samples"
    objects.mkdir()
    samples.mkdir()
    for number, (name, atlas) in enumerate(atlases.items()):
        io.save_atlas(objects / f"{name}.npz", atlas)
        sampled = replace(atlas, meta={**atlas.meta, "sample": {"prompt": prompts[name]}})
        io.save_atlas(samples / f"sample-{number}.npz", sampled)
    (folder / "captions.json").write_text(json.dumps(captions))
    return objects, folder / "captions.json", samples, folder / "sheet.png"


def test_the_objects_themselves_are_eight_of_eight(judge, atlases, tmp_path, capsys):
    files = _write(tmp_path, *atlases, prompts=atlases[1])
    assert judge["main"](*files) == 0
    assert "8 of 8 samples have the nearest shape, 8 of 8 the nearest colour" in capsys.readouterr().out
    assert io.load_image(files[-1]).shape[2] == 3


def test_objects_under_each_others_prompts_fail(judge, atlases, tmp_path, capsys):
    names = list(atlases[1])
    shifted = {name: atlases[1][other] for name, other in zip(names, names[1:] + names[:1], strict=True)}
    assert judge["main"](*_write(tmp_path, *atlases, prompts=shifted)) == 1
    assert "0 of 8 samples have the nearest shape, 0 of 8 the nearest colour" in capsys.readouterr().out


def test_a_prompt_without_a_sample_is_named(judge, atlases, tmp_path):
    captions = {**atlases[1], "cube": "an orange cube of glass"}
    with pytest.raises(SystemExit, match="no sample of 'an orange cube of glass'"):
        judge["main"](*_write(tmp_path, atlases[0], captions, prompts=atlases[1]))
