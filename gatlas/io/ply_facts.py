"""Elements and properties of any PLY, with the range of each property, read by plyfile."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io.ply_container import parse
from gatlas.io.sets.scratch import temporary_folder
from gatlas.io.streams import os_errors

if TYPE_CHECKING:
    from pathlib import Path

    from gatlas.io.ply_container import Header
    from gatlas.io.streams import Blob


class PlyProperty(NamedTuple):
    """A column of one element."""

    name: str
    type: str  # PLY's word, as "float"; of a list "list of int"
    range: tuple[float, float] | None  # least and greatest finite value; None of a list, or where there is none


class PlyElementFacts(NamedTuple):
    """One table of a PLY."""

    name: str
    rows: int
    properties: tuple[PlyProperty, ...]


def ply_facts(blob: Blob) -> list[PlyElementFacts]:
    """Return the elements of a PLY in their order. A damaged or truncated file is a GatlasError in one line."""
    _check_size(blob, parse(blob))
    if blob.path is not None and blob.key is None:
        return _read(blob, blob.path)
    with temporary_folder() as folder, os_errors(folder):  # plyfile maps files, and reads a stream row by row
        path = folder / "stream.ply"
        path.write_bytes(blob.data)
        return _read(blob, path)


def _check_size(blob: Blob, header: Header) -> None:
    """Refuse, before memory is taken, an element that promises more rows than there are bytes."""
    for element in header.elements:
        if element.types and element.count > len(blob.data):
            raise GatlasError(f"{blob.name}: truncated: its header promises {element.count:,} rows of '{element.name}'")


def _read(blob: Blob, path: Path) -> list[PlyElementFacts]:
    from plyfile import PlyData, PlyListProperty, PlyParseError

    def facts(element: object, column: object) -> PlyProperty:
        if isinstance(column, PlyListProperty):
            return PlyProperty(column.name, f"list of {_word(column.val_dtype)}", None)
        values = np.asarray(element[column.name])  # type: ignore[index, attr-defined]
        finite = values[np.isfinite(values)]
        span = (float(finite.min()), float(finite.max())) if len(finite) else None
        return PlyProperty(column.name, _word(column.val_dtype), span)  # type: ignore[attr-defined]

    try:
        return [
            PlyElementFacts(each.name, each.count, tuple(facts(each, column) for column in each.properties))
            for each in PlyData.read(str(path))
        ]
    except (PlyParseError, ValueError) as error:
        raise GatlasError(f"{blob.name}: damaged: {' '.join(str(error).split())[:200]}") from None


def _word(code: str) -> str:
    """Return PLY's word of a numpy code such as "f4"."""
    return {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float"}.get(
        str(np.dtype(code).str[1:]), "double"
    )
