"""Training and sampling of each system on a pretended CUDA device, against the same on the CPU."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gatlas.io import load_stats, save_stats
from gatlas.io.runs.train_run import find_checkpoint, load_tensors
from gatlas.systems import load_system, system_module
from gatlas.systems.contract import Condition, Photo, SampleRequest, Sources
from gatlas.train import TrainOptions, train
from tests.helpers.atlas_sets import write_captions, write_set
from tests.helpers.pretended_cuda import noted_waits
from tests.helpers.scene_files import box_views, write_scenes
from tests.helpers.small_lgm import disc_views, write_orbits
from tests.metrics.test_lpips import random_state

pytestmark = [pytest.mark.usefixtures("cuda_device", "one_thread"), pytest.mark.slow]

OPTIONS = TrainOptions(
    steps=2, batch=1, accumulate=2, lr=1e-3, warmup=0, precision="fp32", workers=0,
    checkpoint_every=1, log_every=1, sample_every=2, diagnose_every=2,
)  # fmt: skip
CONFIGS = {
    "gaussian-atlas": {
        "widths": (32, 32), "rgb": 1.0, "mask": 1.0, "lpips": 0.1,
        "render_size": 32, "render_start": 0.5, "render_views": 1,
    },
    "lgm": {
        "down_channels": (4, 8, 8), "up_channels": (8, 8), "attention_levels": 2, "groups": 2, "heads": 2, "side": 32,
        "lpips": 0.1, "residual": True, "hull_input": True,
    },
    "noposplat": {
        "encoder_dim": 32, "encoder_depth": 1, "encoder_heads": 2,
        "decoder_dim": 32, "decoder_depth": 3, "decoder_heads": 2,
        "hooks": (0, 1, 2, 3), "head_dim": 16, "level_dims": (4, 8, 8, 8), "width": 32, "height": 32,
        "gap": (3, 5), "gap_start": 3, "ray": 1.0, "ray_steps": 200, "ray_end": 0.1, "lpips": 0.05,
    },
}  # fmt: skip
PRESET = {"gaussian-atlas": "small", "lgm": "cpu", "noposplat": "tiny"}


class Runs:
    """Trainings of one system in one folder."""

    def __init__(self, folder, name):
        self.folder, self.name, self.weights = folder, name, str(folder / "alexnet.safetensors")
        save_file(random_state("alexnet"), self.weights)
        if name == "gaussian-atlas":
            save_stats(folder / "stats.npz", write_set(folder / "set", size=16), force=False)
            write_captions(folder / "captions.csv")
            self.sources = Sources(
                (str(folder / "set"),), captions=str(folder / "captions.csv"), lpips_weights=self.weights
            )
        elif name == "lgm":
            (folder / "objects").mkdir()
            objects = write_orbits(folder / "objects", 2, side=32)
            self.sources = Sources((str(objects),), lpips_weights=self.weights)
        else:
            scenes = write_scenes(folder / "scenes", range(2), count=8, side=32)
            self.sources = Sources((str(scenes),), lpips_weights=self.weights)

    def train(self, run, device="cuda", *, resume=None, should_stop=lambda: False, **changes):
        """The log of a training."""
        module = system_module(self.name)
        config = replace(module.PRESETS[PRESET[self.name]].config, **CONFIGS[self.name])
        stats = load_stats(self.folder / "stats.npz") if self.name == "gaussian-atlas" else None
        system = module.create(config, stats=stats)
        samples = system.dataset(self.sources)
        options = replace(OPTIONS, **changes)
        train(system, samples, options, str(self.folder / run), resume=resume, device=device, should_stop=should_stop)
        return [json.loads(line) for line in (self.folder / run / "log.jsonl").read_text().splitlines()]

    def tensors(self, run, step):
        return load_tensors(find_checkpoint(str(self.folder / run), str(step)))

    def request(self):
        if self.name == "gaussian-atlas":
            return SampleRequest((Condition(prompt="a red ball"),), steps=2)
        if self.name == "lgm":
            views = disc_views(4, 32)
            arrays = zip(views.images, views.cameras.Ks, views.cameras.viewmats, strict=True)
            return SampleRequest(
                (Condition("disc", photos=tuple(Photo(f"{i}", *each) for i, each in enumerate(arrays))),)
            )
        views = box_views(0, 6, 32)
        photos = tuple(Photo(f"{i}", views.images[i], views.cameras.Ks[i].astype(np.float64)) for i in (0, 5))
        return SampleRequest((Condition("scene", photos=photos),))


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def runs(request, tmp_path_factory):
    return Runs(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def on_cpu(runs):
    """The log of a training on the CPU."""
    return runs.train("cpu", "cpu")


def losses(log):
    return [{name: value for name, value in entry.items() if "loss" in name or "diagnose" in name} for entry in log]


def test_a_training_is_that_of_the_cpu(runs, on_cpu):
    log = runs.train("cuda")
    for found, expected in zip(losses(log), losses(on_cpu), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)
    found, expected = (runs.tensors(run, 2) for run in ("cuda", "cpu"))
    assert found.keys() == expected.keys()
    assert any(name.startswith("ema.") for name in found)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-2, atol=2e-3, msg=name)
    assert log[-1]["memory_gib"] > 0
    assert (runs.folder / "cuda" / "samples" / "step-000002.png").stat().st_size > 0


def test_a_training_is_resumed_and_checkpoints_its_activations(runs, on_cpu):
    asked = iter((False, True))  # stopped before the second step; a run of one step would begin with another loss
    runs.train("parts", sample_every=0, should_stop=lambda: next(asked))
    log = runs.train("parts", resume="latest", gradient_checkpointing=True, sample_every=0, workers=1)
    assert losses(log)[-1] == pytest.approx(losses(on_cpu)[-1], rel=1e-3)


def test_a_step_does_not_wait_for_the_device(runs, on_cpu):
    """What is noted in three more steps, none of which is logged, drawn or saved."""
    quiet = {"checkpoint_every": 100, "log_every": 100, "sample_every": 0, "diagnose_every": 0}
    counts = []
    for steps in (3, 6):
        with noted_waits() as places:
            runs.train(f"quiet-{steps}", steps=steps, **quiet)
        counts.append(Counter(places))
    assert not counts[1] - counts[0]


def test_mixed_precision_is_bf16_with_weights_in_fp32(runs, on_cpu):
    log = runs.train("mixed", precision="auto", sample_every=0)
    assert log[0]["loss"] != on_cpu[0]["loss"]
    assert log[0]["loss"] == pytest.approx(on_cpu[0]["loss"], rel=0.02)
    assert {tensor.dtype for tensor in runs.tensors("mixed", 2).values()} == {torch.float32}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_samples_are_those_of_the_cpu(runs, on_cpu, dtype, tolerance):
    found, expected = (
        next(iter(load_system(str(runs.folder / "cpu"), device=device, dtype=each).sample(runs.request())))
        for device, each in (("cuda", dtype), ("cpu", "float32"))
    )
    for name in ("offset", "color") if runs.name == "gaussian-atlas" else ("means", "opacities"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=tolerance, err_msg=name)
