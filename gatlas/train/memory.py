"""The memory of a training on its device, counted without allocating any of it: `gatlas train --dry-run`.

A step's own code runs on tensors without values (torch's FakeTensorMode), and the bytes of what it makes are counted
while they are alive. Tensors are counted as of a CPU, since without a GPU torch cannot differentiate others; what
autocast does otherwise on CUDA, normalizations in float32, is done here, too.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from gatlas.train.optimizer import moment_bytes
from gatlas.train.sharding import blocks_of

if TYPE_CHECKING:
    from torch import Tensor

    from gatlas.systems.contract import System
    from gatlas.train.options import TrainOptions

BLOCK = 512  # bytes, to multiples of which CUDA's allocator rounds


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of a training on the device of each process, and what they are for."""

    parameters: int  # of the network
    trained: int  # of these
    batch: int  # samples at once
    samples: int  # of a step, over all processes
    tokens: int  # of a step: what the network denoises or predicts of each sample, such as cells of an atlas
    steps: int
    precision: str  # "fp32" or "bf16", of the network's layers; weights are fp32
    gradient_checkpointing: bool
    weights: int  # bytes, as all below
    gradients: int
    optimizer: int
    average: int  # of the weights (EMA)
    frozen: int  # networks beside the one that is trained
    gathered: int  # with --fsdp: whole blocks of weights in use and on their way, and of gradients before they are cut
    activations: int  # the most at any time of a step: what is kept for the backward pass, and what is in work
    peak: int  # less than the sum: the last gradients come when most activations are gone

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make inside, while they are alive, in blocks of the allocator."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.gradients = 0  # of `now`, as `note_gradients` was told
        self.peak_beside = 0  # the most of `now` beside the gradients
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage())
        return result

    def note_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Count the gradients of the weights as such, from the moment on that each has one."""
        seen: set[int] = set()

        def note(weight: Tensor) -> None:
            if weight.grad is not None and id(weight) not in seen:
                seen.add(id(weight))
                self.gradients += _blocks(weight.grad.untyped_storage().nbytes())

        for weight in weights:
            weight.register_post_accumulate_grad_hook(note)

    def _add(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known[key] = size = _blocks(storage.nbytes())
        self.now += size
        self.peak = max(self.peak, self.now)
        self.peak_beside = max(self.peak_beside, self.now - self.gradients)
        weakref.finalize(storage, self._remove, key).atexit = False

    def _remove(self, key: int) -> None:
        self.now -= self._known.pop(key)


class _MixedPrecision(nn.Module):
    """A network as accelerate prepares it for bf16: under autocast, with results in float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for layer in network.modules():
            if isinstance(layer, (nn.GroupNorm, nn.LayerNorm)):
                layer.register_forward_pre_hook(_in_float32)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = self.network(*inputs, **named)
        return tree_map(_float32, result)


def _in_float32(layer: nn.Module, inputs: tuple[Any, ...]) -> Any:
    """Convert the inputs of a layer to float32, as autocast does on CUDA."""
    return tuple(map(_float32, inputs))


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def count_memory(
    system: System,
    options: TrainOptions,
    *,
    precision: str,
    processes: int = 1,
    fsdp: bool = False,
    ema_host: bool = False,
    eight_bit: bool = False,
) -> TrainingMemory:
    """Return the memory of training a system of `outline`, of which the values are taken; "fp32" or "bf16".

    `fsdp`, `ema_host` and `eight_bit` are what the options of `gatlas.train.train` say. What CUDA itself, its
    libraries' workspaces and fragmentation take comes on top: 1 to 2 GiB.
    """
    system.begin_training()
    if options.gradient_checkpointing:
        system.checkpoint_gradients()
    network, live = system.network.train(), LiveBytes()
    with FakeTensorMode(allow_non_fake_inputs=True):
        frozen = sum(_take_values(each) for each in system.frozen())
        weights = _take_values(network)
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        parallel = _MixedPrecision(network) if precision == "bf16" else network
        live.note_gradients(trained)
        # Gradients of earlier batches, and the buckets in which several processes add them, stay while others come.
        passes = 2 if options.accumulate > 1 or processes > 1 else 1
        with live:
            for _ in range(passes):
                torch.autograd.backward(system.trial_loss(parallel, options.batch))
    gradients = sum(4 * weight.numel() for weight in trained if weight.grad is not None)
    optimizer, average = moment_bytes(trained, eight_bit=eight_bit), sum(4 * weight.numel() for weight in trained)
    step_peak, gathered = live.peak, 0
    if fsdp:
        gathered = _gathered_bytes(network)
        step_peak -= gradients - gradients // processes
        weights, gradients, optimizer, average = (
            each // processes for each in (weights, gradients, optimizer, average)
        )
        step_peak = max(step_peak, live.peak_beside)
    average = 0 if ema_host else average
    samples = options.batch * options.accumulate * processes
    return TrainingMemory(
        parameters=sum(weight.numel() for weight in network.parameters()),
        trained=sum(weight.numel() for weight in trained),
        batch=options.batch,
        samples=samples,
        tokens=samples * system.tokens,
        steps=options.steps,
        precision=precision,
        gradient_checkpointing=options.gradient_checkpointing,
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        average=average,
        frozen=frozen,
        gathered=gathered,
        activations=live.peak_beside,
        peak=weights + optimizer + average + frozen + gathered + step_peak,
    )


def _take_values(module: nn.Module) -> int:
    """Replace all tensors of a module by float32 ones without values, and return their bytes."""
    made: dict[int, Any] = {}
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    kind = torch.float32 if tensor.is_floating_point() else tensor.dtype
                    blank = torch.empty(tensor.shape, dtype=kind, device="cpu")
                    parameter = isinstance(tensor, nn.Parameter)
                    made[id(tensor)] = nn.Parameter(blank, tensor.requires_grad) if parameter else blank
                tensors[name] = made[id(tensor)]
    return sum(each.numel() * each.element_size() for each in made.values())


def _gathered_bytes(network: nn.Module) -> int:
    """Return the bytes of two whole blocks and of the gradients of one, and of both for what is in no block."""
    blocks = blocks_of(network)
    sizes, known = [0], set()
    for block in blocks:
        own = [weight for weight in block.parameters() if id(weight) not in known]
        known |= {id(weight) for weight in own}
        sizes.append(sum(4 * weight.numel() for weight in own))
    rest = sum(4 * weight.numel() for weight in network.parameters() if id(weight) not in known)
    return 3 * max(sizes) + 2 * rest


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def describe_memory(memory: TrainingMemory) -> str:
    """Return a table of the memory of a training, for people."""
    all_trained = memory.trained == memory.parameters
    share = "all trained" if all_trained else f"{memory.trained / 1e6:,.1f} M trained"
    checkpointing = "with" if memory.gradient_checkpointing else "without"
    rows = [
        ("parameters", f"{memory.parameters / 1e6:,.1f} M, {share}"),
        ("step", f"{memory.samples:,} samples, {memory.tokens:,} tokens"),
        ("training", f"{memory.steps:,} steps, {memory.steps * memory.samples:,} samples"),
        ("computed", f"in {memory.precision}, {memory.batch} samples at once, {checkpointing} gradient checkpointing"),
    ]
    for name in ("weights", "gradients", "optimizer", "average", "frozen", "gathered", "activations", "peak"):
        rows.append((name, f"{getattr(memory, name) / 2**30:8.2f} GiB"))
    return "".join(f"{name:12} {value}\n" for name, value in rows)
