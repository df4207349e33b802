"""The PLY container: its header and the table of its vertices, from memory and without a loop over the rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from gatlas.io.streams import Blob

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_LIST = ""  # stands for the type of a list property, whose rows have no fixed size


@dataclass(frozen=True)
class Element:
    """One table of a PLY: "vertex", "face", …"""

    name: str
    count: int  # rows
    names: tuple[str, ...]  # of the properties, in order
    types: tuple[str, ...]  # numpy's codes without the byte order, such as "f4"; "" for a list
    lists: tuple[tuple[str, str], ...] = ()  # of each property that is a list: codes of its length and its items

    @property
    def fixed(self) -> bool:
        """True if all rows have the same size."""
        return _LIST not in self.types

    @property
    def stride(self) -> int:
        """Bytes in a row."""
        return sum(int(code[1]) for code in self.types)

    @property
    def offsets(self) -> dict[str, int]:
        """Byte offset of each property in a row."""
        sizes = [int(code[1]) for code in self.types]
        return {name: sum(sizes[:i]) for i, name in enumerate(self.names)}


@dataclass(frozen=True)
class Header:
    """The head of a PLY file."""

    byte_order: str  # "<", ">", or "" for a text file
    comments: tuple[str, ...]  # without the word "comment"
    elements: tuple[Element, ...]
    size: int  # bytes, up to the first row

    def vertex(self, blob: Blob) -> Element:
        """The element "vertex"; a PLY without one is a GatlasError."""
        for element in self.elements:
            if element.name == "vertex":
                return element
        raise GatlasError(f"{blob.name}: the PLY has no element 'vertex'")


def parse(blob: Blob) -> Header:
    """The header of a PLY file, or a GatlasError that names its first bad line."""
    end = re.search(rb"^end_header[ \t]*\r?\n", blob.data, re.MULTILINE)
    if end is None:
        raise GatlasError(f"{blob.name}: truncated or damaged: its PLY header has no line 'end_header'")
    lines = re.split("\r?\n", blob.data[: end.start()].decode("utf-8", "replace").rstrip())
    byte_order: str | None = None
    comments: list[str] = []
    tables: list[tuple[str, int, list[str], list[str], list[tuple[str, str]]]] = []
    for number, line in enumerate(lines[1:], start=2):
        words = line.split()
        match words:
            case [] | ["obj_info", *_]:
                continue
            case ["comment", *_]:
                comments.append(line.split("comment", 1)[1].strip())
                continue
            case ["format", form, "1.0"] if form in _BYTE_ORDERS:
                byte_order = _BYTE_ORDERS[form]
                continue
            case ["element", name, count] if re.fullmatch("[0-9]{1,18}", count):
                tables.append((name, int(count), [], [], []))
                continue
            case ["property", kind, name] if tables and kind in _TYPES and name not in tables[-1][2]:
                tables[-1][2].append(name)
                tables[-1][3].append(_TYPES[kind])
                continue
            case ["property", "list", size, kind, name] if tables and {size, kind} <= _TYPES.keys():
                tables[-1][2].append(name)
                tables[-1][3].append(_LIST)
                tables[-1][4].append((_TYPES[size], _TYPES[kind]))
                continue
        raise GatlasError(f"{blob.name}: damaged PLY header: line {number}: {line[:80]!r}")
    if byte_order is None:
        raise GatlasError(f"{blob.name}: damaged PLY header: it has no line 'format'")
    elements = tuple(
        Element(name, count, tuple(names), tuple(types), tuple(lists)) for name, count, names, types, lists in tables
    )
    return Header(byte_order, tuple(comments), elements, end.end())


@dataclass(frozen=True)
class Vertices:
    """The vertex table where it lies: rows of a binary body, or the parsed numbers of a text."""

    element: Element
    data: Any  # bytes, or float64 [n p]
    start: int  # byte at which the first row begins
    byte_order: str

    def __len__(self) -> int:
        return self.element.count

    def columns(self, names: Sequence[str], dtype: type) -> Float[np.ndarray, "n k"]:
        """A fresh array of these properties, in this order."""
        element = self.element
        if len(self) == 0:
            return np.empty((0, len(names)), dtype)
        if self.byte_order == "":
            picked = self.data[:, [element.names.index(name) for name in names]]
        else:
            types = [element.types[element.names.index(name)] for name in names]
            offsets = [element.offsets[name] for name in names]
            size = int(types[0][1])
            run = len(set(types)) == 1 and offsets == [offsets[0] + i * size for i in range(len(names))]
            if run:  # side by side, as 3DGS writes them: one pass over memory for all
                picked = self._view(types[0], offsets[0], (len(self), len(names)), (element.stride, size))
            else:
                views = zip(types, offsets, strict=True)
                picked = np.stack(
                    [self._view(code, at, (len(self),), (element.stride,)) for code, at in views], axis=-1
                )
        # A double beyond float32 becomes infinite, which every reader checks, as NaN, of which one kind is "invalid".
        with np.errstate(over="ignore", invalid="ignore"):
            return np.array(picked, dtype=dtype)

    def _view(self, code: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
        return np.ndarray(shape, self.byte_order + code, self.data, self.start + offset, strides)


def read_vertices(blob: Blob, header: Header, *, noun: str) -> Vertices:
    """The vertex table of a PLY whose size was found to be right. `noun` is what the message counts."""
    vertex = header.vertex(blob)
    if not vertex.fixed:
        raise GatlasError(f"{blob.name}: its vertices have list properties, which gatlas does not read")
    before = header.elements[: header.elements.index(vertex)]
    after = header.elements[len(before) + 1 :]
    if header.byte_order == "":
        return _read_text(blob, header, vertex, before, after, noun)
    if not all(element.fixed for element in before):
        raise GatlasError(
            f"{blob.name}: an element with list properties comes before the vertices: write it after them"
        )
    start = header.size + sum(element.count * element.stride for element in before)
    end = start + vertex.count * vertex.stride
    closed = all(element.fixed for element in after)
    if closed:
        end += sum(element.count * element.stride for element in after)
    size = len(blob.data)
    what = "the file has" if blob.path is not None else "there are"
    if size < end:
        raise GatlasError(
            f"{blob.name}: truncated: header promises {vertex.count:,} {noun} ({end:,} bytes), {what} {size:,} bytes"
        )
    if closed and size > end:
        raise GatlasError(_too_long(blob, vertex, noun, f"{size - end:,} bytes"))
    return Vertices(vertex, blob.data, start, header.byte_order)


def _too_long(blob: Blob, vertex: Element, noun: str, surplus: str) -> str:
    return (
        f"{blob.name}: {surplus} follow the {vertex.count:,} {noun} that its header promises: "
        "PLYs that are joined end to end cannot be read; give one at a time"
    )


def _read_text(
    blob: Blob,
    header: Header,
    vertex: Element,
    before: tuple[Element, ...],
    after: tuple[Element, ...],
    noun: str,
) -> Vertices:
    rows = [row for row in blob.data[header.size :].decode("latin-1").split("\n") if row.strip()]
    start = sum(element.count for element in before)
    stop = start + vertex.count
    total = stop + sum(element.count for element in after)
    if len(rows) < total:
        raise GatlasError(
            f"{blob.name}: truncated: header promises {vertex.count:,} {noun} ({total:,} lines), "
            f"there are {len(rows):,} lines"
        )
    if len(rows) > total:
        raise GatlasError(_too_long(blob, vertex, noun, f"{len(rows) - total:,} lines"))
    if vertex.count == 0:
        return Vertices(vertex, np.empty((0, len(vertex.names))), 0, "")
    try:
        table = (
            np.loadtxt(rows[start:stop], dtype=np.float64, comments=None, ndmin=2) if vertex.count else np.empty((0, 0))
        )
    except ValueError as error:
        raise GatlasError(f"{blob.name}: damaged: {str(error).rstrip('.')}") from None
    if table.shape[1] != len(vertex.names):
        raise GatlasError(
            f"{blob.name}: damaged: its rows have {table.shape[1]} numbers, the header promises {len(vertex.names)}"
        )
    return Vertices(vertex, table, 0, "")
