"""Files that `torch.save` wrote, read as data: one that holds code is refused, not run."""

from __future__ import annotations

import errno
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io.array_reader import is_stored_zip
from gatlas.io.streams import opened_file, os_errors

if TYPE_CHECKING:
    from torch import Tensor


def is_torch_file(path: str | Path) -> bool:
    """Return True for a file that torch.save may have written, by its suffix or its first bytes."""
    if str(path).lower().endswith((".ckpt", ".pt", ".pth")):
        return True
    with opened_file(path) as file:
        return file.read(4) in (b"PK\x03\x04", b"\x80\x02\x8a\x0a")  # a ZIP, or the number of the older format


def load_torch(path: Path, what: str) -> Any:
    """Return the content of a torch file, on the CPU, mapped if possible. `what` names it in messages ("weights").

    A file that is damaged, of another kind, or holds more than tensors in plain containers is a GatlasError.
    """
    import torch

    with os_errors(path), path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"  # what torch has written since 1.6; only that can be mapped
        if zipped and not is_stored_zip(file):
            raise GatlasError(f"{path}: not a torch file of {what}, or damaged: download it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\w+(?:\.\w+)*) (?:was not|whose)", str(error))
        if code is not None:
            raise GatlasError(
                f"{path}: holds more than {what} ({code[1]}), which gatlas does not run: load it in a place that you "
                "trust and save the tensors alone"
            ) from None
        raise GatlasError(f"{path}: not a torch file of {what}, or damaged: download it again") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # that is what mapping a file that breaks off gives
            with os_errors(path):
                raise
    except Exception as error:  # on damaged bytes torch's reader fails in any way
        # torch says so of a map that does not fit, as a RuntimeError, and of tensors that are larger than their file
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise GatlasError(f"{path}: the memory is not enough for it, or it is damaged") from None
    raise GatlasError(f"{path}: not a torch file of {what}, or damaged: download it again")


def load_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a torch file, alone or under "state_dict": every tensor is wholly in the file, and finite.

    Errors as for `load_torch`.
    """
    import torch

    stored = load_torch(path, "weights")
    if isinstance(stored, Mapping) and isinstance(stored.get("state_dict"), Mapping):
        stored = stored["state_dict"]
    tensors = isinstance(stored, Mapping) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in stored.items()
    )
    if not tensors:
        raise GatlasError(f"{path}: holds no state dict, a map from names to tensors: name a published checkpoint")
    for name, value in stored.items():
        if not is_stored(value):
            raise GatlasError(f"{path}: damaged: '{name:.200}' is no plain tensor, or larger than what is stored of it")
        if value.is_floating_point() and value.element_size() > 1 and not bool(value.isfinite().all()):
            raise GatlasError(f"{path}: damaged: '{name:.200}' holds NaN or infinity")
    return dict(stored)


def is_stored(tensor: Tensor) -> bool:
    """Return True for a plain tensor whose values are all in its file: others cost any memory when they are used."""
    import torch

    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return plain and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
