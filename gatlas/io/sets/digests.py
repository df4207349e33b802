"""Signs that an input has changed: its SHA-256, and a stamp of size and time that is cheaper."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from gatlas.io.sets.shards import read_member
from gatlas.io.streams import Blob, os_errors

if TYPE_CHECKING:
    from gatlas.io.sets.shards import Member

_BLOCK = 1 << 20  # bytes read at once


def stamp(source: Path | Member | Blob) -> str | None:
    """Return size and time of change; None for a folder or a pipe, which have none."""
    if isinstance(source, Blob):
        return None
    try:
        if isinstance(source, Path):
            status = source.stat()
            return None if source.is_dir() else f"{status.st_size}:{status.st_mtime_ns}"
        status = source.shard.stat()
        return f"{status.st_size}:{status.st_mtime_ns}:{source.offset}"
    except OSError:
        return None  # reading it is the error


def sha256_of(source: Path | Member | Blob) -> str:
    """SHA-256 of the content, in hexadecimal; of a folder, that of the names and contents of all its files."""
    if isinstance(source, Blob):
        return hashlib.sha256(source.data).hexdigest()
    if not isinstance(source, Path):
        return hashlib.sha256(read_member(source).data).hexdigest()
    with os_errors(source, named=True):
        if not source.is_dir():
            return _digest(source).hexdigest()
        whole = hashlib.sha256()
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            whole.update(str(path.relative_to(source)).encode("utf-8", "surrogateescape") + b"\0")
            whole.update(_digest(path).digest())
        return whole.hexdigest()


def _digest(path: Path) -> hashlib._Hash:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest
