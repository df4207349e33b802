"""Training of LGM: its loss, LPIPS and when it counts, resuming, two processes, and what is refused."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gatlas.errors import GatlasError
from gatlas.geometry.default_camera import DEFAULT_FOV
from gatlas.models.lgm import ViewGaussians
from gatlas.systems import load_system
from gatlas.systems.contract import Sources
from gatlas.systems.lgm import PRESETS, create
from gatlas.systems.lgm.view_loss import LPIPS_SIDE, lpips_distance, render_objects
from gatlas.train import TrainOptions, train
from tests.helpers.small_lgm import CONFIG, write_orbits

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = replace(CONFIG, targets=2)
OPTIONS = TrainOptions(steps=4, batch=2, lr=1e-3, warmup=0, checkpoint_every=2, sample_every=4, log_every=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_orbits(tmp_path_factory.mktemp("objects"), 3, side=16))


@pytest.fixture
def batch(folder):
    objects = create(SMALL).dataset(Sources((folder,)))
    return objects.collate([objects.draw(i, seed=i) for i in range(2)])


def generator():
    return torch.Generator().manual_seed(0)


def test_the_loss_is_the_weighted_sum_of_its_terms_and_every_weight_has_a_gradient(batch):
    system = create(replace(SMALL, mse=2.0, alpha=0.5))
    terms = system.loss(system.network, batch, generator(), step=1, steps=9)
    assert set(terms) == {"loss", "mse", "alpha"}
    assert terms["loss"].item() == pytest.approx(2 * terms["mse"].item() + 0.5 * terms["alpha"].item(), rel=1e-6)
    terms["loss"].backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in system.network.parameters())


def test_the_loss_of_no_gaussian_is_that_of_a_white_picture(batch):
    system = create(SMALL)
    system.network.conv.weight.data.zero_()
    system.network.conv.bias.data[3] = -30.0  # opacity
    terms = system.loss(system.network, batch, generator(), step=1, steps=9)
    truth = batch.targets.float() / 255
    assert terms["mse"].item() == pytest.approx((1 - truth[..., :3]).square().mean().item(), rel=1e-4)
    assert terms["alpha"].item() == pytest.approx(truth[..., 3].square().mean().item(), rel=1e-4)


def test_a_gaussian_at_the_center_is_rendered_in_the_middle_over_white():
    single = ViewGaussians(
        torch.zeros(1, 1, 3), torch.tensor([[[1.0, 0, 0, 0]]]), torch.full((1, 1, 3), 0.2), torch.full((1, 1), 0.9),
        torch.tensor([[[0.2, 0.4, 0.6]]]),
    )  # fmt: skip
    viewmat = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 1.5], [0, 0, 0, 1]])
    K = torch.tensor([[1.1, 0, 0.5], [0, 1.1, 0.5], [0, 0, 1]])
    picture = render_objects(single, viewmat[None, None], K[None, None], 33)[0, 0]
    torch.testing.assert_close(
        picture[16, 16], torch.tensor([0.1 + 0.9 * 0.2, 0.1 + 0.9 * 0.4, 0.1 + 0.9 * 0.6, 0.9]), atol=1e-4, rtol=0
    )
    assert torch.equal(picture[0, 0], torch.tensor([1.0, 1, 1, 0]))


def test_lpips_counts_from_its_step_on(batch):
    system = create(replace(SMALL, lpips=0.5, lpips_from=3))
    system.lpips = lambda a, b: (a - b).abs().mean(dim=(1, 2, 3))
    assert "lpips" not in system.loss(system.network, batch, generator(), step=2, steps=9)
    terms = system.loss(system.network, batch, generator(), step=3, steps=9)
    total = terms["mse"] + terms["alpha"] + 0.5 * terms["lpips"]
    assert terms["loss"].item() == pytest.approx(total.item(), rel=1e-6)


def test_lpips_is_of_pictures_of_its_own_side():
    shapes = []

    def lpips(a, b):
        shapes.append((a.shape, b.shape))
        return a.new_zeros(len(a))

    for side in (2 * LPIPS_SIDE, 32):
        lpips_distance(lpips, torch.zeros(1, 2, side, side, 3), torch.zeros(1, 2, side, side, 3))
    assert shapes == [((2, LPIPS_SIDE, LPIPS_SIDE, 3),) * 2, ((2, 32, 32, 3),) * 2]


def test_without_weights_of_lpips_a_line_says_so_and_named_ones_must_be_there(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    system = create(replace(SMALL, lpips=1.0))
    objects = system.dataset(Sources((folder,)))
    assert system.lpips is None
    assert any("without LPIPS" in line for line in objects.report())
    with pytest.raises(GatlasError, match=r"none.pth.*--set lpips=0"):
        system.dataset(Sources((folder,), lpips_weights=str(tmp_path / "none.pth")))


def run(folder, path, steps, options=OPTIONS, **words):
    system = create(SMALL)
    train(system, system.dataset(Sources((folder,))), replace(options, steps=steps), str(path), device="cpu", **words)
    return (path / "network" / "model.safetensors").read_bytes()


def test_a_resumed_run_has_the_weights_of_one_without_a_break(folder, tmp_path):
    whole = run(folder, tmp_path / "whole", 4)
    run(folder, tmp_path / "broken", 2)
    assert run(folder, tmp_path / "broken", 4, resume="latest") == whole
    assert list((tmp_path / "whole" / "samples").iterdir())
    assert load_system(str(tmp_path / "whole")).config == SMALL


def test_one_cycle_is_resumed_bit_for_bit(folder, tmp_path):
    options = replace(OPTIONS, schedule="onecycle", schedule_steps=4, warmup=2)
    whole = run(folder, tmp_path / "whole", 4, options)
    run(folder, tmp_path / "broken", 2, options)
    assert run(folder, tmp_path / "broken", 4, options, resume="latest") == whole
    assert run(folder, tmp_path / "constant", 4, replace(OPTIONS, warmup=2)) != whole


def test_a_training_may_recompute_its_activations(folder, tmp_path):
    run(folder, tmp_path / "plain", 1)
    run(folder, tmp_path / "again", 1, replace(OPTIONS, gradient_checkpointing=True))
    one, other = (load_file(tmp_path / name / "network" / "model.safetensors") for name in ("plain", "again"))
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], rtol=1e-4, atol=1e-5)


def test_the_log_has_the_quality_of_views_that_were_seen_and_of_others(batch):
    system = create(SMALL)
    found = system.diagnose(system.network, batch, generator())
    assert set(found) == {"psnr_seen", "psnr", "psnr_mean_color", "opacity", "scale"}
    assert all(np.isfinite(value) for value in found.values())
    truth = batch.targets[:, 4:, ..., :3].float() / 255
    flat = truth.mean(dim=(2, 3), keepdim=True)
    mse = (truth - flat).square().mean(dim=(2, 3, 4))
    assert found["psnr_mean_color"] == pytest.approx((-10 * mse.log10()).mean().item(), rel=1e-4)


def test_the_preview_shows_renders_above_the_truth(folder):
    system = create(SMALL)
    assert system.preview(system.network, generator()) is None
    system.dataset(Sources((folder,)))
    assert system.preview(system.network, generator()).shape[2] == 3


def test_what_does_not_belong_to_the_system_is_one_line(folder):
    system = create(SMALL)
    for option in ("captions", "views", "stats"):
        with pytest.raises(GatlasError, match=f"--{option}: lgm"):
            system.dataset(Sources((folder,), **{option: "x"}))


def test_the_presets_are_the_published_numbers():
    for name, preset in PRESETS.items():
        TrainOptions(**preset.training)
        if name != "cpu":
            training = preset.training
            assert (training["lr"], training["betas"], training["weight_decay"]) == (4e-4, (0.9, 0.95), 0.05)
            assert (training["schedule"], training["warmup"], training["clip"]) == ("onecycle", 3_000, 1.0)
            assert (preset.config.grid_distortion, preset.config.camera_jitter) == (0.5, 0.5)
            assert (preset.config.mse, preset.config.alpha, preset.config.lpips) == (1.0, 1.0, 1.0)
    sides = {name: preset.config.render_side for name, preset in PRESETS.items()}
    assert sides == {"cpu": 64, "big": 512, "small": 256, "tiny": 256}
    assert PRESETS["cpu"].config.view_fov == DEFAULT_FOV  # the pictures of `gatlas render` are taken as they are


@pytest.mark.slow
def test_two_processes_train_one_model(folder, tmp_path):
    words = [
        "train",
        folder,
        "--system",
        "lgm",
        "--steps",
        "3",
        "--batch",
        "1",
        "--processes",
        "2",
        "--device",
        "cpu",
    ]
    for name in ("down_channels=4,8,8", "up_channels=8,8", "groups=2", "heads=2", "side=16", "targets=2", "warmup=0"):
        words += ["--set", name]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gatlas"]
    done = subprocess.run(
        [*launch, *words, "-o", str(tmp_path / "run")],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "on 2 processes" in done.stderr
    trained = load_file(tmp_path / "run" / "network" / "model.safetensors")
    fresh = create(SMALL).network.state_dict()
    assert all(np.isfinite(weight.numpy()).all() for weight in trained.values())
    assert any(not torch.equal(weight, fresh[name]) for name, weight in trained.items())
