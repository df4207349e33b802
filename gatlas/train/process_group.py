"""The processes of one training: their number, their devices, and what they synchronize."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist

from gatlas.errors import GatlasError
from gatlas.raster.devices import computes_bf16
from gatlas.train.sharding import gather_on_first, shard

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from gatlas.train.sharding import Fetch, TensorPart

Result = TypeVar("Result")
TIMEOUT = timedelta(hours=1)  # of a process that waits, as while the first one writes a large checkpoint
_trainings = itertools.count()  # of this process, and as many of all those that it trains with


class Status(NamedTuple):
    """State shared by all processes after a synchronization."""

    stop: bool  # one of them was asked to stop
    failure: str | None  # the message of the first one that failed


def choose_precision(device: str, precision: str) -> str:
    """Return "fp32" or "bf16" for the wanted precision on "cpu" or "cuda"; what is not there is a GatlasError."""
    if precision == "auto":
        return "bf16" if device == "cuda" and computes_bf16() else "fp32"
    if precision == "bf16" and device == "cpu":
        raise GatlasError("precision bf16 is for CUDA; on the CPU it ruins the training: use fp32")
    return precision


def is_first_process() -> bool:
    """Return True in the process that reports, and where there is one only."""
    return os.environ.get("RANK", "0") == "0"


def check_count(expected: int | None) -> int:
    """Return the number of processes by the environment; another one than `expected` is a GatlasError."""
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
    """Raise a GatlasError where more processes were started on this machine than it has CUDA devices."""
    text, count = os.environ.get("LOCAL_WORLD_SIZE", "1"), torch.cuda.device_count()
    if text.isdigit() and int(text) > count:  # in all of them: a process that ends alone leaves the others waiting
        raise GatlasError(
            f"{text} processes were started on a machine where torch sees {count} CUDA device{'s' * (count != 1)}: "
            f"start one for each with torchrun --nproc-per-node {count}, or use --device cpu"
        )


class ProcessGroup:
    """This process and those that it trains with. Made by `process_group`."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.count, self.rank, self.device = accelerator.num_processes, accelerator.process_index, accelerator.device
        self.is_first = self.rank == 0
        # Messages go over the hosts, so that no GPU is waited for.
        self._hosts = dist.new_group(backend="gloo", timeout=TIMEOUT) if self.count > 1 else None

    def sync(self, *, stop: bool = False, failure: str | None = None) -> Status:
        """Return whether any process has to stop or has failed. All must call this at the same point of their work."""
        if self._hosts is None:
            return Status(stop, failure)
        flags = torch.tensor([int(stop), int(failure is not None)])
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._hosts)
        if not flags[1]:
            return Status(bool(flags[0]), None)
        failures: list[str | None] = [None] * self.count
        dist.all_gather_object(failures, failure, group=self._hosts)
        return Status(bool(flags[0]), next(each for each in failures if each is not None))

    def on_first(self, work: Callable[[], Result]) -> Result | None:
        """Return the result of `work` in the first process, None in the others; its GatlasError is raised in all."""
        result, failure = None, None
        if self.is_first:
            try:
                result = work()
            except GatlasError as error:
                failure = str(error)
        if (failure := self.sync(failure=failure).failure) is not None:
            raise GatlasError(failure)
        return result

    def parallel(self, network: nn.Module, *, fsdp: bool) -> nn.Module:
        """Return the network as it is called in training; with `fsdp` its weights are divided over the processes."""
        parallel: nn.Module = self.accelerator.prepare_model(network, evaluation_mode=fsdp)  # True: autocast alone
        if fsdp:
            shard(network, self.device.type)
        return parallel

    def gather_on_first(self, parts: Mapping[str, TensorPart], work: Callable[[Fetch], None]) -> None:
        """Run `work` in the first process: see `gatlas.train.sharding.gather_on_first`."""
        gather_on_first(parts, work, self._hosts)

    def mean(self, sums: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Return the sums over the counts of all processes, on the CPU, float64."""
        both = torch.stack([sums.detach().to("cpu", torch.float64), counts.to(torch.float64)])
        if self._hosts is not None:
            dist.all_reduce(both, group=self._hosts)
        return both[0] / both[1]


@contextmanager
def process_group(device: str, precision: str, expected: int | None) -> Iterator[ProcessGroup]:
    """Yield the group of all processes, with accelerate's view of them checked against the environment's.

    `device` is "cpu" or "cuda", `precision` "fp32" or "bf16".
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    count = check_count(expected)
    if device == "cuda":
        check_devices()
    # Its state outlives it: without this a second training in one process could not use another device or precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    if count > 1 and not dist.is_initialized():
        _connect("nccl" if device == "cuda" else "gloo")
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)]
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision="bf16" if precision == "bf16" else "no",
        kwargs_handlers=handlers if count > 1 else None,
    )
    try:
        if accelerator.num_processes != count:
            raise GatlasError(
                f"{count} processes were started, but accelerate sees {accelerator.num_processes}: start them with "
                "torchrun, and without accelerate's own launcher"
            )
        yield ProcessGroup(accelerator)
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


def _connect(backend: str) -> None:
    """Make torch's process group, of the processes that the environment describes.

    accelerate would make it without a store. torchrun's store outlives a training, and torch names the groups of the
    next one alike: its processes would find the addresses of the last one there.
    """
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(rendezvous("env://", timeout=TIMEOUT))
    named = dist.PrefixStore(f"training-{next(_trainings)}", store)
    dist.init_process_group(backend, store=named, rank=rank, world_size=count, timeout=TIMEOUT)


def to_device(batch: Any, device: torch.device) -> Any:
    """Return the batch with its tensors on the device, whatever holds them."""
    from accelerate.utils import send_to_device

    return batch if device.type == "cpu" else send_to_device(batch, device, non_blocking=True)
