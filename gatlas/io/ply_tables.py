"""All tables of a PLY file, with lists of any lengths, which `gatlas.io.ply_container` alone does not read."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

    from gatlas.io.ply_container import Element, Header
    from gatlas.io.streams import Blob


class ListColumn(NamedTuple):
    """A property that is a list: the items of all rows, one after another."""

    items: np.ndarray  # [sum of sizes], of the declared type
    sizes: Int[np.ndarray, " rows"]


class Table(NamedTuple):
    """The rows of one element."""

    columns: dict[str, np.ndarray]  # [rows], of the declared type; of a text, float64
    lists: dict[str, ListColumn]


def read_tables(blob: Blob, header: Header) -> dict[str, Table]:
    """Return the tables of a PLY by their elements' names. A file that ends too early is a GatlasError."""
    names = [element.name for element in header.elements]
    if len(set(names)) < len(names):
        raise GatlasError(f"{blob.name}: damaged PLY header: it has two elements of one name")
    return _read_text(blob, header) if header.byte_order == "" else _read_binary(blob, header)


def _read_binary(blob: Blob, header: Header) -> dict[str, Table]:
    letters = np.frombuffer(blob.data, dtype=np.uint8)
    tables, position = {}, header.size
    for element in header.elements:
        starts, position = _row_starts(blob, element, position, header.byte_order)
        tables[element.name] = _binary_table(letters, element, starts, header.byte_order)
    if blob.data.startswith(b"ply", position):
        raise GatlasError(f"{blob.name}: PLYs that are joined end to end cannot be read; give one at a time")
    return tables


def _too_short(blob: Blob, element: Element) -> GatlasError:
    return GatlasError(
        f"{blob.name}: truncated: its header promises {element.count:,} rows of '{element.name}', "
        f"and its {len(blob.data):,} bytes end before"
    )


def _row_starts(blob: Blob, element: Element, start: int, byte_order: str) -> tuple[Int[np.ndarray, " rows"], int]:
    """The byte at which each row begins, and the one after the last."""
    data, count = blob.data, element.count
    if not element.types:
        return np.zeros(0, dtype=np.int64), start
    numbers = [code for code in element.types if code] + [size for size, _ in element.lists]
    fixed = sum(int(code[1]) for code in numbers)  # bytes of a row whose lists are empty
    if count > (len(data) - start) // fixed:
        raise _too_short(blob, element)
    if not element.lists or not count:
        return start + fixed * np.arange(count), start + fixed * count
    order = "big" if byte_order == ">" else "little"
    stride = _row_size(data, element, start, order)
    if stride and count <= (len(data) - start) // stride:  # all rows like the first, as in a mesh of triangles
        starts = start + stride * np.arange(count)
        if _are_alike(np.frombuffer(data, dtype=np.uint8), element, starts, byte_order):
            return starts, start + stride * count
    starts, position = np.empty(count, dtype=np.int64), start
    for row in range(count):
        starts[row] = position
        size = _row_size(data, element, position, order)
        if not size:
            raise _too_short(blob, element)
        position += size
    return starts, position


def _row_size(data: bytes, element: Element, start: int, order: str) -> int:
    """The bytes of the row at `start`; 0 where the data end before it does, or a list has a negative length."""
    position, lists = start, iter(element.lists)
    for code in element.types:
        if code:
            position += int(code[1])
            continue
        size, item = next(lists)
        width = int(size[1])
        length = int.from_bytes(data[position : position + width], order, signed=size[0] == "i")  # type: ignore[arg-type]
        if length < 0 or size[0] == "f":
            return 0
        position += width + length * int(item[1])
    return position - start if position <= len(data) else 0


def _are_alike(
    letters: UInt8[np.ndarray, " bytes"], element: Element, starts: Int[np.ndarray, " rows"], byte_order: str
) -> bool:
    """Return True if the lists of all rows have the lengths of the first row's, whose size the rows are apart."""
    offset, lists = 0, iter(element.lists)
    for code in element.types:
        if code:
            offset += int(code[1])
            continue
        size, item = next(lists)
        lengths = _gather(letters, starts + offset, byte_order + size)
        if (lengths != lengths[0]).any():
            return False
        offset += int(size[1]) + int(lengths[0]) * int(item[1])
    return True


def _gather(letters: UInt8[np.ndarray, " bytes"], starts: Int[np.ndarray, " n"], code: str) -> np.ndarray:
    """The numbers of one type that begin at these bytes."""
    width = int(code[-1])
    picked = np.empty((len(starts), width), dtype=np.uint8)
    for k in range(width):
        picked[:, k] = letters[starts + k]
    return picked.reshape(-1).view(code)


def _binary_table(
    letters: UInt8[np.ndarray, " bytes"], element: Element, starts: Int[np.ndarray, " rows"], byte_order: str
) -> Table:
    table, lists, position = Table({}, {}), iter(element.lists), starts
    for name, code in zip(element.names, element.types, strict=True):
        if code:
            table.columns[name] = _gather(letters, position, byte_order + code)
            position = position + int(code[1])
            continue
        size, item = next(lists)
        sizes = _gather(letters, position, byte_order + size).astype(np.int64)
        position = position + int(size[1])
        table.lists[name] = ListColumn(
            _gather(letters, _spread(position, sizes, int(item[1])), byte_order + item), sizes
        )
        position = position + sizes * int(item[1])
    return table


def _spread(starts: Int[np.ndarray, " rows"], sizes: Int[np.ndarray, " rows"], step: int) -> Int[np.ndarray, " items"]:
    """The positions of all items of lists that begin at `starts`, one after another."""
    firsts = np.cumsum(sizes) - sizes
    return np.repeat(starts - step * firsts, sizes) + step * np.arange(int(sizes.sum()))


def _read_text(blob: Blob, header: Header) -> dict[str, Table]:
    lines = [line for line in blob.data[header.size :].split(b"\n") if line.strip()]
    promised = sum(element.count for element in header.elements)
    if len(lines) < promised:
        raise GatlasError(f"{blob.name}: truncated: its header promises {promised:,} lines, there are {len(lines):,}")
    if len(lines) > promised and lines[promised].startswith(b"ply"):
        raise GatlasError(f"{blob.name}: PLYs that are joined end to end cannot be read; give one at a time")
    tables, position = {}, 0
    for element in header.elements:
        rows = lines[position : position + element.count]
        position += element.count
        tables[element.name] = _text_table(blob, element, rows)
    return tables


def _text_table(blob: Blob, element: Element, rows: list[bytes]) -> Table:
    values = _numbers(blob, element, rows)
    widths = np.array([len(row.split()) for row in rows], dtype=np.int64)
    ends = np.cumsum(widths)
    table, lists, position = Table({}, {}), iter(element.lists), ends - widths

    def check(stop: Int[np.ndarray, " rows"]) -> None:
        if (stop > ends).any():
            raise GatlasError(
                f"{blob.name}: truncated or damaged: row {int((stop > ends).argmax()) + 1:,} of '{element.name}' ends "
                "before its numbers do"
            )

    for name, code in zip(element.names, element.types, strict=True):
        check(position + 1)
        if code:
            table.columns[name] = values[position]
            position = position + 1
            continue
        _, item = next(lists)
        sizes = _whole(blob, element, values[position])
        if sizes.min(initial=0) < 0:
            raise GatlasError(f"{blob.name}: damaged: a list of '{element.name}' has a negative length")
        check(position + 1 + sizes)
        items = values[_spread(position + 1, sizes, 1)]
        table.lists[name] = ListColumn(items if item[0] == "f" else _whole(blob, element, items), sizes)
        position = position + 1 + sizes
    return table


def _numbers(blob: Blob, element: Element, rows: list[bytes]) -> Float[np.ndarray, " n"]:
    text = b" ".join(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of text that is no number: fewer come back
        try:
            values = np.fromstring(text, dtype=np.float64, sep=" ")
        except ValueError:
            values = np.empty(0)
    words = text.split()
    if len(values) == len(words):
        return values
    for word in words:
        try:
            float(word)
        except ValueError:
            raise GatlasError(
                f"{blob.name}: damaged: a row of '{element.name}' holds {word[:40].decode('latin-1')!r}, which is no "
                "number"
            ) from None
    return np.array(words, dtype=np.float64)


def _whole(blob: Blob, element: Element, values: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Lengths and indices of a text, which must be whole numbers."""
    if not (np.abs(values) < 1 << 53).all() or (values != np.trunc(values)).any():
        raise GatlasError(f"{blob.name}: damaged: a list of '{element.name}' holds numbers that are not whole")
    return values.astype(np.int64)
