"""Start or resume a training run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from gatlas import __version__
from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.io.runs import train_run
from gatlas.raster.devices import choose_device
from gatlas.train.identity import RunIdentity, require_same_run, set_digests
from gatlas.train.loop import Loop, Outcome
from gatlas.train.process_group import choose_precision, process_group

if TYPE_CHECKING:
    from gatlas.io.runs.train_run import Checkpoint
    from gatlas.systems.contract import SampleSet, System
    from gatlas.train.options import TrainOptions


def train(
    system: System,
    samples: SampleSet,
    options: TrainOptions,
    run: str,
    *,
    resume: str | None = None,
    device: str = "auto",
    processes: int | None = None,
    origin: Mapping[str, str | None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    report: Report = ignore,
    on_step: Callable[[int, float], None] | None = None,
    fsdp: bool = False,
    ema_device: str = "same",
    optimizer: str = "adamw",
    compiled: bool = False,
    tf32: bool = False,
) -> Outcome:
    """Train `system.network` on the set, keep everything in the folder `run`, and return how it ended.

    `resume` is None for a new folder, "latest" to resume from the newest checkpoint (from the start where there is
    none yet) or the step of a checkpoint, behind which everything is then replaced. A resumed run has the weights of a
    run without a break, bit for bit on the CPU. `processes` is the number that there has to be; `origin` names what the
    first weights came from, and a run is resumed with the same one. `should_stop` is called after each step: where it
    is true in any process, all of them save and end. `on_step` is called with (steps done, loss). `fsdp` divides
    weights, gradients and moments over the processes, and `ema_device` "host" has the averages there: neither changes
    more than rounding, nor a checkpoint. `optimizer` "adamw8bit" keeps the moments in 8 bits, also in checkpoints.
    `compiled` compiles the network (torch.compile), which changes rounding alone; `tf32` has the products of float32 on
    CUDA in TF32, until the end of the training.

    Every draw follows from (seed, step, process, batch of the step), the order of the samples from (seed, epoch).
    What the user can fix, such as a damaged sample, a full disk or a loss that is not finite, is a GatlasError in all
    processes; the checkpoints written before it stay.
    """
    check_optimizer(optimizer, fsdp=fsdp)
    device, remark = _choose_device(device, system)
    precision = choose_precision(device, options.precision)
    with ExitStack() as stack:
        group = stack.enter_context(process_group(device, precision, processes))
        if tf32:
            stack.enter_context(_in_tf32(group.device))
        if fsdp and group.count == 1:
            raise GatlasError(
                "--fsdp divides a training over processes, and there is one: start several with torchrun "
                "--nproc-per-node N -m gatlas train ..., or leave it out"
            )
        if len(samples) == 0:
            raise GatlasError("there are no samples to train on")
        checkpoint = train_run.find_checkpoint(run, resume) if resume is not None else None
        report = report if group.is_first else ignore
        if remark is not None:
            report(remark)
        identity = RunIdentity(
            options,
            group.count,
            system.name,
            system.config.to_json(),
            origin or {},
            len(samples),
            precision,
            set_digests(samples),
        )
        if checkpoint is not None:
            for remark in require_same_run(checkpoint, identity, type(system.config)):
                report(remark)
        meta = {**identity.to_json(), "versions": {"gatlas": __version__, "torch": torch.__version__}}
        loop = Loop(
            system,
            samples,
            options,
            run,
            group,
            meta,
            report,
            on_step,
            fsdp=fsdp,
            ema_host=ema_device == "host",
            eight_bit=optimizer == "adamw8bit",
            compiled=compiled,
        )
        group.on_first(lambda: _check_room(run, checkpoint, options, loop.state.checkpoint_size(), report))
        group.on_first(lambda: _open_run(stack, system, run, checkpoint, resume, options.keep, report))
        if checkpoint is not None:
            loop.resume(checkpoint)
        return loop.run(should_stop)


@contextmanager
def _in_tf32(device: torch.device) -> Iterator[None]:
    """Have products of float32 in TF32 meanwhile. Without CUDA it is a GatlasError."""
    if device.type != "cuda":
        raise GatlasError("--tf32 is for CUDA, and the training is on the CPU: leave it out")
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def check_optimizer(optimizer: str, *, fsdp: bool) -> None:
    """Raise a GatlasError where moments of 8 bits would have to be divided over processes."""
    if fsdp and optimizer == "adamw8bit":
        raise GatlasError("--optimizer adamw8bit: its moments cannot be divided by --fsdp: leave out one of the two")


def _choose_device(device: str, system: System) -> tuple[str, str | None]:
    """Return the device of the network, and what the user should know of it. A loss that renders needs gsplat there."""
    chosen = choose_device(device, gsplat=device == "cuda" and system.renders)
    if chosen == "cpu" or not system.renders:
        return chosen, None
    from gatlas.raster.cuda import why_unusable

    if (reason := why_unusable()) is None:
        return chosen, None
    return chosen, f"the rendered terms of the loss are computed on the CPU, since gsplat does not run: {reason}"


def _check_room(run: str, checkpoint: Checkpoint | None, options: TrainOptions, size: int, report: Report) -> None:
    """Refuse a training whose next checkpoint the disk does not hold; report where it holds fewer than are kept."""
    done = 0 if checkpoint is None else checkpoint.step
    if done >= options.steps:
        return
    train_run.make_room(run, done + 1, options.keep, size, remove_oldest=False)
    there = sum(step <= done for step in train_run.list_steps(run))
    written = math.ceil((options.steps - done) / options.checkpoint_every)
    missing = (
        min(max(options.keep, 2), there + written) - there
    )  # with --keep 1 the former stays till the next is whole
    if train_run.free_space(run) < missing * size:
        free, needed = train_run.shown_size(train_run.free_space(run)), train_run.shown_size(missing * size)
        report(
            f"{run}: the disk has {free} free, and {missing} more checkpoints need {needed}: free some or lower --keep"
        )


def _open_run(
    stack: ExitStack,
    system: System,
    run: str,
    checkpoint: Checkpoint | None,
    resume: str | None,
    keep: int,
    report: Report,
) -> None:
    """Make or open the run's folder, which stays locked until the stack is left."""
    if checkpoint is None and resume is None:
        train_run.check_new(run)
    fresh = checkpoint is None
    if not stack.enter_context(train_run.opened(run, system.save_frozen, fresh=fresh, resume=resume is not None)):
        report(f"{run} is on a file system without locks: make sure that no other process trains in it")
    if checkpoint is not None:
        train_run.point_to(run, system.part, train_run.list_steps(run)[-1])
        train_run.remove_old(run, checkpoint.step, keep)
