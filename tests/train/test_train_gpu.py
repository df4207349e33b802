"""Training and sampling on CUDA, in bfloat16: what a machine without a GPU cannot show."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatlas.io import load_stats, save_stats
from gatlas.io.runs.train_run import find_checkpoint, load_tensors
from gatlas.systems import load_system
from gatlas.systems.contract import Condition, SampleRequest, Sources
from gatlas.systems.gaussian_atlas import PRESETS, create
from gatlas.train import TrainOptions, train
from tests.helpers.atlas_sets import BALLS, write_captions, write_set

DEVICE = "cuda"
PRECISION, SAMPLED = "auto", "bfloat16"  # auto is bf16 on CUDA
CONFIG = replace(PRESETS["small"].config, widths=(32, 64), rgb=1.0, mask=1.0, render_size=32, render_start=0.5)
OPTIONS = TrainOptions(
    steps=12, batch=3, accumulate=2, lr=1e-3, warmup=0, checkpoint_every=6, sample_every=12, log_every=1, workers=1
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


def trained(root, run, *, resume=None, **changes):
    system = create(CONFIG, stats=load_stats(root / "stats.npz"))
    scenes = system.dataset(Sources((str(root / "set"),), captions=str(root / "captions.csv")))
    options = replace(OPTIONS, **{"precision": PRECISION, **changes})
    train(system, scenes, options, str(root / run), resume=resume, device=DEVICE)


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    save_stats(folder / "stats.npz", write_set(folder / "set", size=16), force=False)
    write_captions(folder / "captions.csv")
    trained(folder, "run")
    return folder


def test_bf16_training_learns_and_all_terms_of_the_loss_are_finite(folder):
    log = log_of(folder / "run")
    assert [entry["step"] for entry in log] == list(range(1, 13))
    assert log[-1]["loss/diffusion"] < log[0]["loss/diffusion"]
    assert all(entry[f"loss/{name}"] > 0 for entry in log[6:] for name in ("rgb", "mask"))
    assert all(entry["grad_norm"] > 0 for entry in log)
    assert (folder / "run" / "samples" / "step-000012.png").stat().st_size > 0


def test_weights_averages_and_moments_stay_float32(folder):
    tensors = load_tensors(find_checkpoint(folder / "run", "12"))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def test_the_first_loss_in_bf16_is_that_of_fp32(folder):
    trained(folder, "exact", steps=1, precision="fp32", sample_every=0)
    first, exact = (log_of(folder / run)[0]["loss/diffusion"] for run in ("run", "exact"))
    assert first == pytest.approx(exact, rel=0.02)


def test_a_resumed_run_follows_the_one_without_a_break(folder):
    trained(folder, "parts", steps=6, sample_every=0)
    trained(folder, "parts", resume="latest")
    whole, parts = (log_of(folder / run)[-1]["loss/diffusion"] for run in ("run", "parts"))
    assert parts == pytest.approx(whole, rel=0.05)  # sums on a GPU have no fixed order


def test_a_sample_in_bf16_is_near_that_of_fp32(folder):
    request = SampleRequest(tuple(Condition(prompt=f"a {name} ball") for name in BALLS), steps=10)
    fast = load_system(str(folder / "run"), device=DEVICE, dtype=SAMPLED)
    exact = load_system(str(folder / "run"), device="cpu", dtype="float32")
    assert {weight.dtype for weight in fast.network.parameters()} == {getattr(torch, SAMPLED)}
    for one, other in zip(fast.sample(request), exact.sample(request), strict=True):
        assert isinstance(one.offset, np.ndarray)
        assert np.abs(one.offset - other.offset).mean() < 0.05
        assert np.abs(one.color - other.color).mean() < 0.05
