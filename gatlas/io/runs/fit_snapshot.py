"""Work that was stopped in the middle: arrays and what they belong to, in one NPZ file."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import streams

if TYPE_CHECKING:
    from gatlas.io.streams import Blob

KEY = "gatlas_checkpoint"


def write_checkpoint(out: str | Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Write the arrays and a JSON-able `meta`; an older checkpoint is replaced, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **{KEY: np.array(json.dumps(meta))}, **arrays)  # type: ignore[arg-type]
    streams.write(out, [buffer.getvalue()], force=True, suffix=".npz", what="a checkpoint")


def decode_checkpoint(blob: Blob) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the meta of a checkpoint."""
    try:
        with np.load(io.BytesIO(blob.data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays.pop(KEY)))
        if not isinstance(meta, dict):
            raise ValueError("meta is no map")
    except (KeyError, ValueError, EOFError, OSError, RecursionError, zipfile.BadZipFile, zlib.error) as error:
        raise GatlasError(f"{blob.name}: not a checkpoint of gatlas, or damaged: remove it to start afresh") from error
    return arrays, meta


def is_there(path: str | Path) -> bool:
    """Whether there is a checkpoint to go on from."""
    return streams.exists(path)


def remove(path: str | Path) -> None:
    """Remove a checkpoint whose work is done, if there is one."""
    with streams.os_errors(path):
        Path(path).unlink(missing_ok=True)
