"""Weights, gradients and moments that are divided over the processes of a training: torch's fully_shard (FSDP).

Every tensor is cut along its first dimension, as torch.chunk cuts it. What is written, and looked at, is whole: the
first process gathers one tensor at a time.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from torch import Tensor, nn

BLOCK = 1 << 24  # weights, at least, that are gathered and freed together

Fetch = Callable[[str, "Tensor"], object]  # fills a tensor with the whole one of a name


class TensorPart(NamedTuple):
    """The share of a tensor that this process has."""

    values: Tensor
    shape: torch.Size  # of the whole tensor
    divided: bool  # False: `values` is the whole tensor

    def rows_of(self, whole: Tensor) -> Tensor:
        """Return the part of a whole tensor that belongs to this process."""
        return _rows(whole, dist.get_world_size(), dist.get_rank()) if self.divided else whole


def part_of(tensor: Tensor) -> TensorPart:
    """Return what this process has of a tensor, which shares its memory."""
    divided: Any = tensor.detach()
    if hasattr(divided, "to_local"):
        return TensorPart(divided.to_local(), tensor.shape, True)
    return TensorPart(divided, tensor.shape, False)


def whole_scalar(value: Tensor) -> Tensor:
    """Return a number over all processes, where it is a sum that is divided over them; all must call this."""
    divided: Any = value
    return divided.full_tensor() if hasattr(divided, "full_tensor") else value


def gather_on_first(
    parts: Mapping[str, TensorPart], work: Callable[[Fetch], None], group: dist.ProcessGroup | None
) -> None:
    """Run `work` in the first process, with a function that gathers a whole tensor by its name.

    All processes call this, with parts of the same names in the same order; the others send what is asked for until
    `work` ends, also by an exception. `group` is of the hosts; None: there is one process.
    """
    names = {name: number for number, name in enumerate(name for name, part in parts.items() if part.divided)}

    def ask(number: int) -> int:
        message = torch.tensor(number)
        dist.broadcast(message, 0, group=group)
        return int(message)

    def fetch(name: str, into: Tensor) -> None:
        if name not in names:
            into.copy_(parts[name].values)
            return
        ask(names[name])
        count = dist.get_world_size()
        _rows(into, count, 0).copy_(parts[name].values)
        for rank in range(1, count):
            if (rows := _rows(into, count, rank)).numel():
                dist.recv(rows, rank, group=group)

    if group is None or dist.get_rank() == 0:
        try:
            work(fetch)
        finally:
            if names:
                ask(-1)
    elif names:
        ordered = list(names)
        while (number := ask(-1)) >= 0:
            if (values := parts[ordered[number]].values).numel():
                dist.send(values.cpu().contiguous(), 0, group=group)


def skeleton_of(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose weights are on the meta device, and whose buffers are the network's own."""
    memo: dict[int, Any] = {id(buffer): buffer for buffer in network.buffers()}
    for weight in network.parameters():
        memo[id(weight)] = torch.nn.Parameter(torch.empty_like(weight, device="meta"), weight.requires_grad)
    return copy.deepcopy(network, memo)


def with_weights(skeleton: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a skeleton that has the weights, by one of the names of each."""
    network = copy.deepcopy(skeleton)
    names: dict[int, list[str]] = {}
    for name, weight in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name)
    state = {name: value for same in names.values() for value in [_any_of(weights, same)] for name in same}
    network.load_state_dict(state, strict=False, assign=True)
    return network


def shard(network: nn.Module, device: str) -> None:
    """Divide the parameters of a network over all processes, in place; all begin with those of the first.

    Blocks of `BLOCK` weights or more are gathered before they are used, and freed after it.
    """
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError:
        raise GatlasError("--fsdp needs torch 2.6 or later: pip install -U torch") from None
    from torch.distributed.device_mesh import init_device_mesh

    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            dist.broadcast(tensor.detach(), 0)
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    for module in (*blocks_of(network), network):
        # The outermost too: looks at the network between two steps must not leave other weights in it.
        fully_shard(module, mesh=mesh, reshard_after_forward=True)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Return the smallest modules with `BLOCK` weights of their own, inner ones first; shared weights are in none."""
    modules = list(network.modules())
    uses = Counter(id(weight) for module in modules for weight in module.parameters(recurse=False))
    parents = Counter(id(child) for module in modules for child in module.children())
    blocks: list[nn.Module] = []

    def visit(module: nn.Module) -> tuple[int, bool]:
        """Return the number of its weights that are in no block, and True if all of it is used once."""
        own = list(module.parameters(recurse=False))
        inner = [visit(child) for child in module.children()]
        count = sum(weight.numel() for weight in own) + sum(each for each, _ in inner)
        once = parents[id(module)] <= 1 and all(uses[id(weight)] == 1 for weight in own) and all(o for _, o in inner)
        called = type(module).forward is not torch.nn.Module.forward  # not a list of modules
        if module is network or count < BLOCK or not once or not called:
            return count, once
        blocks.append(module)
        return 0, True

    visit(network)
    return blocks


def _rows(tensor: Tensor, count: int, rank: int) -> Tensor:
    """Return the rows of one of `count` processes: as many for each, fewer or none for the last ones."""
    each = -(-len(tensor) // count)
    return tensor[rank * each : (rank + 1) * each]


def _any_of(weights: Mapping[str, Tensor], names: list[str]) -> Tensor:
    return next(weights[name] for name in names if name in weights)
