"""Work that was stopped in the middle: arrays and what they belong to, in one NPZ file."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import streams

if TYPE_CHECKING:
    from pathlib import Path

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
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise GatlasError(f"{blob.name}: not a checkpoint of gatlas, or damaged: remove it to start afresh") from error
    return arrays, meta
