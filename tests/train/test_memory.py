"""The memory of a plan: torch's own tracker over a whole step, counts by hand, and `gatlas train --dry-run`."""

import json
import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils._pytree import tree_map

from gatlas.errors import GatlasError
from gatlas.io import save_stats
from gatlas.systems import system_module
from gatlas.systems.contract import System
from gatlas.train import TrainCommand, TrainOptions, plan_training, run_plan
from gatlas.train.memory import LiveBytes, count_memory
from gatlas.train.plan import plan_memory
from gatlas.train.state import TrainState
from tests.helpers.atlas_sets import write_set
from tests.helpers.command_line import expect, run_here
from tests.helpers.pipeline_files import write_pipeline

ATLAS = system_module("gaussian-atlas")


class Products(System):
    """A product with a matrix of 256 x 256 and one with a frozen matrix, of samples of 256 numbers."""

    name, part, tokens = "products", "net", 3

    def __init__(self):
        self.network = nn.Sequential(nn.Linear(256, 256, bias=False), nn.Linear(256, 256, bias=False))
        self.network[1].requires_grad_(False)
        self.beside = nn.Linear(64, 32)

    def frozen(self):
        return (self.beside,)

    def trial_loss(self, network, count):
        return network(torch.zeros(count, 256)).sum()

    dataset = loss = sample = save_frozen = save_network = None


Products.__abstractmethods__ = frozenset()
MATRIX, ROWS = 256 * 256 * 4, 16 * 256 * 4  # bytes of a matrix, and of 16 samples


def test_bytes_are_counted_while_they_live():
    with FakeTensorMode(), LiveBytes() as live:
        one = torch.zeros(1000)  # 4,000 bytes are 8 blocks of 512
        view = one[:10]
        two = one * 2
        assert live.now == 2 * 4096
        del one
        assert live.now == 2 * 4096  # the view holds it
        del view
        assert live.now == 4096
        assert two.add_(1).shape == (1000,)
    assert (live.now, live.peak) == (4096, 2 * 4096)


def test_the_rows_are_those_of_a_count_by_hand():
    options = TrainOptions(batch=16, accumulate=3, steps=10)
    found = count_memory(Products(), options, precision="fp32", processes=2)
    assert (found.parameters, found.trained, found.samples, found.tokens) == (2 * 65536, 65536, 96, 288)
    assert (found.weights, found.gradients, found.average) == (2 * MATRIX, MATRIX, MATRIX)
    assert found.optimizer == 2 * MATRIX + 4
    assert found.frozen == (64 * 32 + 32) * 4
    # In the backward pass: the gradient, the one that is added, and, as values are missing, their sum beside them.
    states = 5 * MATRIX + 4 + found.frozen
    assert states + 2 * MATRIX + 2 * ROWS <= found.peak <= states + 4 * MATRIX + 4 * ROWS
    alone = count_memory(Products(), replace(options, accumulate=1), precision="fp32")
    assert alone.peak <= found.peak - MATRIX


def test_states_are_divided_over_processes_and_averages_kept_on_the_host():
    options = TrainOptions(batch=16)
    alone = count_memory(Products(), options, precision="fp32")
    host = count_memory(Products(), options, precision="fp32", ema_host=True)
    assert (host.average, host.peak) == (0, alone.peak - alone.average)
    divided = count_memory(Products(), options, precision="fp32", processes=4, fsdp=True)
    for name in ("weights", "gradients", "optimizer", "average"):
        assert getattr(divided, name) == getattr(alone, name) // 4
    assert divided.gathered == 2 * 2 * MATRIX  # both matrices are in the one block that is left, with gradients
    with pytest.raises(GatlasError, match="--fsdp: say with --processes"):
        plan_memory(None, TrainCommand(fsdp=True))


def test_the_optimizers_bytes_are_those_of_its_state():
    network = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3))
    state = TrainState(network, TrainOptions())
    network(torch.randn(2, 7)).sum().backward()
    state.optimizer.step()
    system = Products()
    system.network = network
    system.trial_loss = lambda network, count: network(torch.zeros(count, 7)).sum()
    kept = [value for moments in state.optimizer.state.values() for value in moments.values()]
    expected = sum(value.numel() * value.element_size() for value in kept)
    assert count_memory(system, TrainOptions(), precision="fp32").optimizer == expected


def test_moments_in_8_bits_are_two_bytes_a_weight_and_two_scales_a_block():
    found = count_memory(Products(), TrainOptions(batch=16), precision="fp32", eight_bit=True)
    assert found.optimizer == 2 * 65536 + 2 * 4 * (65536 // 256) + 2 * 4 * 256  # moments, scales, maps
    with pytest.raises(GatlasError, match="cannot be divided by --fsdp"):
        plan_memory(None, TrainCommand(fsdp=True, processes=2, optimizer="adamw8bit"))


def test_the_bytes_of_moments_in_8_bits_are_those_of_the_optimizer():
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (extra eight-bit)")
    system = Products()
    system.network = nn.Sequential(nn.Linear(256, 17), nn.Linear(17, 3))
    system.trial_loss = lambda network, count: network(torch.zeros(count, 256)).sum()
    state = TrainState(system.network, TrainOptions(), eight_bit=True)
    system.network(torch.randn(2, 256)).sum().backward()
    state.optimizer.step()
    kept = {id(each): each for moments in state.optimizer.state.values() for each in moments.values()}
    expected = sum(each.nbytes for each in kept.values() if isinstance(each, torch.Tensor))
    assert count_memory(system, TrainOptions(), precision="fp32", eight_bit=True).optimizer == expected


@pytest.mark.parametrize("eight_bit", [False, True])
def test_the_size_of_a_checkpoint_is_known_before_the_first_step(eight_bit):
    if eight_bit:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (extra eight-bit)")
    network = nn.Sequential(nn.Linear(256, 512), nn.Linear(512, 3))
    state = TrainState(network, TrainOptions(), eight_bit=eight_bit)
    counted = state.checkpoint_size()
    network(torch.randn(2, 256)).sum().backward()
    state.optimizer.step()
    tensors = state.tensors()
    files = [*tensors.values(), *state.averaged(tensors).values()]
    written = sum(each.nbytes for each in files)
    assert written <= counted <= written + 256 * len(files) + (1 << 15)  # names and shapes, too


def tracked_peak(system, options):
    """Bytes at the peak of a whole step by torch's tracker: in bf16, with the optimizer and the average."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = system.network.train()  # without values since they were counted
        state = TrainState(network, options)
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)
        state.optimizer.step()  # makes the moments
        state.optimizer.zero_grad(set_to_none=True)
        tracker = MemTracker()
        tracker.track_external(network, state.optimizer, *state.average.values.values(), *system.frozen())
        with tracker:
            torch.autograd.backward(system.trial_loss(_Autocast(network), options.batch))
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
            state.average.update(1)
    (snapshot,) = (each for device, each in tracker.get_tracker_snapshot("peak").items() if device.type == "cpu")
    return snapshot["Total"]


class _Autocast(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *inputs, **named):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = self.network(*inputs, **named)
        return tree_map(lambda each: each.float() if isinstance(each, torch.Tensor) else each, result)


@pytest.mark.parametrize(
    ("preset", "changes", "checkpointing"),
    [
        ("small", {"size": 32}, False),
        pytest.param("finetune", {"lpips": 0.0}, False, marks=pytest.mark.slow),
        pytest.param("finetune", {"lpips": 0.0}, True, marks=pytest.mark.slow),
    ],
)
def test_the_peak_is_that_of_torchs_tracker(preset, changes, checkpointing):
    chosen = ATLAS.PRESETS[preset]
    options = TrainOptions(**{**chosen.training, "batch": 8, "gradient_checkpointing": checkpointing})
    config = replace(chosen.config, **changes)
    system = ATLAS.SYSTEM.outline(config, base=None, stats=None, pretrained=chosen.with_base)
    found = count_memory(system, options, precision="bf16")
    assert found.peak == pytest.approx(tracked_peak(system, options), rel=0.1)
    if chosen.with_base:
        assert found.parameters == 865_979_856
        states = found.weights + found.gradients + found.optimizer + found.average
        assert states / 2**30 == pytest.approx(16.1, abs=0.05)


def test_a_run_is_counted_by_its_command_without_reading_a_sample_or_a_weight(tmp_path):
    stats = str(tmp_path / "stats.npz")
    save_stats(stats, write_set(tmp_path / "set", size=8), force=False)
    base = write_pipeline(tmp_path / "base")
    settings = ("prediction=epsilon", "zero_terminal_snr=false", "lpips=0", "gradient_checkpointing=false")
    command = TrainCommand(stats=stats, base=str(base), batch=4, settings=settings)
    whole = plan_memory(None, command)
    system = plan_training([str(tmp_path / "set")], str(tmp_path / "run"), command).system
    assert whole.parameters == whole.trained == sum(weight.numel() for weight in system.network.parameters())
    assert whole.weights == whole.gradients == 4 * whole.parameters
    tensors = [tensor for each in system.frozen() for tensor in (*each.parameters(), *each.buffers())]
    assert whole.frozen == sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert (whole.samples, whole.tokens, whole.precision) == (4, 4 * 64, "bf16")
    for path in base.glob("*/*.safetensors"):
        path.unlink()
    assert plan_memory(None, command) == whole
    assert plan_memory(None, replace(command, batch=8)).activations > 1.5 * whole.activations
    assert plan_memory(None, replace(command, device="cpu")).precision == "fp32"
    less = plan_memory(None, replace(command, settings=(*settings[:-1], "gradient_checkpointing=true")))
    assert less.activations < 0.8 * whole.activations
    with pytest.raises(GatlasError, match="precision bf16 is for CUDA"):
        plan_memory(None, replace(command, device="cpu", precision="bf16"))


def test_a_run_that_is_resumed_is_counted_as_it_was_begun(tmp_path):
    inputs, stats, run = [str(tmp_path / "set")], str(tmp_path / "stats.npz"), str(tmp_path / "run")
    save_stats(stats, write_set(tmp_path / "set", size=8), force=False)
    command = TrainCommand(stats=stats, steps=2, batch=3, sample_every=0, settings=("widths=32,32",), resume="latest")
    begun = plan_memory(run, command)
    run_plan(plan_training(inputs, run, command))
    assert plan_memory(run, TrainCommand(stats=stats, resume="latest")) == begun
    with pytest.raises(GatlasError, match="widths is"):
        plan_memory(run, replace(command, settings=("widths=32,64",)))


def test_the_command_prints_a_table_or_json_and_needs_neither_input_nor_output(tmp_path):
    words = ["train", "--dry-run", "--set", "size=8", "--set", "widths=32,32", "--batch", "2"]
    table = expect(run_here(words, tmp_path), 0).stdout.decode()
    memory = json.loads(expect(run_here([*words, "--json"], tmp_path), 0).stdout)
    assert re.search(rf"^peak +{memory['peak'] / 2**30:.2f} GiB$", table, re.MULTILINE)
    assert f"2 samples, {2 * 64} tokens" in table
    assert not list(tmp_path.iterdir())
    for missing, named in ((["train"], "argument 'INPUT...'"), (["train", "atlases"], "option '--output' / '-o'")):
        assert f"Missing {named}; only --dry-run does without" in expect(run_here(missing, tmp_path), 2).stderr
    assert "--json: is for --dry-run" in expect(run_here(["train", "a", "-o", "run", "--json"], tmp_path), 1).stderr
    refused = expect(run_here(["train", "--dry-run", "--system", "lgm"], tmp_path), 1).stderr
    assert "--dry-run: the memory of lgm cannot be counted" in refused


@pytest.mark.slow
def test_without_a_base_a_fine_tuning_is_that_of_stable_diffusion(tmp_path):
    result = expect(run_here(["train", "--dry-run", "--preset", "finetune", "--json"], tmp_path), 0)
    assert "no --base is named: the network is that of Stable Diffusion 2.1" in result.stderr
    memory = json.loads(result.stdout)
    assert memory["parameters"] == 865_979_856  # diffusers' UNet of it, 865.91 M, with 16 channels in and out
    assert memory["tokens"] == 8 * 128 * 128
