"""gatlas score distribution and text, on eight small objects."""

import json
import sys
import types

import numpy as np
import pytest
import torch

from gatlas import io
from gatlas.geometry.sh import rgb_to_dc
from gatlas.types import Gaussians, Origin
from tests.cli.test_score import rows_of
from tests.helpers.clip_folder import write_clip

COLORS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.2), "blue": (0.1, 0.2, 0.9)}
CAPTIONS = {"red": "a red rod", "green": "a green plate", "blue": "a blue ball"}
AXES = {"red": (0.9, 0.1, 0.1), "green": (0.8, 0.8, 0.05), "blue": (0.6, 0.6, 0.6)}
SMALL = ("--views", 2, "--resolution", 32)


def toy(name, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(150, 3))
    means = directions / np.linalg.norm(directions, axis=1, keepdims=True) * AXES[name]
    return Gaussians(
        means=(means + noise * rng.normal(size=means.shape)).astype(np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (150, 1)),
        scales=np.full((150, 3), 0.05, dtype=np.float32),
        opacities=np.full(150, 0.9, dtype=np.float32),
        sh=np.tile(rgb_to_dc(np.float32(COLORS[name])), (150, 1, 1)).astype(np.float32),
        origin=Origin(name=name, normalized=True),
    )


@pytest.fixture
def sets(tmp_path):
    """Objects, and two samples of each, as splats by name."""
    for folder in ("objects", "samples"):
        (tmp_path / folder).mkdir()
    captions = dict(CAPTIONS)
    for i, name in enumerate(COLORS):
        io.save_gaussians(tmp_path / "objects" / f"{name}.ply", toy(name))
        for number in range(2):
            io.save_gaussians(tmp_path / "samples" / f"{name}-{number}.ply", toy(name, 10 + 2 * i + number, 0.01))
            captions[f"{name}-{number}"] = CAPTIONS[name]
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    return tmp_path


def test_sets_are_measured_without_weights_and_gaps_are_shown(gatlas, sets):
    command = ("score", "distribution", "samples/", "--reference", "objects/", "--prompts", "captions.json", *SMALL)
    run = gatlas(*command, "--json", "-")
    held = json.loads(run.stdout)
    assert held["set"]["coverage"] == 1
    assert 0 < held["set"]["mmd"] < 0.2
    assert 0 < held["set"]["diversity"] < 0.2
    assert held["set"]["fid"] is held["set"]["kid"] is held["set"]["clip_fid"] is None
    assert {each["name"]: each["nearest_name"] for each in held["objects"]} == {
        f"{name}-{i}": name for name in COLORS for i in range(2)
    }
    assert "91 MB" in run.stderr
    assert "605 MB" in run.stderr
    row = rows_of(gatlas(*command).stdout.decode())["all together"]
    assert row.count("not measured") == 3
    assert gatlas(*command, "--json", "-").stdout == run.stdout


def test_copies_of_the_training_set_are_found(gatlas, sets):
    held = json.loads(
        gatlas("score", "distribution", "objects/", "--reference", "objects/", "--json", "-", *SMALL).stdout
    )
    assert [each["nearest"] for each in held["objects"]] == [0, 0, 0]
    assert held["set"]["one_nna"] == held["set"]["mmd"] == 0


def test_the_distance_of_transport_is_no_less_than_the_mean_chamfer_distance(gatlas, sets):
    command = ("score", "distribution", "samples/", "--reference", "objects/", *SMALL, "--json", "-", "--distance")
    chamfer, transport = (json.loads(gatlas(*command, each).stdout) for each in ("chamfer", "wasserstein"))
    assert transport["set"]["coverage"] == 1
    for one, other in zip(chamfer["objects"], transport["objects"], strict=True):
        assert one["nearest"] < other["nearest"] < 1
        assert one["nearest_name"] == other["nearest_name"]


def test_with_weights_fid_and_kid_are_measured_and_digests_recorded(gatlas, sets, monkeypatch):
    from gatlas.score import embedders

    class FewFeatures:
        """Mean colors in place of Inception, whose own test has its network."""

        def __init__(self, path):
            self.weights = {"files": {path: "digest"}}

        def __call__(self, images):
            return images.reshape(len(images), -1, 3).mean(axis=1)

    monkeypatch.setattr(embedders, "InceptionEmbedder", FewFeatures)
    write_clip(sets / "clip")
    command = ("score", "distribution", "samples/", "--reference", "objects/", *SMALL, "--clip", "clip/")
    held = json.loads(gatlas(*command, "--inception", "x.pth", "--json", "-").stdout)
    assert held["set"]["fid"] >= 0
    assert isinstance(held["set"]["kid"], float)
    assert held["set"]["clip_fid"] >= 0
    assert held["weights"]["inception"] == {"files": {"x.pth": "digest"}}
    assert len(held["weights"]["clip"]["files"]["clip/model.safetensors"]) == 64


def test_retrieval_needs_no_weights(gatlas, sets):
    command = ("score", "text", "samples/", "--prompts", "captions.json", "--against", "objects/")
    run = gatlas(*command)
    rows = rows_of(run.stdout.decode())
    assert rows["mean of 6"][:5] == ["not measured"] * 3 + ["1.000", "1.000"]
    assert "605 MB" in run.stderr
    swapped = {name: CAPTIONS["red" if name.startswith("blue") else "blue"] for name in ("red-0", "blue-0")}
    (sets / "captions.json").write_text(json.dumps({**CAPTIONS, **swapped}))
    wrong = rows_of(gatlas("score", "text", "samples/red-0.ply", "samples/blue-0.ply", *command[3:]).stdout.decode())
    assert wrong["mean of 2"][3:5] == ["0.000", "0.000"]


def test_without_any_weights_or_objects_nothing_fails(gatlas, sets):
    rows = rows_of(gatlas("score", "text", "samples/red-0.ply", "--prompts", "captions.json").stdout.decode())
    assert rows["red-0"] == ["not measured"] * 3 + ["150"]


def test_clip_scores_of_shards_merge(gatlas, sets):
    write_clip(sets / "clip")
    command = ("score", "text", "samples/", "--prompts", "captions.json", "--clip", "clip/", *SMALL)
    gatlas(*command, "--json", "whole.json")
    for shard in ("0/2", "1/2"):
        gatlas(*command, "-o", "out/", "--shard", shard)
    assert gatlas("score", "table", "out/", "--json", "-").stdout == (sets / "whole.json").read_bytes()
    held = json.loads((sets / "whole.json").read_text())
    assert {each["r_precision"] for each in held["objects"]} <= {0.0, 1.0}
    assert all(isinstance(each["clip_score"], float) for each in held["objects"])
    compared = rows_of(gatlas("score", "table", "whole.json", "out/").stdout.decode())
    assert compared["Gaussian Atlas (claimed)"][1] == "23.20"


def test_vqa_is_the_mean_over_the_pictures_of_its_package(gatlas, sets, monkeypatch):
    package = types.ModuleType("t2v_metrics")
    seen = []

    def network(model, cache_dir):
        def score(images, texts):
            seen.append((len(images), texts, io.load_image(images[0]).shape))
            return torch.tensor([[0.25], [0.75]])

        return score

    package.VQAScore = network
    monkeypatch.setitem(sys.modules, "t2v_metrics", package)
    (sets / "vqa").mkdir()
    command = ("score", "text", "--prompts", "captions.json", "--vqa", "vqa", *SMALL)
    from gatlas.cli.score_text import measure
    from gatlas.score.options import TextOptions
    from gatlas.score.vqa import load_vqa

    load_vqa.cache_clear()
    options = TextOptions(prompts=str(sets / "captions.json"), vqa=str(sets / "vqa"), views=2, resolution=32)
    held = measure(io.read(str(sets / "samples" / "red-0.ply")), "red-0", options)
    load_vqa.cache_clear()
    assert held["objects"][0]["vqa_score"] == 0.5
    assert seen == [(2, ["a red rod"], (32, 32, 3))]
    monkeypatch.setitem(sys.modules, "t2v_metrics", None)
    assert "pip install --no-deps t2v-metrics" in gatlas(*command, "samples/red-0.ply", code=1).stderr


def test_sets_are_not_merged(gatlas, sets):
    for name in ("a", "b"):
        gatlas("score", "distribution", "samples/", "--reference", "objects/", *SMALL, "--json", f"{name}.json")
    run = gatlas("score", "table", "a.json", "b.json", "--merge", code=1)
    assert "whole sets of objects are not merged" in run.stderr


def test_the_prompt_that_sampling_recorded_in_an_atlas_is_taken(gatlas, sets):
    from dataclasses import replace

    from gatlas.atlas import EncodeOptions, encode

    atlas = encode(toy("red")[np.arange(64)], EncodeOptions(size=8))
    io.save_atlas(sets / "some.npz", replace(atlas, meta={**atlas.meta, "sample": {"prompt": CAPTIONS["red"]}}))
    command = ("score", "text", "some.npz", "--prompts", "captions.json", "--against", "objects/", "--json", "-")
    (held,) = json.loads(gatlas(*command).stdout)["objects"]
    assert held["prompt"] == "a red rod"
    assert held["color_right"] == 1
    assert held["nearest_shape"] in COLORS
