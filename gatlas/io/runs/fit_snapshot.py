"""The checkpoint of a fit: arrays and what they belong to, in one NPZ file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io import outputs, streams
from gatlas.io.array_reader import read_npz
from gatlas.io.json_reader import JsonError, parse_json

KEY = "gatlas_checkpoint"
_FAULT, _REMEDY = "not a checkpoint of gatlas, or damaged", ": remove it to start afresh"


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
    arrays = read_npz(blob, finite=True, fault=_FAULT, remedy=_REMEDY)
    text = arrays.pop(KEY, None)
    try:
        meta = None if text is None else parse_json(str(text))
    except JsonError as error:
        raise GatlasError(f"{blob.name}: {_FAULT}: {error}{_REMEDY}") from None
    if not isinstance(meta, dict):
        raise GatlasError(f"{blob.name}: {_FAULT}: it has no description{_REMEDY}")
    return {name: array.copy() for name, array in arrays.items()}, meta  # which the fit goes on to change


def remove_checkpoint(path: str | Path) -> None:
    """Remove the checkpoint of a fit that is done, if there is one."""
    with streams.os_errors(path):
        Path(path).unlink(missing_ok=True)
