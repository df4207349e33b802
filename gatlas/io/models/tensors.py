"""Weights as safetensors, and the JSON next to them: data, never code. Pickles are not read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io.json_reader import read_json_object
from gatlas.io.streams import opened_file, os_errors, read

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Shapes = Mapping[str, Sequence[int]]  # of tensors, by name

_NAMED = 3  # weights that a message names
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
    raise GatlasError(f"{folder}: has no weights: there is no {whole.name}")


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


def read_tensors(
    files: Iterable[Path], dtype: torch.dtype | None = None, *, remedy: str = "copy or download it again"
) -> dict[str, Tensor]:
    """All tensors of some safetensors on the CPU, floating ones in `dtype`.

    Damage is a GatlasError that ends in the `remedy`, as are NaN and infinity.
    """
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            with os_errors(path):
                with path.open("rb"):  # safetensors calls every failure "no such file"
                    pass
                with safe_open(path, framework="pt", device="cpu") as file:
                    for name in file.keys():  # noqa: SIM118  (it is no mapping)
                        stored = file.get_tensor(name)
                        # A copy, so that nothing is left mapped to a file that may be removed.
                        kind = dtype if dtype is not None and stored.is_floating_point() else stored.dtype
                        tensors[name] = stored.to(kind, copy=True)
                        if not bool(tensors[name].isfinite().all()):
                            raise GatlasError(f"{path}: damaged: '{name:.200}' holds NaN or infinity: {remedy}")
        except (SafetensorError, RuntimeError) as error:  # RuntimeError: of a kind of number that torch cannot check
            raise GatlasError(f"{path}: truncated or damaged ({error}): {remedy}") from None
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as one safetensors file; the same tensors give the same bytes."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with os_errors(path):
            path.touch()
            mode = path.stat().st_mode  # as the umask says; safetensors makes files that only their owner can read
            save_file(plain, path, metadata={"format": "pt"})
            path.chmod(mode)
    except SafetensorError as error:
        raise GatlasError(f"{path}: not written: {error}") from None


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
