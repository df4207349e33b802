"""Checksums of a checkpoint: a disk or a copy that changes one byte of it must not change the training unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gatlas.io.sets.digests import sha256_of

FILES, OWN = "files", "sha256"  # keys of the description: checksums of the other files, by path, and of itself


def sealed(folder: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a checkpoint with the SHA-256 of the files in its folder, and with its own."""
    files = {
        path.relative_to(folder).as_posix(): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    described = {**meta, FILES: files}
    return {**described, OWN: _digest(described)}


def damaged_file(folder: Path, meta: Mapping[str, Any], name: str) -> str | None:
    """Return the file of a checkpoint that is not as it was written, `name` being its description; None without any.

    A checkpoint of an earlier version has no checksums: nothing is known of it.
    """
    if OWN not in meta and FILES not in meta:
        return None
    described = {key: value for key, value in meta.items() if key != OWN}
    files = meta.get(FILES)
    if meta.get(OWN) != _digest(described) or not isinstance(files, dict):
        return name
    for file, digest in files.items():
        path = folder / file
        if not path.is_file():
            return file
        status = path.stat()
        if _of_file(path, status.st_size, status.st_mtime_ns) != digest:
            return file
    return None


@cache
def _of_file(path: Path, size: int, changed: int) -> str:
    return sha256_of(path)


def _digest(described: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
