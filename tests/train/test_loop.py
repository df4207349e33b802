"""The training loop on a system that takes a millisecond a step."""

import json
import multiprocessing
import re
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gatlas import io
from gatlas.errors import DeviceMemoryError, GatlasError
from gatlas.io.runs import train_run as folder
from gatlas.train import TrainOptions, train
from gatlas.train.ema import WeightAverage, decay_at
from gatlas.train.process_group import process_group
from tests.helpers.toy_system import ToyConfig, ToyScenes, ToySystem, tensors_of

OPTIONS = TrainOptions(
    steps=20, batch=4, lr=1e-2, warmup=5, checkpoint_every=10, log_every=5, diagnose_every=10, sample_every=10
)


pytestmark = pytest.mark.usefixtures("one_thread")


class After:
    """A stop that is asked for after some steps."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left < 0


def assert_same(run, other, step):
    one, two = tensors_of(run, step), tensors_of(other, step)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


@pytest.mark.parametrize("workers", [0, 2])
def test_200_steps_are_100_and_100_bit_for_bit(tmp_path, workers):
    options = replace(OPTIONS, steps=200, checkpoint_every=100, schedule="cosine", accumulate=2, workers=workers)
    train(ToySystem(), ToyScenes(), options, str(tmp_path / "whole"))
    halves = str(tmp_path / "halves")
    outcome = train(ToySystem(), ToyScenes(), options, halves, should_stop=After(100))
    assert outcome.stopped
    assert outcome.step == 100
    train(ToySystem(seed=7), ToyScenes(), options, halves, resume="latest")
    assert any(name.startswith("ema.") for name in tensors_of(halves, 200))
    assert_same(tmp_path / "whole", halves, 200)
    whole, split = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "halves")
    )
    assert [(line["step"], line["loss"]) for line in whole] == [(line["step"], line["loss"]) for line in split]


@pytest.mark.parametrize("workers", [0, 1])
def test_training_on_cuda_is_that_of_the_cpu_also_in_two_parts(tmp_path, workers, cuda_device):
    """On a pretended device, which adds up as the CPU does."""
    options = replace(OPTIONS, schedule="cosine", accumulate=2, workers=workers, precision="fp32")
    train(ToySystem(), ToyScenes(), options, str(tmp_path / "cpu"), device="cpu")
    parts = str(tmp_path / "parts")
    assert train(ToySystem(), ToyScenes(), options, parts, device="cuda", should_stop=After(7)).stopped
    train(ToySystem(seed=7), ToyScenes(), options, parts, device="cuda", resume="latest")
    one, two = tensors_of(tmp_path / "cpu", 20), tensors_of(parts, 20)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_averages_on_the_host_are_those_beside_the_weights(tmp_path, cuda_device):
    """Bit for bit on a pretended device, which averages as the CPU does; also in two parts and in the pictures."""
    options = replace(OPTIONS, precision="fp32", workers=0)
    train(ToySystem(), ToyScenes(), options, str(tmp_path / "same"), device="cuda")
    host = str(tmp_path / "host")
    train(ToySystem(), ToyScenes(), options, host, device="cuda", ema_device="host", should_stop=After(7))
    train(ToySystem(), ToyScenes(), options, host, device="cuda", ema_device="host", resume="latest")
    assert_same(tmp_path / "same", host, 20)


def test_weights_that_were_exchanged_with_averages_on_the_host_come_back(cuda_device):
    network = torch.nn.Linear(2, 2).to("cuda")
    average, twin = (WeightAverage(network, 0.9, 0.75, host=host) for host in (True, False))
    with torch.no_grad():
        for step in (1, 2):
            network.weight += 1
            for each in (average, twin):
                each.update(step)
    before = network.weight.detach().cpu().clone()
    assert average.values["weight"].device.type == "cpu"
    expected = twin.values["weight"].cpu()
    with average.in_place():
        assert torch.equal(network.weight.cpu(), expected)
    assert torch.equal(network.weight.cpu(), before)
    assert torch.equal(average.values["weight"], expected)


@pytest.fixture
def eight_bit():
    """Steps of a network with 4,096 weights in its first layer, whose moments are in 8 bits; the last has 1,024."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (extra eight-bit)")

    def run(to, optimizer="adamw8bit", **changes):
        train(ToySystem(ToyConfig(width=1024)), ToyScenes(), OPTIONS, str(to), optimizer=optimizer, **changes)
        return to

    return run


def test_moments_in_8_bits_train_like_those_in_32(tmp_path, eight_bit):
    found = tensors_of(eight_bit(tmp_path / "found"), 20)
    expected = tensors_of(eight_bit(tmp_path / "expected", "adamw"), 20)
    begun = ToySystem(ToyConfig(width=1024)).network.state_dict()
    for name in ("0.weight", "3.weight"):
        way = np.abs(expected[f"weights.{name}"] - begun[name].numpy()).mean()
        assert np.abs(found[f"weights.{name}"] - expected[f"weights.{name}"]).mean() < 0.1 * way
    assert found["adam8.state1.0.weight"].dtype == found["adam8.state2.0.weight"].dtype == np.uint8
    assert found["adam8.absmax1.0.weight"].shape == (4096 / 256,)
    assert found["adam8.state1.3.weight"].dtype == np.float32
    assert found["adam8.step.0.weight"] == 20


def test_moments_in_8_bits_are_resumed_bit_for_bit(tmp_path, eight_bit):
    whole = eight_bit(tmp_path / "whole")
    shutil.copytree(whole, tmp_path / "killed", symlinks=True)
    shutil.rmtree(tmp_path / "killed" / "checkpoint-000020")
    assert_same(whole, eight_bit(tmp_path / "killed", resume="latest"), 20)
    eight_bit(tmp_path / "stopped", should_stop=After(7))
    assert_same(whole, eight_bit(tmp_path / "stopped", resume="latest"), 20)


def test_a_run_is_resumed_with_the_optimizer_that_it_was_begun_with(tmp_path, eight_bit):
    for begun, other in (("adamw", "adamw8bit"), ("adamw8bit", "adamw")):
        run = eight_bit(tmp_path / begun, begun, should_stop=After(7))
        with pytest.raises(GatlasError, match=rf"another optimizer: resume it with --optimizer {begun}$"):
            eight_bit(run, other, resume="latest")


def test_without_bitsandbytes_moments_in_8_bits_are_refused_by_the_name_of_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(
        GatlasError, match=r"--optimizer adamw8bit: needs bitsandbytes: pip install 'gatlas\[eight-bit\]'"
    ):
        train(ToySystem(), ToyScenes(), OPTIONS, str(tmp_path / "run"), optimizer="adamw8bit")
    assert not (tmp_path / "run").exists()


def test_moments_in_8_bits_are_not_divided_over_processes(tmp_path):
    with pytest.raises(GatlasError, match="--optimizer adamw8bit: its moments cannot be divided by --fsdp"):
        train(ToySystem(), ToyScenes(), OPTIONS, str(tmp_path / "run"), fsdp=True, optimizer="adamw8bit")


def test_weights_are_divided_over_several_processes_only(tmp_path):
    with pytest.raises(GatlasError, match="--fsdp divides a training over processes, and there is one: start several"):
        train(ToySystem(), ToyScenes(), OPTIONS, str(tmp_path / "run"), fsdp=True)
    assert not (tmp_path / "run").exists()


def test_stops_at_any_step_change_nothing(tmp_path):
    train(ToySystem(), ToyScenes(), OPTIONS, str(tmp_path / "whole"))
    pieces = str(tmp_path / "pieces")
    for _ in range(7):
        outcome = train(ToySystem(), ToyScenes(), OPTIONS, pieces, resume="latest", should_stop=After(3))
    assert not outcome.stopped
    assert_same(tmp_path / "whole", pieces, 20)


class _FailingSystem(ToySystem):
    """A loss that raises an error which nobody expects."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def loss(self, network, batch, generator, *, step, steps):
        if step == 12:
            raise self.error
        return super().loss(network, batch, generator, step=step, steps=steps)


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_processes_end_with_a_training_that_fails(tmp_path, workers):
    """They ignore SIGTERM, and Python would wait for them at its exit."""
    before = set(multiprocessing.active_children())
    with pytest.raises(ZeroDivisionError) as failure:  # the traceback holds the loop's frames
        train(
            _FailingSystem(ZeroDivisionError()), ToyScenes(), replace(OPTIONS, workers=workers), str(tmp_path / "run")
        )
    assert set(multiprocessing.active_children()) == before
    assert failure.tb is not None


@pytest.fixture
def gpu_without_gsplat(monkeypatch):
    """A machine where torch finds a GPU on which gsplat does not run; what is trained is trained on the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    if hasattr(torch, "accelerator"):  # a torch that is built for CUDA asks the driver, which is not there
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    monkeypatch.setattr("gatlas.raster.cuda.why_unusable", lambda: "there is no CUDA toolkit")
    monkeypatch.setattr(
        "gatlas.train.start.process_group", lambda device, precision, count: process_group("cpu", precision, count)
    )


def test_a_training_that_will_render_finds_out_at_the_start_that_gsplat_does_not_run(tmp_path, gpu_without_gsplat):
    system, messages, options = ToySystem(), [], replace(OPTIONS, precision="fp32")
    system.renders = True
    with pytest.raises(GatlasError, match="--device cuda cannot be used: there is no CUDA toolkit"):
        train(system, ToyScenes(), options, str(tmp_path / "run"), device="cuda")
    assert not (tmp_path / "run").exists()
    train(system, ToyScenes(), options, str(tmp_path / "run"), report=messages.append)
    assert messages == [
        "the rendered terms of the loss are computed on the CPU, since gsplat does not run: there is no CUDA toolkit"
    ]


def test_a_training_that_renders_nothing_needs_no_gsplat(tmp_path, gpu_without_gsplat):
    messages = []
    options = replace(OPTIONS, precision="fp32")
    train(ToySystem(), ToyScenes(), options, str(tmp_path / "run"), device="cuda", report=messages.append)
    assert messages == []


def test_a_full_device_names_the_options_that_need_less_memory(tmp_path):
    full = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
    with pytest.raises(DeviceMemoryError) as failure:
        train(_FailingSystem(full), ToyScenes(), OPTIONS, str(tmp_path / "run"))
    assert str(failure.value) == (
        "step 12: CUDA out of memory; the last checkpoint is that of step 10. What needs less memory: "
        "a smaller --batch than 4 with a larger --accumulate than 1, --set gradient_checkpointing=true"
    )


def test_going_back_to_a_step_repeats_what_followed(tmp_path):
    run = str(tmp_path / "run")
    train(ToySystem(), ToyScenes(), OPTIONS, run)
    first = tensors_of(run, 20)
    train(ToySystem(), ToyScenes(), OPTIONS, run, resume="10")
    again = tensors_of(run, 20)
    assert all((first[name] == again[name]).all() for name in first)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert steps == [5, 10, 15, 20]


def test_more_steps_go_on_as_if_they_had_been_asked_for(tmp_path):
    train(ToySystem(), ToyScenes(), OPTIONS, str(tmp_path / "whole"))
    parts, messages = str(tmp_path / "parts"), []
    train(ToySystem(), ToyScenes(), replace(OPTIONS, steps=10), parts)
    train(ToySystem(), ToyScenes(), OPTIONS, parts, resume="latest", report=messages.append)
    assert_same(tmp_path / "whole", parts, 20)
    assert "steps is 10" in messages[0]
    with pytest.raises(GatlasError, match="20 steps are done, so steps cannot be 15"):
        train(ToySystem(), ToyScenes(), replace(OPTIONS, steps=15), parts, resume="latest")


def test_the_loop_is_adamw_on_the_sum_of_accumulated_gradients(tmp_path):
    """Against a loop in plain torch, with torch's own unfused AdamW."""
    options = replace(OPTIONS, steps=6, accumulate=2, clip=0.5, ema_decay=0.6)
    system = ToySystem(ToyConfig(scale=0.0))
    train(system, ToyScenes(), options, str(tmp_path / "run"))

    from gatlas.train.order import BatchOrder

    twin, scenes = ToySystem(ToyConfig(scale=0.0)), ToyScenes()
    weights = [weight for weight in twin.network.parameters() if weight.requires_grad]
    averages = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(weights, foreach=False, fused=False, weight_decay=options.weight_decay)
    order = iter(BatchOrder(len(scenes), options, rank=0, processes=1))
    for step in range(1, 7):
        optimizer.zero_grad()
        for _ in range(2):
            batch = scenes.values[[each.sample for each in next(order)]]
            loss = twin.loss(twin.network, batch, torch.Generator().manual_seed(0), step=step, steps=6)["loss"]
            (loss / 2).backward()
        torch.nn.utils.clip_grad_norm_(weights, 0.5)
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1, step / 5)
        optimizer.step()
        decay = min(0.6, 1 - (1 + step) ** -0.75)
        averages = [decay * old + (1 - decay) * new.detach() for old, new in zip(averages, weights, strict=True)]
    trained = [weight for weight in system.network.parameters() if weight.requires_grad]
    for mine, theirs in zip(trained, weights, strict=True):
        torch.testing.assert_close(mine, theirs)
    stored = tensors_of(tmp_path / "run", 6)
    names = [name for name, weight in system.network.named_parameters() if weight.requires_grad]
    for name, theirs in zip(names, averages, strict=True):
        np.testing.assert_allclose(stored[f"ema.{name}"], theirs.numpy(), rtol=1e-4, atol=1e-6)


def test_the_run_says_what_happened(tmp_path):
    run = tmp_path / "run"
    train(ToySystem(), ToyScenes(), replace(OPTIONS, keep=1), str(run))
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    assert lines[0]["samples"] == 20
    assert lines[0]["epoch"] == 2.0
    assert lines[0]["lr"] == pytest.approx(1e-2)
    assert lines[0]["loss"] == pytest.approx(2 * lines[0]["loss/squared"])
    assert lines[0]["grad_norm"] > 0
    assert lines[0]["steps_per_second"] > 0
    assert "diagnose/size" not in lines[0]
    assert lines[1]["diagnose/size"] == lines[3]["diagnose/size"] == 4
    assert lines[1]["diagnose/undefined"] is None
    assert io.load_image(str(run / "loss.png")).shape[2] == 3
    assert sorted(file.name for file in (run / "samples").iterdir()) == ["step-000010.png", "step-000020.png"]
    assert folder.list_steps(run) == [20]
    meta = json.loads((run / "checkpoint-000020" / "training.json").read_text())
    assert meta["options"]["lr"] == 1e-2
    assert meta["config"] == {"width": 8, "scale": 1.0}
    assert meta["versions"]["torch"] == torch.__version__


def test_the_saved_part_has_the_averaged_weights(tmp_path):
    from safetensors.torch import load_file

    system = ToySystem()
    train(system, ToyScenes(), OPTIONS, str(tmp_path / "run"))
    saved = load_file(tmp_path / "run" / "net" / "weights.safetensors")
    stored = tensors_of(tmp_path / "run", 20)
    assert saved.keys() == system.network.state_dict().keys()
    np.testing.assert_array_equal(saved["0.weight"], stored["ema.0.weight"])
    np.testing.assert_array_equal(system.network.state_dict()["0.weight"], stored["weights.0.weight"])
    np.testing.assert_array_equal(saved["2.running_mean"], stored["weights.2.running_mean"])
    assert not np.array_equal(stored["ema.0.weight"], stored["weights.0.weight"])


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_its_checkpoints(tmp_path):
    run = tmp_path / "run"
    message = "step 13: the loss is not finite; the last checkpoint is that of step 10"
    with pytest.raises(GatlasError, match=message):
        train(ToySystem(poison=13), ToyScenes(), OPTIONS, str(run))
    assert folder.list_steps(run) == [10]
    assert all(np.isfinite(value).all() for value in tensors_of(run, 10).values())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_sample_is_one_line_and_loses_no_step(tmp_path, workers):
    run, options = tmp_path / "run", replace(OPTIONS, workers=workers)
    with pytest.raises(GatlasError) as caught:
        train(ToySystem(), ToyScenes(40, broken=33), options, str(run))
    assert str(caught.value).startswith("scene-33.npz: damaged; the last checkpoint is that of step ")
    assert "\n" not in str(caught.value)
    step = folder.list_steps(run)[-1]
    train(ToySystem(), ToyScenes(40), options, str(run), resume="latest")
    train(ToySystem(), ToyScenes(40), options, str(tmp_path / "whole"))
    assert 0 < step < 10
    assert_same(run, tmp_path / "whole", 20)


def test_a_full_disk_ends_the_run_and_keeps_its_checkpoints(tmp_path):
    class Full(ToySystem):
        def save_network(self, path, weights):
            if folder.list_steps(tmp_path / "run"):
                raise OSError(28, "No space left on device")
            super().save_network(path, weights)

    with pytest.raises(GatlasError, match="checkpoint-000020: No space left on device"):
        train(Full(), ToyScenes(), OPTIONS, str(tmp_path / "run"))
    assert folder.list_steps(tmp_path / "run") == [10]
    assert not list((tmp_path / "run").glob(".gatlas-*"))


def test_a_disk_without_room_for_a_checkpoint_is_found_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(
        GatlasError, match=r"checkpoint-000001: the disk has 0\.00 MB free; the checkpoint needs"
    ) as caught:
        train(ToySystem(), ToyScenes(), OPTIONS, str(tmp_path / "run"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_ends_the_run_before_the_checkpoint_and_it_goes_on_with_room(tmp_path, monkeypatch):
    run, free = tmp_path / "run", [10**6]
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free[0]))

    def on_step(step, loss):
        if step == 15:
            free[0] = 1000

    messages = []
    with pytest.raises(GatlasError, match=r"checkpoint-000020: the disk has 0\.00 MB free; .*: free some space$"):
        train(ToySystem(), ToyScenes(), OPTIONS, str(run), on_step=on_step)
    assert folder.list_steps(run) == [10]
    assert not list(run.glob(".gatlas-*"))
    free[0] = 10**6
    train(ToySystem(), ToyScenes(), OPTIONS, str(run), resume="latest")
    train(ToySystem(), ToyScenes(), OPTIONS, str(tmp_path / "whole"), report=messages.append)
    assert_same(run, tmp_path / "whole", 20)
    assert messages == []


def test_a_disk_for_fewer_checkpoints_than_are_kept_is_told_at_the_start_and_keeps_what_it_holds(tmp_path, monkeypatch):
    """One more checkpoint always fits: what is freed is not counted, as of a disk that others fill."""
    run, messages = tmp_path / "run", []

    def usage(path):
        steps = folder.list_steps(run)
        return SimpleNamespace(free=30_000 if len(steps) < 2 else 1_000)

    monkeypatch.setattr("shutil.disk_usage", usage)
    options = replace(OPTIONS, steps=30, keep=3)
    with pytest.raises(GatlasError, match=r"checkpoint-000030: .* lower --keep, which is 3$"):
        train(ToySystem(), ToyScenes(), options, str(run), report=messages.append)
    said = r".*: the disk has 0.03 MB free, and 3 more checkpoints need 0\.\d\d MB: free some .*"
    assert re.fullmatch(said, messages[0])
    assert folder.list_steps(run) == [10, 20]


def test_another_system_samples_or_origin_is_refused_by_name(tmp_path):
    run = str(tmp_path / "run")
    train(ToySystem(), ToyScenes(), OPTIONS, run, origin={"base": "sd"})
    again = {"resume": "latest", "origin": {"base": "sd"}}
    with pytest.raises(GatlasError, match="exists and is not empty: use --resume latest"):
        train(ToySystem(), ToyScenes(), OPTIONS, run)
    with pytest.raises(GatlasError, match="width is 8 there and 9 here"):
        train(ToySystem(ToyConfig(width=9)), ToyScenes(), OPTIONS, run, **again)
    with pytest.raises(GatlasError, match="samples is 10 there and 11 here"):
        train(ToySystem(), ToyScenes(11), OPTIONS, run, **again)
    with pytest.raises(GatlasError, match="base is sd there and unset here"):
        train(ToySystem(), ToyScenes(), OPTIONS, run, resume="latest")
    with pytest.raises(GatlasError, match=r"lr is 0.01 there and 0.1 here"):
        train(ToySystem(), ToyScenes(), replace(OPTIONS, lr=0.1), run, **again)


def test_another_set_of_the_same_size_is_refused_by_what_differs(tmp_path):
    class Described(ToyScenes):
        def __init__(self, names, captions=("",) * 10):
            super().__init__()
            self.names, self.captions = names, captions

        def identity(self):
            return {"atlases": iter(self.names), "captions": iter(self.captions)}

    run = str(tmp_path / "run")
    train(ToySystem(), Described("abcdefghij", "0123456789"), replace(OPTIONS, steps=10), run)
    for scenes, others in (
        (Described("abcdefghij"), "its captions are not"),
        (Described("bacdefghij", "0123456789"), "its atlases are not"),
        (Described("aaaaaaaaaa"), "its atlases and captions are not"),
    ):
        with pytest.raises(GatlasError, match=f"checkpoint-000010: cannot resume with another set: {others}") as caught:
            train(ToySystem(), scenes, OPTIONS, run, resume="latest")
        assert "\n" not in str(caught.value)
    train(ToySystem(), Described("abcdefghij", "0123456789"), OPTIONS, run, resume="latest")
    assert folder.list_steps(run) == [10, 20]


def test_a_checkpoint_that_does_not_say_its_set_is_damaged(tmp_path):
    train(ToySystem(), ToyScenes(), replace(OPTIONS, steps=10), str(tmp_path / "run"))
    path = tmp_path / "run" / "checkpoint-000010" / "training.json"
    meta = json.loads(path.read_text())
    del meta["scenes"], meta["files"], meta["sha256"]  # without checksums, as of an earlier version
    path.write_text(json.dumps(meta))
    with pytest.raises(GatlasError, match=r"training\.json: damaged .*scenes.*: resume another step$"):
        train(ToySystem(), ToyScenes(), OPTIONS, str(tmp_path / "run"), resume="latest")


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run = str(tmp_path / "run")
    train(ToySystem(), ToyScenes(), OPTIONS, run)
    other = ToySystem(ToyConfig(width=9))
    other.config = ToyConfig()
    with pytest.raises(GatlasError, match=r"of another network: weights\.\S+ is torch\.float32 \[8"):
        train(other, ToyScenes(), OPTIONS, run, resume="latest")


def test_what_is_not_available_is_reported(tmp_path, monkeypatch):
    run = str(tmp_path / "run")
    with pytest.raises(GatlasError, match="bf16 is for CUDA"):
        train(ToySystem(), ToyScenes(), replace(OPTIONS, precision="bf16"), run, device="cpu")
    with pytest.raises(GatlasError, match="gradient_checkpointing: this system's network does not have it"):
        train(ToySystem(), ToyScenes(), replace(OPTIONS, gradient_checkpointing=True), run)
    with pytest.raises(GatlasError, match="--processes 2: 1 was started; start them with torchrun --nproc-per-node 2"):
        train(ToySystem(), ToyScenes(), OPTIONS, run, processes=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(GatlasError, match="LOCAL_RANK is not set: start the processes with torchrun"):
        train(ToySystem(), ToyScenes(), OPTIONS, run)
    assert not (tmp_path / "run").exists() or not folder.list_steps(run)


def test_the_average_forgets_the_start_and_then_the_past_slowly():
    assert decay_at(1, 0.9999, 0.75) == pytest.approx(1 - 2**-0.75)
    assert decay_at(10**9, 0.9999, 0.75) == 0.9999


def test_the_averaged_weights_are_in_place_only_inside_the_block():
    network = torch.nn.Linear(2, 2)
    average = WeightAverage(network, 0.9, 0.75)
    before = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 1
    with average.in_place():
        assert torch.equal(network.weight, before)
    assert torch.equal(network.weight, before + 1)
    assert torch.equal(average.values["weight"], before)


@pytest.mark.slow
def test_a_compiled_network_trains_alike_and_its_checkpoints_are_those_of_another(tmp_path):
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler on the CPU")
    torch.compiler.reset()
    compiled, plain = str(tmp_path / "compiled"), str(tmp_path / "plain")
    train(ToySystem(), ToyScenes(), OPTIONS, compiled, compiled=True, should_stop=After(10))
    train(ToySystem(), ToyScenes(), OPTIONS, compiled, resume="latest")
    train(ToySystem(), ToyScenes(), OPTIONS, plain)
    one, two = tensors_of(compiled, 20), tensors_of(plain, 20)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_network_that_cannot_be_compiled_is_said_in_one_line(tmp_path, monkeypatch):
    error = type("BackendCompilerFailed", (RuntimeError,), {"__module__": "torch._dynamo.exc"})

    def fail(*_, **__):
        raise error("no compiler.\nSet TORCHDYNAMO_VERBOSE=1")

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: setattr(self, "forward", fail))
    with pytest.raises(GatlasError, match=r"^--compile: torch could not compile the network \(no compiler") as caught:
        train(ToySystem(), ToyScenes(), OPTIONS, str(tmp_path / "run"), compiled=True)
    assert "\n" not in str(caught.value)


def test_tf32_is_for_cuda_and_ends_with_the_training(tmp_path, cuda_device):
    before = torch.get_float32_matmul_precision()
    seen = []
    train(
        ToySystem(), ToyScenes(), replace(OPTIONS, steps=1), str(tmp_path / "run"), device="cuda", tf32=True, 
        on_step=lambda *_: seen.append(torch.get_float32_matmul_precision()),
    )  # fmt: skip
    assert seen == ["high"]
    assert torch.get_float32_matmul_precision() == before
    with pytest.raises(GatlasError, match="--tf32 is for CUDA"):
        train(ToySystem(), ToyScenes(), OPTIONS, str(tmp_path / "other"), device="cpu", tf32=True)
