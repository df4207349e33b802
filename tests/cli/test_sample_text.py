"""gatlas sample from text into a folder: what is kept, what is added and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from gatlas import io
from gatlas.cli.app import app
from gatlas.errors import GatlasError
from gatlas.systems.gaussian_atlas import PRESETS, create
from tests.helpers.atlas_sets import random_atlas, write_set


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder whose network is not trained."""
    folder = tmp_path_factory.mktemp("made")
    stats = write_set(folder / "set")
    save(create(replace(PRESETS["small"].config, widths=(32, 64)), stats=stats), folder / "model")
    return folder / "model"


def save(system, folder):
    folder.mkdir()
    system.save_frozen(str(folder))
    (folder / "unet").mkdir()
    system.save_network(str(folder / "unet"), system.network.state_dict())


@pytest.fixture
def sample(model, tmp_path, monkeypatch, one_thread):
    """Run `gatlas sample` in an empty folder; what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*words, prompt="a red ball", model=model):
        asked = [] if prompt is None else ["--prompt", prompt]
        told = ["sample", "--model", str(model), "--device", "cpu", *asked, "-o", "made/", *words]
        result = CliRunner().invoke(app, told)
        if isinstance(result.exception, GatlasError):
            raise result.exception
        assert result.exit_code == 0, result.exception
        return result.stderr

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_command_keeps_what_is_there_and_adds_what_lacks(sample, tmp_path):
    sample("--steps", "2")
    first = contents(tmp_path / "made")
    assert "1 samples are in made/ already and are kept" in sample("--steps", "2", "-n", "2")
    both = contents(tmp_path / "made")
    assert list(first.items()) == [("a-red-ball-0.npz", both.pop("a-red-ball-0.npz"))]
    assert list(both) == ["a-red-ball-1.npz"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--steps", "3", "--seed", "5"], r"seed 0 \(now 5\), steps 2 \(now 3\): --force"),
        (["--steps", "2", "--guidance", "2"], r"guidance 1\.0 \(now 2\.0\): --force"),
        (["--steps", "2", "--scheduler", "ddim"], r"scheduler dpm\+\+ \(now ddim\): --force"),
        (["--steps", "2", "--dtype", "bf16"], r"dtype float32 \(now bfloat16\): --force"),
    ],
)
def test_samples_of_other_options_are_refused_before_any_is_made(sample, tmp_path, words, told):
    sample("--steps", "2")
    before = contents(tmp_path / "made")
    with pytest.raises(GatlasError, match=rf"^made/a-red-ball-0\.npz: was made with {told}") as error:
        sample(*words, "-n", "2")
    assert "\n" not in str(error.value)
    assert contents(tmp_path / "made") == before
    sample(*words, "-n", "2", "--force")
    assert len(contents(tmp_path / "made")) == 2


def test_samples_of_a_model_that_has_learnt_more_since_are_refused(sample, tmp_path, model):
    sample("--steps", "2")
    path = tmp_path / "made" / "a-red-ball-0.npz"
    atlas = io.load_atlas(path)
    earlier = {**atlas.meta["sample"], "weights": "0" * 64, "model": "elsewhere"}
    io.save_atlas(path, replace(atlas, meta={**atlas.meta, "sample": earlier}), force=True)
    with pytest.raises(GatlasError, match="was made with other weights: --force makes all samples anew"):
        sample("--steps", "2")
    again = {**atlas.meta["sample"], "model": "elsewhere"}  # the folder may have been moved
    del again["dtype"]  # an earlier gatlas did not say
    io.save_atlas(path, replace(atlas, meta={**atlas.meta, "sample": again}), force=True)
    sample("--steps", "2")


def test_an_atlas_that_is_no_sample_is_kept(sample, tmp_path):
    (tmp_path / "made").mkdir()
    io.save_atlas(tmp_path / "made" / "a-red-ball-0.npz", random_atlas())
    with pytest.raises(GatlasError, match=r"a-red-ball-0\.npz: is there already and no sample: use --force"):
        sample("--steps", "2")
    np.testing.assert_array_equal(io.load_atlas(tmp_path / "made" / "a-red-ball-0.npz").color, random_atlas().color)


@pytest.fixture
def textless(model, tmp_path):
    """The model as one that learned without captions."""
    folder = shutil.copytree(model, tmp_path / "textless")
    description = json.loads((folder / "gatlas.json").read_text())
    (folder / "gatlas.json").write_text(json.dumps({**description, "captions": False}))
    return folder


def test_a_textless_model_is_sampled_without_a_prompt_and_refuses_one(sample, textless, tmp_path):
    with pytest.raises(GatlasError, match=r"textless: the model learned without captions.* sample it without --prompt"):
        sample("--steps", "2", model=textless)
    assert not (tmp_path / "made").exists()
    sample("--steps", "2", prompt=None, model=textless)
    assert "1 samples are in made/ already" in sample("--steps", "2", prompt="", model=textless)
    assert list(contents(tmp_path / "made")) == ["no-text-0.npz"]
    assert "guidance has no effect without a prompt" in sample("--guidance", "3", "-o", "x.npz", prompt="")


def test_a_model_of_text_needs_a_prompt(sample):
    with pytest.raises(GatlasError, match="no prompt: give one with --prompt TEXT"):
        sample(prompt=None)


def test_a_prompt_that_is_cut_is_told(sample):
    told = sample("--steps", "2", "-n", "2", prompt="a red ball " * 40)
    assert "1 of 1 prompts is longer than the 206 tokens that the text encoder reads and loses its end" in told
    assert "longer" not in sample("--steps", "2", prompt="x" * 206)


@pytest.fixture
def source(tmp_path):
    """An atlas that fits the model."""
    io.save_atlas(tmp_path / "chair.npz", random_atlas(normalization={"center": [0.0, 0.0, 0.0], "scale": 2.0}))
    return io.load_atlas(tmp_path / "chair.npz")


def test_an_atlas_is_varied_and_with_no_strength_given_back(sample, source, tmp_path):
    sample("--steps", "2", "--from", "chair.npz", "--strength", "0", "-o", "same.npz")
    same = io.load_atlas(tmp_path / "same.npz")
    np.testing.assert_array_equal(same.color, source.color)
    assert same.meta["sample"]["strength"] == 0
    sample("--steps", "5", "--from", "chair.npz")
    varied = io.load_atlas(tmp_path / "made" / "a-red-ball-0.npz")
    assert varied.meta["sample"]["strength"] == 0.6
    assert varied.meta["normalization"]["scale"] == 2
    assert not np.array_equal(varied.color, source.color)


def test_an_atlas_is_completed_and_a_folder_resumed_with_the_same_one_only(sample, source, tmp_path):
    cells = np.zeros((8, 8), dtype=bool)
    cells[:4] = True
    np.savez(tmp_path / "cells.npz", mask=cells)
    completing = ["--steps", "2", "--keep", "chair.npz", "--mask", "cells.npz"]
    sample(*completing)
    made = io.load_atlas(tmp_path / "made" / "a-red-ball-0.npz")
    np.testing.assert_array_equal(made.rotation[4:], source.rotation[4:])
    assert not np.isclose(made.rotation[:4], source.rotation[:4]).all()
    assert "1 samples are in made/ already" in sample(*completing)
    for words, told in (
        (["--steps", "2"], "other atlas, strength 1.0 .now None., other mask, repeats 2"),
        ([*completing, "--repeats", "0"], r"repeats 2 \(now 0\)"),
        ([*completing[:-1], "sphere:0,0,0,1"], "other mask"),
    ):
        with pytest.raises(GatlasError, match=f"was made with {told}"):
            sample(*words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--keep", "chair.npz"], "--keep needs --mask"),
        (["--mask", "box:0,0,0,1,1,1"], "--mask: marks cells of the atlas of --keep"),
        (["--from", "chair.npz", "--mask", "cells.npz"], "--from varies all cells"),
        (["--from", "chair.npz", "--keep", "chair.npz"], "leave out one of them"),
        (["--strength", "0.5"], "--strength: needs an atlas to begin from: name it with --keep or --from"),
        (["--from", "chair.npz", "--repeats", "1"], "--repeats: needs an atlas to begin from: name it with --keep"),
        (["--from", "absent.npz"], r"absent\.npz"),
    ],
)
def test_half_of_an_edit_is_refused(sample, source, tmp_path, words, told):
    with pytest.raises(GatlasError, match=told) as error:
        sample(*words)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "made").exists()
