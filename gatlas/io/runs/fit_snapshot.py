"""The checkpoint of a fit: arrays and what they belong to, in one NPZ file."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import outputs, streams

KEY = "gatlas_checkpoint"


def save_checkpoint(path: str | Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Write the arrays and a JSON-able `meta`; an older checkpoint is replaced, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **{KEY: np.array(json.dumps(meta))}, **arrays)  # type: ignore[arg-type]
    outputs.write(path, [buffer.getvalue()], force=True, suffix=".npz", what="a checkpoint")


def load_checkpoint(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Return the arrays and the meta of a checkpoint; None where there is no such file yet."""
    if not streams.exists(path):
        return None
    blob = streams.read(path)
    try:
        with np.load(io.BytesIO(blob.data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays.pop(KEY)))
        if not isinstance(meta, dict):
            raise ValueError("meta is no map")
    except (KeyError, ValueError, EOFError, OSError, RecursionError, zipfile.BadZipFile, zlib.error) as error:
        raise GatlasError(f"{blob.name}: not a checkpoint of gatlas, or damaged: remove it to start afresh") from error
    return arrays, meta


def remove_checkpoint(path: str | Path) -> None:
    """Remove the checkpoint of a fit that is done, if there is one."""
    with streams.os_errors(path):
        Path(path).unlink(missing_ok=True)
