"""The processes that train together: how many there are, where they work, and what they agree on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from accelerate import Accelerator

Result = TypeVar("Result")
PATIENCE = timedelta(hours=1)  # a process may wait this long, as while the first one writes a large checkpoint


class Verdict(NamedTuple):
    """What all processes know after they have talked."""

    stop: bool  # one of them was asked to stop
    failure: str | None  # what the first one that failed has to say


def choose_precision(device: str, precision: str) -> str:
    """ "fp32" or "bf16" for what was asked, on "cpu" or "cuda"; what is not there is a GatlasError."""
    if precision == "auto":
        return "bf16" if device == "cuda" and torch.cuda.get_device_capability()[0] >= 8 else "fp32"
    if precision == "bf16" and device == "cpu":
        raise GatlasError("precision bf16 is for CUDA; on the CPU it ruins the training: use fp32")
    return precision


def check_count(expected: int | None) -> int:
    """The number of processes that the environment announces; another one than `expected` is a GatlasError."""
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdigit() or int(text) < 1:
        raise GatlasError(f"WORLD_SIZE must be a whole number, got {text!r}: start the processes with torchrun")
    count = int(text)
    if count > 1 and "LOCAL_RANK" not in os.environ:
        raise GatlasError(f"WORLD_SIZE is {count}, but LOCAL_RANK is not set: start the processes with torchrun")
    if expected is not None and count != expected:
        raise GatlasError(
            f"--processes {expected}: {count} {'was' if count == 1 else 'were'} started; start them with "
            f"torchrun --nproc-per-node {expected} -m gatlas train ..."
        )
    return count


def check_devices() -> None:
    """A GatlasError where more processes were started on this machine than it has CUDA devices."""
    text, there = os.environ.get("LOCAL_WORLD_SIZE", "1"), torch.cuda.device_count()
    if text.isdigit() and int(text) > there:  # said by all of them: a process that ends alone leaves the others waiting
        raise GatlasError(
            f"{text} processes were started on a machine where torch sees {there} CUDA device{'s' * (there != 1)}: "
            f"start one for each with torchrun --nproc-per-node {there}, or use --device cpu"
        )


class Processes:
    """This process among those that train together. Made by `joined`."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.count, self.rank, self.device = accelerator.num_processes, accelerator.process_index, accelerator.device
        self.first = self.rank == 0
        # Talk goes over the hosts, so that no GPU is waited for.
        self._talk = dist.new_group(backend="gloo", timeout=PATIENCE) if self.count > 1 else None

    def agree(self, *, stop: bool = False, failure: str | None = None) -> Verdict:
        """Whether any process has to stop or has failed. All must ask at the same place of their work."""
        if self._talk is None:
            return Verdict(stop, failure)
        flags = torch.tensor([int(stop), int(failure is not None)])
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._talk)
        if not flags[1]:
            return Verdict(bool(flags[0]), None)
        failures: list[str | None] = [None] * self.count
        dist.all_gather_object(failures, failure, group=self._talk)
        return Verdict(bool(flags[0]), next(each for each in failures if each is not None))

    def on_first(self, work: Callable[[], Result]) -> Result | None:
        """The result of `work` in the first process, None in the others; its GatlasError is raised in all."""
        result, failure = None, None
        if self.first:
            try:
                result = work()
            except GatlasError as error:
                failure = str(error)
        if (told := self.agree(failure=failure).failure) is not None:
            raise GatlasError(told)
        return result

    def mean(self, sums: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Sums over counts of all processes, on the CPU, float64."""
        both = torch.stack([sums.detach().to("cpu", torch.float64), counts.to(torch.float64)])
        if self._talk is not None:
            dist.all_reduce(both, group=self._talk)
        return both[0] / both[1]


@contextmanager
def joined(device: str, precision: str, expected: int | None) -> Iterator[Processes]:
    """All processes together, with accelerate's view of them checked against the environment's.

    `device` is "cpu" or "cuda", `precision` "fp32" or "bf16".
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    count = check_count(expected)
    if device == "cuda":
        check_devices()
    # Its state outlives it: without this a second training in one process could not use another device or precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    together = [
        DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
        InitProcessGroupKwargs(backend="nccl" if device == "cuda" else "gloo", timeout=PATIENCE),
    ]
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision="bf16" if precision == "bf16" else "no",
        kwargs_handlers=together if count > 1 else None,
    )
    try:
        if accelerator.num_processes != count:
            raise GatlasError(
                f"{count} processes were started, but accelerate sees {accelerator.num_processes}: start them with "
                "torchrun, and without accelerate's own launcher"
            )
        yield Processes(accelerator)
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on the device, whatever holds them."""
    from accelerate.utils import send_to_device

    return batch if device.type == "cpu" else send_to_device(batch, device, non_blocking=True)
