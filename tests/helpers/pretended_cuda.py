"""A pretended CUDA device: tensors that say `cuda:0`, hold their values on the CPU, and meet no real CPU tensor.

Inside `pretended_cuda()` torch finds one device. Every operation on its tensors runs on the CPU, and is refused where
CUDA would refuse it: a tensor of the CPU beside one of the device (a number in a tensor of no dimensions and CPU
indices apart), `numpy()` of a tensor on the device, a generator of the other device. So code written for CUDA runs
whole, with real values, where no GPU is.

For C++ the tensors are on the CPU, as a build without CUDA cannot differentiate others; Python sees the device.
Operations are watched in the thread that entered the context, and in none of its child processes.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # else imported at the first operation that is watched, and confused by what is replaced then
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

DEVICE = torch.device("cuda", 0)
CPU = torch.device("cpu")
aten = torch.ops.aten

# What takes tensors of both devices: copies, and what has no values of its own.
ANY_DEVICES = {"aten::copy_", "aten::_to_copy", "aten::_foreach_copy_", "aten::_foreach_copy", "aten::set_"}
# What has to wait for the device, as its result decides what is done next or how large it is.
WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero"}
# What takes indices on the CPU for values on the device.
INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}


class OnDevice(torch.Tensor):
    """A tensor of the pretended device; `held` are its values, a plain CPU tensor."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnDevice:
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=CPU
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held.detach()

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], *_: Any) -> OnDevice:
        return OnDevice(inner["held"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    device = property(lambda self: DEVICE)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @property
    def data(self) -> OnDevice:
        return self.detach()

    @data.setter
    def data(self, values: torch.Tensor) -> None:
        if not isinstance(values, OnDevice):
            raise NotImplementedError("a tensor on the pretended device stays there")
        torch._C.TensorBase.data.__set__(self, values)
        self.held = values.held

    def get_device(self) -> int:
        return 0

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return moved(self, *args, **kwargs)

    def cpu(self, *_: Any, **__: Any) -> torch.Tensor:
        return moved(self, CPU)

    def cuda(self, *_: Any, **__: Any) -> torch.Tensor:
        return self

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(
                f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
                "memory first."
            )
        return self.held.numpy(force=True)

    def __array__(self, *_: Any) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        note_wait()
        return self.held.tolist()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def untyped_storage(self) -> Any:
        return self.held.untyped_storage()

    def pin_memory(self, *_: Any) -> torch.Tensor:
        raise RuntimeError(f"cannot pin '{DEVICE}': only dense CPU tensors can be pinned")

    def __repr__(self, *_: Any, **__: Any) -> str:  # type: ignore[override]
        return f"OnDevice({self.held!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return torch.Tensor.cuda, (self.held,)

    def __deepcopy__(self, memo: dict[int, Any]) -> OnDevice:
        copy = OnDevice(self.held.clone()).requires_grad_(self.requires_grad)
        if getattr(self, "_is_param", False):
            copy._is_param = True  # type: ignore[attr-defined]
        memo[id(self)] = copy
        return copy


class OnDeviceGenerator(torch.Generator):
    """A generator of the pretended device, with the draws of the CPU's."""

    device = property(lambda self: DEVICE)

    def __new__(cls, device: Any = None) -> Any:
        if device is None or torch.device(device).type != "cuda":
            return GENERATOR(*(() if device is None else (device,)))
        return GENERATOR.__new__(cls)

    def __init__(self, device: Any = None) -> None:
        pass


GENERATOR = torch.Generator


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation on the values, refusing what CUDA refuses."""
    given = tensors_of((*args, *kwargs.values()))
    present = any(isinstance(tensor, OnDevice) for tensor in given)
    asked = kwargs.get("device")
    if not present and (asked is None or asked.type != "cuda"):
        out = func(*args, **kwargs)
        if (_Calls.on_device or in_backward()) and isinstance(out, torch.Tensor) and all(map(of_either, given)):
            out.of_either = True  # made by torch inside an operation or for a gradient: C++ does not see the device
        return out
    if present:
        check_devices(func, args, given)
        if func._schema.name in WAITS:
            note_wait()
    if asked is not None:
        kwargs = {**kwargs, "device": CPU}
    if kwargs.get("pin_memory"):
        kwargs = {**kwargs, "pin_memory": False}
    out = func(*replaced(args, held), **{name: replaced(each, held) for name, each in kwargs.items()})
    if args and is_plain(args[0], func):
        return out
    wrapped = replaced(out, lambda leaf: OnDevice(leaf) if isinstance(leaf, torch.Tensor) else leaf)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if present else wrapped


def of_either(tensor: torch.Tensor) -> bool:
    return getattr(tensor, "of_either", False)


def in_backward() -> bool:
    return bool(torch._C._current_graph_task_id() != -1)


def is_plain(target: Any, func: Any) -> bool:
    """Tell if an operation writes into a tensor of the CPU, as a copy from the device does."""
    return func._schema.is_mutable and isinstance(target, torch.Tensor) and not isinstance(target, OnDevice)


def tensors_of(tree: Any) -> list[torch.Tensor]:
    found = []
    for each in tree:
        if isinstance(each, torch.Tensor):
            found.append(each)
        elif isinstance(each, (list, tuple)):
            found += tensors_of(each)
    return found


def replaced(tree: Any, change: Any) -> Any:
    """The arguments or results of an operation with each leaf changed."""
    if isinstance(tree, (list, tuple)):
        return type(tree)(replaced(each, change) for each in tree)
    return change(tree)


def held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, OnDevice) else leaf


def check_devices(func: Any, args: Any, given: list[torch.Tensor]) -> None:
    """Raise torch's RuntimeError where an operation that has a tensor of the device mixes devices as CUDA would not."""
    name = func._schema.name
    plain = [each for each in given if not isinstance(each, OnDevice) and not of_either(each)]
    if not plain or name in ANY_DEVICES:
        return
    if name in INDEXED:
        values = args[2:3] if "put" in name else ()
        if not isinstance(args[0], OnDevice) or any(not isinstance(each, OnDevice) and each.dim() for each in values):
            raise_mixed(name)
        return
    # A number may come from the CPU where an operation has two operands, or beside the list of a `foreach` or a fuse.
    lists = [arg for arg in args if isinstance(arg, (list, tuple))]
    if lists and tensors_of(lists):
        numbers = name.startswith(("aten::_foreach_", "aten::_fused_"))
        numbers &= all(isinstance(each, OnDevice) for each in tensors_of(lists))
    else:
        binary = torch.Tag.pointwise in func.tags and len(given) == 2
        numbers = binary or name.startswith(("aten::fill", "aten::where"))
    written = func._schema.is_mutable and any(args[0] is each for each in plain)
    if written or not numbers or any(tensor.dim() for tensor in plain):
        raise_mixed(name)


def raise_mixed(name: str) -> None:
    raise RuntimeError(
        f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu! ({name})"
    )


class _Across(torch.autograd.Function):
    """A copy on the other device, and of its gradient back."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(tensor, OnDevice):
            note_wait()
        return tensor.held.clone() if isinstance(tensor, OnDevice) else OnDevice(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _Across.apply(gradient)


PLAIN_TO = torch.Tensor.to


def moved(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """`Tensor.to` between the two devices."""
    copy = kwargs.pop("copy", False)
    if args and isinstance(args[0], torch.Tensor):
        device, dtype, layout = args[0].device, args[0].dtype, None
    else:
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
    if dtype is not None or copy or layout is not None:
        extra = {} if layout is None else {"memory_format": layout}
        tensor = PLAIN_TO(tensor, tensor.dtype if dtype is None else dtype, copy=copy, **extra)
    if device is None or (device.type == "cuda") == isinstance(tensor, OnDevice):
        return tensor
    if device.type not in ("cpu", "cuda"):
        raise NotImplementedError(f"the pretended device has no neighbor {device}")
    return _Across.apply(tensor)


_noted: list[list[str]] = []  # of the contexts of `noted_waits` that are entered


def note_wait() -> None:
    """Note the line of gatlas that waits. C++ takes gradients to be on the CPU, to where torch's clipping copies."""
    stack = traceback.extract_stack() if _noted else []
    if any(frame.filename.endswith("clip_grad.py") for frame in stack):
        return
    for places in _noted:
        frames = [frame for frame in stack if f"{os.sep}gatlas{os.sep}" in frame.filename]
        places.append(f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?")


@contextlib.contextmanager
def noted_waits() -> Iterator[list[str]]:
    """Note the lines of gatlas that wait for the pretended device: what reads one of its values, or copies it."""
    places: list[str] = []
    _noted.append(places)
    try:
        yield places
    finally:
        _noted.remove(places)


class _Watch(TorchDispatchMode):
    """Sees the operations without a tensor of the device among their arguments: what makes tensors on it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """Knows of calls of torch's functions on tensors of the device, and refuses a generator of the other device."""

    on_device = 0  # calls in progress

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        generator = kwargs.get("generator")
        here = any(isinstance(tensor, OnDevice) for tensor in tensors_of((*args, *kwargs.values())))
        _Calls.on_device += here
        try:
            out = func(*args, **kwargs)
        finally:
            _Calls.on_device -= here
        if generator is not None and isinstance(out, torch.Tensor) and out.device.type != generator.device.type:
            wanted, got = out.device.type, generator.device.type
            raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{got}'")
        return out


def _made_there(make: Any) -> Any:
    """`torch.tensor` and its like, which read data on the CPU."""

    def made(data: Any, *args: Any, device: Any = None, requires_grad: bool = False, **kwargs: Any) -> torch.Tensor:
        there = isinstance(data, OnDevice) if device is None else torch.device(device).type == "cuda"
        if isinstance(data, OnDevice):
            data = data if make is not torch.tensor and there else data.held
        tensor = make(data, *args, **kwargs)
        tensor = moved(tensor, DEVICE if there else CPU)
        return tensor.requires_grad_() if requires_grad else tensor

    return made


def _nothing(*_: Any, **__: Any) -> None:
    return None


@contextlib.contextmanager
def pretended_cuda() -> Iterator[None]:
    """Inside, torch finds one CUDA device, which can everything that gatlas asks for."""
    autocast = torch.amp.autocast_mode.autocast.__init__

    def autocast_there(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        autocast(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    properties = SimpleNamespace(name="pretended", major=9, minor=0, total_memory=2**34, multi_processor_count=1)
    answers = {
        "is_available": True,
        "is_initialized": True,
        "_is_in_bad_fork": False,
        "device_count": 1,
        "current_device": 0,
        "get_device_capability": (9, 0),
        "get_device_name": "pretended",
        "get_device_properties": properties,
        "is_bf16_supported": True,
        "mem_get_info": (2**33, 2**34),
        "max_memory_allocated": 2**20,
        "memory_allocated": 2**20,
    }
    silent = ("_lazy_init", "init", "set_device", "synchronize", "empty_cache", "reset_peak_memory_stats")
    with contextlib.ExitStack() as stack:

        def replace(owner: Any, name: str, by: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, by))

        for name, answer in answers.items():
            replace(torch.cuda, name, lambda *_, answer=answer, **__: answer)
        for name in (*silent, "manual_seed", "manual_seed_all"):
            replace(torch.cuda, name, _nothing)
        stream = SimpleNamespace(is_capturing=lambda: False, wait_stream=_nothing, synchronize=_nothing)
        for name, answer in {"Stream": stream, "current_stream": stream, "stream": contextlib.nullcontext()}.items():
            replace(torch.cuda, name, lambda *_, answer=answer, **__: answer)
        answers = {"is_available": True, "current_accelerator": DEVICE, "current_device_index": 0}
        for name, answer in {**answers, "current_stream": stream}.items():
            replace(torch.accelerator, name, lambda *_, answer=answer, **__: answer)
        replace(torch.accelerator, "set_device_index", _nothing)
        replace(torch.cuda, "device", lambda *_: contextlib.nullcontext())
        replace(torch.cuda, "get_rng_state", lambda *_: torch.get_rng_state())
        replace(torch.cuda, "set_rng_state", lambda state, *_: torch.set_rng_state(state))
        replace(torch, "Generator", OnDeviceGenerator)
        for name in ("tensor", "as_tensor", "asarray"):
            replace(torch, name, _made_there(getattr(torch, name)))
        replace(torch.Tensor, "to", moved)
        replace(torch.Tensor, "cuda", lambda self, *_, **__: moved(self, DEVICE))
        replace(torch.Tensor, "pin_memory", lambda self, *_: self)
        replace(torch.amp.autocast_mode.autocast, "__init__", autocast_there)
        stack.enter_context(_Watch())
        stack.enter_context(_Calls())
        yield
