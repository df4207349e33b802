"""The statements of a Wavefront OBJ file, read by chunks of lines, with one array operation for all lines of a kind.

A line that is not of the plain form, right or wrong, ends it: `gatlas.io.meshes.obj_lines` then reads line by line.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.io.meshes.obj_lines import MAX_COLUMNS, Polygons, Statements

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8

    from gatlas.io.streams import Blob

_CHUNK = 1 << 24  # bytes that are read at once: bounds what the tables of characters take
_SPACE, _NEWLINE, _MINUS, _SLASH, _ZERO = b" \n-/0"
_TO_SPACES = bytes.maketrans(b"\t\r\v\f", b"    ")
_CONTINUED = re.compile(rb"\\[ \t\r\v\f]*\n")


class StrangeLineError(Exception):
    """A line that is not of the plain form."""


def parse_columns(blob: Blob) -> Statements | None:
    """Return the statements of an OBJ file, or None where a line is not of the plain form."""
    return _Columns(blob.data).read()


class _Columns:
    """The tables of a file, as its chunks are read."""

    def __init__(self, content: bytes) -> None:
        self.content = content.removeprefix(b"\xef\xbb\xbf")
        self.libraries: list[str] = []
        self.names: dict[str, int] = {"": 0}
        self.material = 0
        self.counts = {b"v": 0, b"vt": 0}
        self.numbers: dict[bytes, list[np.ndarray]] = {b"v": [], b"vt": []}
        self.widths: dict[bytes, list[np.ndarray]] = {b"v": [], b"vt": []}
        self.corners: list[tuple[np.ndarray, np.ndarray]] = []
        self.sizes: list[np.ndarray] = []
        self.materials: list[np.ndarray] = []

    def read(self) -> Statements | None:
        """Return the statements, or None where a line is not of the plain form."""
        content = self.content
        if content.rstrip().endswith(b"\\"):
            return None
        if _CONTINUED.search(content):
            content = _CONTINUED.sub(b" ", content)
        try:
            start = 0
            while start < len(content):
                stop = (
                    len(content) if start + _CHUNK >= len(content) else content.rfind(b"\n", start, start + _CHUNK) + 1
                )
                if stop <= start:  # a line longer than a chunk
                    stop = (content.find(b"\n", start) + 1) or len(content)
                self._read_chunk(content[start:stop])
                start = stop
            return Statements(
                self._table(b"v", 3, np.nan), self._table(b"vt", 2, 0.0), self._polygons(), self.libraries
            )
        except StrangeLineError:
            return None

    def _read_chunk(self, text: bytes) -> None:
        text = text.translate(_TO_SPACES)
        if not text.endswith(b"\n"):
            text += b"\n"
        if text.startswith(b" ") or b"\n " in text:
            text = re.sub(rb"(?m)^ +", b"", text)
        letters = np.frombuffer(text, dtype=np.uint8)
        ends = np.flatnonzero(letters == _NEWLINE)
        starts = np.concatenate([[0], ends[:-1] + 1])
        first = letters[starts]
        second, third = (letters[np.minimum(starts + k, ends)] for k in (1, 2))
        if ((first > 126) | ((first < _SPACE) & (first != _NEWLINE))).any():
            raise StrangeLineError  # a space of Unicode, perhaps
        is_v, is_f = first == ord("v"), (first == ord("f")) & (second == _SPACE)
        is_vt = is_v & (second == ord("t"))
        if (
            (is_vt & (third != _SPACE)).any()
            or ((first == ord("f")) & ~is_f).any()
            or not np.isin(second[is_v], np.frombuffer(b" tnp", dtype=np.uint8)).all()
        ):
            raise StrangeLineError
        is_v &= second == _SPACE
        materials = self._read_names(text, starts, ends, first)
        before = {b"v": self.counts[b"v"] + np.cumsum(is_v), b"vt": self.counts[b"vt"] + np.cumsum(is_vt)}
        self._read_numbers(letters, starts, ends, is_v, b"v")
        self._read_numbers(letters, starts, ends, is_vt, b"vt")
        self._read_faces(letters, starts, ends, is_f, materials, before)

    def _read_names(
        self,
        text: bytes,
        starts: Int[np.ndarray, " n"],
        ends: Int[np.ndarray, " n"],
        first: UInt8[np.ndarray, " n"],
    ) -> Int[np.ndarray, " n"]:
        """Return the material of each line, and remember the libraries."""
        lines, materials = [-1], [self.material]
        for line in np.flatnonzero((first == ord("u")) | (first == ord("m"))).tolist():
            words = text[starts[line] : ends[line]].decode("utf-8", "replace").strip().split(None, 1)
            rest = words[1].strip() if len(words) > 1 else ""
            if words[0] == "usemtl":
                lines.append(line)
                materials.append(self.names.setdefault(rest, len(self.names)))
            elif words[0] == "mtllib" and rest:
                self.libraries.append(rest)
        self.material = materials[-1]
        if len(lines) == 1:
            return np.full(len(starts), self.material)
        return np.array(materials)[np.searchsorted(lines, np.arange(len(starts)), side="right") - 1]

    def _read_numbers(
        self,
        letters: UInt8[np.ndarray, " bytes"],
        starts: Int[np.ndarray, " n"],
        ends: Int[np.ndarray, " n"],
        chosen: Bool[np.ndarray, " n"],
        keyword: bytes,
    ) -> None:
        if not chosen.any():
            return
        words = _words_of(letters, starts, ends, chosen, len(keyword))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of text that is no number: fewer come back
            try:
                values = np.fromstring(words.letters.tobytes(), dtype=np.float64, sep=" ")
            except ValueError:
                raise StrangeLineError from None
        if len(values) != len(words.starts):
            raise StrangeLineError
        self.numbers[keyword].append(values)
        self.widths[keyword].append(words.counts)
        self.counts[keyword] += int(chosen.sum())

    def _read_faces(
        self,
        letters: UInt8[np.ndarray, " bytes"],
        starts: Int[np.ndarray, " n"],
        ends: Int[np.ndarray, " n"],
        chosen: Bool[np.ndarray, " n"],
        materials: Int[np.ndarray, " n"],
        before: dict[bytes, Int[np.ndarray, " n"]],
    ) -> None:
        if not chosen.any():
            return
        words = _words_of(letters, starts, ends, chosen, 1)
        slashes = np.flatnonzero(words.letters == _SLASH)
        first_slash, second_slash = _slashes(slashes, words)
        lines = np.repeat(np.flatnonzero(chosen), words.counts)
        vertices = _absolute(_integers(words.letters, words.starts, first_slash), before[b"v"], lines)
        uvs = np.full(len(vertices), -1, dtype=np.int64)
        given = np.flatnonzero(second_slash > first_slash + 1)
        if len(given) == len(uvs):
            uvs = _absolute(_integers(words.letters, first_slash + 1, second_slash), before[b"vt"], lines)
        elif len(given):
            numbers = _integers(words.letters, first_slash[given] + 1, second_slash[given])
            uvs[given] = _absolute(numbers, before[b"vt"], lines[given])
        kept = words.counts >= 3
        corners = np.repeat(kept, words.counts)
        self.corners.append((vertices[corners], uvs[corners]) if not kept.all() else (vertices, uvs))
        self.sizes.append(words.counts[kept])
        self.materials.append(materials[chosen][kept])

    def _table(self, keyword: bytes, least: int, fill: float) -> Float[np.ndarray, "n w"]:
        """The rows of numbers, filled up to the longest."""
        if not self.numbers[keyword]:
            return np.zeros((0, least))
        values, widths = np.concatenate(self.numbers[keyword]), np.concatenate(self.widths[keyword])
        width = max(least, int(widths.max()))
        if width > MAX_COLUMNS or (fill != fill and widths.min() < least):
            raise StrangeLineError
        if (widths == width).all():
            return values.reshape(-1, width)
        table = np.full((len(widths), width), fill)
        table[np.arange(width) < widths[:, None]] = values
        return table

    def _polygons(self) -> dict[str, Polygons]:
        if not self.sizes:
            return {}
        sizes, materials = np.concatenate(self.sizes), np.concatenate(self.materials)
        vertices, uvs = (np.concatenate([pair[k] for pair in self.corners]) for k in (0, 1))
        self.corners.clear()
        names = list(self.names)
        used, firsts = np.unique(materials, return_index=True)
        if len(used) == 1:
            return {names[used[0]]: Polygons(vertices, uvs, sizes)}
        order = np.argsort(materials, kind="stable")
        corner_order = np.argsort(np.repeat(materials, sizes), kind="stable")
        polygon_stops = np.searchsorted(materials[order], used, side="right")
        stops = np.concatenate([[0], np.cumsum(sizes[order])])[polygon_stops]
        found = {}
        for k in np.argsort(firsts):
            low, high = (polygon_stops[k - 1] if k else 0), polygon_stops[k]
            corners = corner_order[(stops[k - 1] if k else 0) : stops[k]]
            found[names[used[k]]] = Polygons(vertices[corners], uvs[corners], sizes[order[low:high]])
        return found


class _Words(NamedTuple):
    """The words of lines of one kind, without their keywords."""

    letters: UInt8[np.ndarray, " bytes"]
    starts: Int[np.ndarray, " words"]
    stops: Int[np.ndarray, " words"]
    counts: Int[np.ndarray, " lines"]  # words of each line


def _words_of(
    letters: UInt8[np.ndarray, " bytes"],
    starts: Int[np.ndarray, " n"],
    ends: Int[np.ndarray, " n"],
    chosen: Bool[np.ndarray, " n"],
    keyword: int,
) -> _Words:
    if chosen.all():
        letters = letters.copy()
        lines = starts
    else:
        lengths = ends - starts + 1
        letters = letters[np.repeat(chosen, lengths)]
        lines = np.cumsum(lengths[chosen]) - lengths[chosen]
    for k in range(keyword):
        letters[lines + k] = _SPACE
    apart = (letters == _SPACE) | (letters == _NEWLINE)
    edges = np.flatnonzero(apart[1:] != apart[:-1]) + 1  # the first letter is a space, the last a newline
    word_starts, word_stops = edges[::2], edges[1::2]
    bounds = np.searchsorted(word_starts, np.concatenate([lines, [len(letters)]]))
    return _Words(letters, word_starts, word_stops, np.diff(bounds))


def _slashes(slashes: Int[np.ndarray, " s"], words: _Words) -> tuple[Int[np.ndarray, " w"], Int[np.ndarray, " w"]]:
    """The positions of the first and second slash of each word, its end where it has none."""
    starts, stops = words.starts, words.stops
    if len(slashes) == 0:
        return stops, stops
    padded = np.concatenate([slashes, np.full(2, 1 << 62)])
    each = len(slashes) // len(starts)
    if (
        each
        and len(slashes) == each * len(starts)
        and _in_words(slashes[::each], words)
        and (each == 1 or _in_words(slashes[1::each], words))
    ):
        first = slashes[::each]
        return first, slashes[1::each] if each > 1 else stops
    number = np.searchsorted(slashes, starts)
    return np.minimum(padded[number], stops), np.minimum(padded[number + 1], stops)


def _in_words(slashes: Int[np.ndarray, " w"], words: _Words) -> bool:
    return bool(((slashes >= words.starts) & (slashes < words.stops)).all())


def _integers(
    letters: UInt8[np.ndarray, " bytes"], starts: Int[np.ndarray, " n"], stops: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """The integers at [start, stop); anything but digits after a minus is strange."""
    negative = letters[np.minimum(starts, len(letters) - 1)] == _MINUS
    any_negative = bool(negative.any())
    if any_negative:
        starts = starts + negative
    lengths = stops - starts
    longest = int(lengths.max(initial=0))
    if longest > 15 or lengths.min(initial=1) < 1:
        raise StrangeLineError
    values = np.zeros(len(starts), dtype=np.int64)
    for k in range(longest):
        digits = letters[np.minimum(starts + k, len(letters) - 1)] - np.uint8(_ZERO)  # below "0" wraps to above 9
        here = k < lengths
        if (digits[here] > 9).any():
            raise StrangeLineError
        values = np.where(here, values * 10 + digits, values)
    return np.where(negative, -values, values) if any_negative else values


def _absolute(
    numbers: Int[np.ndarray, " n"], before: Int[np.ndarray, " lines"], lines: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Zero-based indices: negative ones count back from the last one before their line."""
    lowest = numbers.min(initial=1)
    if lowest <= 0:
        numbers = np.where(numbers < 0, before[lines] + numbers + 1, numbers)
        if numbers.min() <= 0:
            raise StrangeLineError
    return numbers - 1
