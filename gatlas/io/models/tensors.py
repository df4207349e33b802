"""Weights as safetensors, and the JSON next to them: data, never code. Pickles are not read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io.json_reader import read_json_object
from gatlas.io.streams import opened_file, os_errors, read

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Shapes = Mapping[str, Sequence[int]]  # of tensors, by name

_NAMED = 3  # weights that a message names
_MAPPED = 1 << 26  # bytes of a file that stay mapped into memory
_CHECKED = 1 << 18  # numbers that are checked at once
# Names of torch's kinds of numbers in a file, in the order in which safetensors lays them: the largest first.
_KINDS = {
    "uint64": "U64", "int64": "I64", "float64": "F64", "complex64": "C64", "float32": "F32", "uint32": "U32",
    "int32": "I32", "bfloat16": "BF16", "float16": "F16", "uint16": "U16", "int16": "I16", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
_ORDER = {kind: place for place, kind in enumerate(_KINDS)}
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5")


def read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file. Anything else is a GatlasError."""
    return read_json_object(read(path))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as indented JSON. NaN and values that JSON does not know are the caller's mistake."""
    text = json.dumps(dict(value), indent=2, sort_keys=True, allow_nan=False) + "\n"
    with os_errors(path):
        path.write_text(text)


def weight_files(folder: Path, stem: str) -> list[Path]:
    """The safetensors of a part: one file, the shards that its index names, or the half-precision variant."""
    whole, index, half = (
        folder / f"{stem}{end}" for end in (".safetensors", ".safetensors.index.json", ".fp16.safetensors")
    )
    if whole.is_file():
        return [whole]
    if index.is_file():
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
            raise GatlasError(f"{index}: damaged: it has no 'weight_map' from weights to files")
        names = sorted(set(shards.values()))
        if any(Path(name).name != name for name in names):
            raise GatlasError(f"{index}: damaged: its shards must lie next to it")
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise GatlasError(f"{folder}: lacks {missing[0]:.200}, which its index names: copy or download it again")
        return [folder / name for name in names]
    if half.is_file():
        return [half]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise GatlasError(
            f"{folder}: its weights are in {pickles[0]}; gatlas reads safetensors only, which hold no code: "
            "load the folder with diffusers in a place that you trust it and write it again with save_pretrained"
        )
    raise GatlasError(f"{folder}: has no weights: there is no {whole.name}: copy or download it again")


def noted(file: Path) -> dict[str, str]:
    """Return what the header of a safetensors file says beside its tensors. Damage is a GatlasError."""
    from safetensors import SafetensorError, safe_open

    try:
        with os_errors(file), file.open("rb"), safe_open(file, framework="numpy") as stored:
            return stored.metadata() or {}
    except SafetensorError as error:
        raise GatlasError(f"{file}: truncated or damaged ({error}): copy or download it again") from None


def tensor_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a safetensors file, from its header alone; {} of any other file."""
    from safetensors import SafetensorError, safe_open

    with opened_file(path) as file:
        head = file.read(9)
    if head[8:] != b"{":
        return {}
    try:
        with safe_open(str(path), framework="numpy") as stored:
            return {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return {}


class StoredTensors(Mapping[str, "Tensor"]):
    """The tensors of a safetensors file by name, read one at a time.

    Each is a view of the file, mapped into memory: copy what is to be kept. Little of the file stays in memory behind
    it. Damage is a GatlasError that ends in the `remedy`, as are NaN and infinity.
    """

    def __init__(self, path: Path, *, remedy: str = "copy or download it again") -> None:
        self._path, self._remedy = path, remedy
        with self._errors(), path.open("rb"):  # safetensors calls every failure "no such file"
            self._open()
            self._names = dict.fromkeys(self._file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with self._errors():
            tensor: Tensor = self._file.get_tensor(name)
            if self._mapped and self._mapped + tensor.nbytes > _MAPPED:
                del tensor
                self._open()  # with the former mapping go its pages
                tensor = self._file.get_tensor(name)
            self._mapped += tensor.nbytes
            if not all(bool(part.isfinite().all()) for part in tensor.reshape(-1).split(_CHECKED)):
                raise GatlasError(f"{self._path}: damaged: '{name:.200}' holds NaN or infinity: {self._remedy}")
            return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _open(self) -> None:
        from safetensors import safe_open

        self._file, self._mapped = safe_open(self._path, framework="pt", device="cpu"), 0

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from safetensors import SafetensorError

        try:
            with os_errors(self._path):
                yield
        except (SafetensorError, RuntimeError) as error:  # RuntimeError: of a kind of number that torch cannot check
            raise GatlasError(f"{self._path}: truncated or damaged ({error}): {self._remedy}") from None


def read_tensors(
    files: Iterable[Path], dtype: torch.dtype | None = None, *, remedy: str = "copy or download it again"
) -> dict[str, Tensor]:
    """All tensors of some safetensors on the CPU, floating ones in `dtype`. Errors as for `StoredTensors`."""
    tensors: dict[str, Tensor] = {}
    for path in files:
        for name, stored in StoredTensors(path, remedy=remedy).items():
            # A copy, so that nothing is left mapped to a file that may be removed.
            kind = dtype if dtype is not None and stored.is_floating_point() else stored.dtype
            tensors[name] = stored.to(kind, copy=True)
    return tensors


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    fetch: Callable[[str, Tensor], object] | None = None,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write tensors as one safetensors file; the same tensors give the same bytes, those of safetensors itself.

    The `notes` go into its header, for `noted`.

    They are written one after the other; what is not on the host, or not contiguous, passes through one buffer. With
    `fetch` all do: it fills the tensor that it is given, and of those in `tensors` only shapes and kinds are used.
    """
    import torch

    kinds = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    if unknown := [f"{name} is {kind}" for name, kind in kinds.items() if kind not in _KINDS]:
        raise ValueError(f"safetensors has no such numbers: {unknown[0]}")
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **notes}}
    names = sorted(tensors, key=lambda name: (_ORDER[kinds[name]], name))
    end = 0
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        header[name] = {"dtype": _KINDS[kinds[name]], "shape": list(tensors[name].shape), "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    buffer = None
    with os_errors(path), path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            tensor = tensors[name].detach()
            if fetch is not None or tensor.device.type != "cpu" or not tensor.is_contiguous():
                if buffer is None:  # the allocator would not give back all of many small ones
                    buffer = torch.empty(max(each.nbytes for each in tensors.values()), dtype=torch.uint8)
                host = buffer[: tensor.nbytes].view(tensor.dtype).view(tensor.shape)
                fetch(name, host) if fetch is not None else host.copy_(tensor)
                tensor = host
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)


def fill(network: nn.Module, tensors: Mapping[str, Tensor], source: Path, *, prefix: str = "") -> None:
    """Give a network that was made on the meta device its weights; `prefix` may stand before any of the names.

    A weight that is missing or of another shape is a GatlasError; tensors that the network does not know are left out.
    """
    stored = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    state = {}
    for name, wanted in network.state_dict().items():
        found = stored.get(name.removeprefix(prefix))
        if found is None:
            raise GatlasError(f"{source}: its weights lack '{name:.200}', which its config.json asks for")
        if found.shape != wanted.shape:
            raise GatlasError(
                f"{source}: '{name:.200}' has shape {list(found.shape)}, "
                f"and its config.json asks for {list(wanted.shape)}"
            )
        if found.is_floating_point() != wanted.is_floating_point():
            raise GatlasError(
                f"{source}: '{name:.200}' holds {found.dtype}, and its config.json asks for {wanted.dtype}"
            )
        state[name] = found
    network.load_state_dict(state, assign=True)


def check_weights(source: Path, found: Mapping[str, Tensor], shapes: Shapes, advice: str) -> None:
    """Raise a GatlasError where names or shapes are not those of the network. It ends in the advice."""
    missing = [name for name in shapes if name not in found]
    extra = [name for name in found if name not in shapes]
    for names, fault in ((missing, "lacks"), (extra, "has unknown")):
        if names:
            rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            listed = ", ".join(f"'{name}'" for name in names[:_NAMED])
            raise GatlasError(f"{source}: {fault} weights {listed}{rest}: {advice}")
    wrong = [name for name, shape in shapes.items() if tuple(found[name].shape) != tuple(shape)]
    if wrong:
        name = wrong[0]
        rest = f" (and {len(wrong) - 1} more are wrong)" if len(wrong) > 1 else ""
        sizes = f"{list(found[name].shape)}, and the network has {list(shapes[name])}"
        raise GatlasError(f"{source}: '{name}' has shape {sizes}{rest}: {advice}")


def check_floating(source: Path, found: Mapping[str, Tensor], advice: str) -> None:
    """Raise a GatlasError where weights are integers. It ends in the advice."""
    whole = next((name for name, weight in found.items() if not weight.is_floating_point()), None)
    if whole is not None:
        raise GatlasError(f"{source}: '{whole}' holds {found[whole].dtype}, which no weight is: {advice}")
