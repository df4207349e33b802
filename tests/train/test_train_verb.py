"""gatlas train as its users run it: as processes of its own, one or several, that are stopped and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from gatlas.io.runs import train_run as folder
from gatlas.train import TrainOptions
from gatlas.train.order import BatchOrder
from tests.helpers import toy_system
from tests.helpers.toy_system import ToyConfig, ToyScenes, ToySystem, tensors_of
from tests.helpers.waiting import LIMIT, running, wait_until

PROGRAM = str(Path(toy_system.__file__))
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture
def start(tmp_path):
    """Start a training in an empty folder; it does not outlive the test."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # torchrun kills processes that have not saved so many seconds after a SIGTERM.
    patient = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(LIMIT)}
    with ExitStack() as begun:

        def run(*words, together=False, largest=None, **environment):
            """`largest` is the number of bytes that no file may pass, as where a disk is full."""
            program = (*(TORCHRUN if together else ()), PROGRAM)
            limit = () if largest is None else ("prlimit", f"--fsize={largest}")
            command = [*limit, sys.executable, *program, "train", *words, "--system", "toy"]
            return begun.enter_context(running(command, cwd=tmp_path, env={**patient, **environment}, **pipes))

        yield run


def finish(process, code=0):
    """The messages of a process that has ended with `code` and nothing on standard output."""
    out, messages = process.communicate(timeout=LIMIT)
    assert process.returncode == code, messages
    assert out == ""
    return [line for line in messages.splitlines() if line.startswith("gatlas")]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_exits_75_and_the_same_command_resumes(start, tmp_path, number):
    words = ["10", "-o", "run", "--resume", "latest", "--log-every", "5"]
    process = start(*words, HOLD_AT="7")
    wait_until((tmp_path / "held").exists, "step 7", process)
    process.send_signal(number)
    messages = finish(process, code=75)
    assert folder.list_steps(tmp_path / "run") == [7]
    assert "stopped after 7 of 40 steps" in messages[-1]
    messages = finish(start(*words))
    assert "resuming after 7 steps" in messages[1]
    # A process of its own too: with another number of threads the last bits differ.
    finish(start("10", "-o", "whole", "--log-every", "5"))
    whole, pieces = tensors_of(tmp_path / "whole", 40), tensors_of(tmp_path / "run", 40)
    for name in whole:
        np.testing.assert_array_equal(whole[name], pieces[name], err_msg=name)


@pytest.mark.slow
def test_two_processes_split_the_samples_and_agree_on_everything(start, tmp_path):
    words = ["7", "--set", "steps=42", "--processes", "2", "--batch", "4", "--log-every", "2"]
    finish(start(*words, "-o", "whole", "--captions", "seen", together=True, TOY_WEIGHTS="weights"))

    # 42 steps of 8 samples are 48 epochs of 7.
    seen = [(tmp_path / f"seen-{rank}").read_text().split() for rank in (0, 1)]
    assert [len(each) for each in seen] == [168, 168]
    assert set(Counter(seen[0] + seen[1]).values()) == {48}
    one, two = load_file(tmp_path / "weights-0"), load_file(tmp_path / "weights-1")
    trained = [name for name in one if not name.startswith("2.")]  # batch norm counts what its own process sees
    assert len(trained) == 4
    for name in trained:
        np.testing.assert_array_equal(one[name], two[name])

    process = start(*words, "-o", "run", "--resume", "latest", together=True, HOLD_AT="9")
    wait_until(lambda: all((tmp_path / f"held{rank}").exists() for rank in (0, 1)), "step 9 in both", process)
    process.send_signal(signal.SIGTERM)  # to torchrun, which signals its processes
    _, messages = process.communicate(timeout=LIMIT)
    assert folder.list_steps(tmp_path / "run") == [9]
    assert "gatlas train: stopped after 9 of 42 steps" in messages
    finish(start(*words, "-o", "run", "--resume", "latest", together=True))
    whole, pieces = tensors_of(tmp_path / "whole", 42), tensors_of(tmp_path / "run", 42)
    for name in whole:
        np.testing.assert_array_equal(whole[name], pieces[name], err_msg=name)
    assert [json.loads(line)["samples"] for line in (tmp_path / "whole" / "log.jsonl").open()][-1] == 336


def children_of(process):
    """Numbers of the processes that a process has started."""
    threads = Path(f"/proc/{process}/task").glob("*/children")
    return [int(number) for thread in threads for number in thread.read_text().split()]


def trained_by_hand(steps):
    """Losses, weights and averages of one process that takes the batches of two, in plain torch."""
    options = TrainOptions(steps=steps, batch=4, warmup=0, lr=1e-2)
    system, scenes = ToySystem(ToyConfig(scale=0.0)), ToyScenes(20)
    weights = {name: weight for name, weight in system.network.named_parameters() if weight.requires_grad}
    averages = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-2, weight_decay=options.weight_decay, fused=False)
    orders = [iter(BatchOrder(20, options, rank=rank, processes=2)) for rank in (0, 1)]
    losses = []
    for step in range(1, steps + 1):
        batches = [scenes.values[[each.sample for each in next(order)]] for order in orders]
        terms = [system.loss(system.network, batch, torch.Generator(), step=step, steps=steps) for batch in batches]
        loss = sum(each["loss"] for each in terms) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        decay = min(options.ema_decay, 1 - (1 + step) ** -options.ema_power)
        averages = {name: decay * old + (1 - decay) * weights[name].detach() for name, old in averages.items()}
        losses.append(float(loss.detach()))
    return losses, weights, averages


def assert_near(found, expected):
    """The same to rounding: float32 sums in another order differ by 1e-7 of their terms, and Adam divides by them."""
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_processes_that_divide_the_weights_are_one_process(start, tmp_path):
    """Also when they are killed, and when one part of a run is with divided weights and the other is not."""
    words = [
        "20",
        "--processes",
        "2",
        "--batch",
        "4",
        "--set",
        "scale=0",
        "--checkpoint-every",
        "6",
        "--log-every",
        "1",
    ]
    words += ["--sample-every", "6", "--set", "diagnose_every=6"]
    divided = [*words, "--fsdp", "--steps", "12"]
    finish(start(*divided, "-o", "whole", together=True, TOY_BLOCK="9"))  # each layer by itself
    losses, weights, averages = trained_by_hand(12)
    whole = tensors_of(tmp_path / "whole", 12)
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").open()]
    np.testing.assert_allclose([line["loss"] for line in log], losses, rtol=1e-5)
    for name, weight in weights.items():
        np.testing.assert_allclose(whole[f"weights.{name}"], weight.detach(), rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(whole[f"ema.{name}"], averages[name], rtol=1e-4, atol=1e-5, err_msg=name)
    saved = load_file(tmp_path / "whole" / "net" / "weights.safetensors")
    np.testing.assert_array_equal(saved["0.weight"], whole["ema.0.weight"])
    assert [line.get("diagnose/size") for line in log if line["step"] % 6 == 0] == [4, 4]
    assert len(list((tmp_path / "whole" / "samples").iterdir())) == 2

    killed = start(*divided, "-o", "run", "--resume", "latest", together=True, HOLD_AT="9", TOY_BLOCK="9")
    wait_until(lambda: all((tmp_path / f"held{rank}").exists() for rank in (0, 1)), "step 9 in both", killed)
    for child in children_of(killed.pid):
        os.kill(child, signal.SIGKILL)
    killed.communicate(timeout=LIMIT)
    assert folder.list_steps(tmp_path / "run") == [6]
    shutil.copytree(tmp_path / "run", tmp_path / "plain", symlinks=True)
    finish(start(*divided, "-o", "run", "--resume", "latest", together=True, TOY_BLOCK="9"))
    pieces = tensors_of(tmp_path / "run", 12)
    for name in whole:
        np.testing.assert_array_equal(whole[name], pieces[name], err_msg=name)
    finish(start(*words, "--steps", "12", "-o", "plain", "--resume", "latest", together=True))
    assert_near(tensors_of(tmp_path / "plain", 12), whole)

    finish(start(*words, "--steps", "6", "-o", "begun", together=True))
    finish(start(*divided, "--resume", "latest", "-o", "begun", together=True))
    assert_near(tensors_of(tmp_path / "begun", 12), whole)


@pytest.mark.slow
def test_what_one_of_two_processes_finds_ends_both_in_one_line(start, tmp_path):
    messages = finish(start("40", "-o", "run", "--batch", "4", together=True, TOY_BROKEN="33"), code=1)
    (wrong,) = (line for line in messages if "scene-33.npz" in line)
    assert wrong.startswith("gatlas train: scene-33.npz: damaged; the last checkpoint is that of step ")
    assert len(folder.list_steps(tmp_path / "run")) == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prlimit") is None, reason="a full disk is made up by prlimit")
def test_a_full_disk_ends_two_processes_that_divide_the_weights(start, tmp_path):
    """In the middle of the first checkpoint, while the first process gathers it from the other one."""
    words = ["10", "-o", "run", "--set", "width=20000", "--batch", "4", "--fsdp"]
    messages = finish(start(*words, together=True, largest=1_000_000), code=1)
    (wrong,) = (line for line in messages if "too large" in line)
    assert "checkpoint-000040/training.safetensors: File too large" in wrong
    assert folder.list_steps(tmp_path / "run") == []
    assert not list((tmp_path / "run").glob(".gatlas-*"))
