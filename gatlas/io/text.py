"""Texts, lists of lines and JSON documents."""

from __future__ import annotations

import codecs
import json
import os
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.io.outputs import write
from gatlas.io.streams import Blob, as_blob

if TYPE_CHECKING:
    from pathlib import Path


def load_lines(source: str | Path | Blob) -> list[str]:
    """Return the lines of a UTF-8 text that are not empty, without the space around them."""
    blob = as_blob(source)
    try:
        lines = blob.data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise GatlasError(f"{blob.name}: not a UTF-8 text: {error.reason} at byte {error.start}") from None
    return [line.strip() for line in lines if line.strip()]


def load_names(source: str | Path | Blob, *, null: bool = False) -> list[str]:
    """Return the file names of a list, one per line, or each ended by NUL as `find -print0` writes them.

    A line with a NUL in it, which no name has, is a GatlasError.
    """
    blob = as_blob(source)
    names = blob.data.removeprefix(codecs.BOM_UTF8).split(b"\0" if null else b"\n")
    if not null and b"\0" in blob.data:
        number = next(i for i, name in enumerate(names, 1) if b"\0" in name)
        raise GatlasError(f"{blob.name}: line {number} holds a zero byte: if zero bytes end the names, add -0")
    return [os.fsdecode(name if null else name.rstrip(b"\r")) for name in names if name.strip()]


def save_json(out: str | Path, obj: Any, *, force: bool = False, name: str = "") -> None:
    """Write an object as JSON. NaN and infinity, which JSON does not have, are a ValueError."""
    text = json.dumps(obj, indent=2, allow_nan=False) + "\n"
    write(out, [text.encode()], force=force, suffix=".json", what="JSON", name=name, text=True)


def save_text(out: str | Path, text: str, *, force: bool = False) -> None:
    """Write a text in UTF-8."""
    write(out, [text.encode()], force=force, text=True)
