"""The statements of a Wavefront OBJ file as tables: positions, texture coordinates and polygons by material.

Read line by line, with all that is allowed, and with errors that name the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.io.meshes.neighbors import printable

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.io.streams import Blob

MAX_COLUMNS = 8  # numbers of a vertex


class Polygons(NamedTuple):
    """Polygons of one material, one after another."""

    vertices: Int[np.ndarray, " corners"]
    uvs: Int[np.ndarray, " corners"]  # -1 where a corner has none
    sizes: Int[np.ndarray, " polygons"]  # corners of each, >= 3


class Statements(NamedTuple):
    """The content of an OBJ file. Indices of polygons are >= 0 and may be too large."""

    positions: Float[np.ndarray, "v w"]  # x, y, z, ...: filled up with NaN
    uvs: Float[np.ndarray, "t w"]  # u, v, ...: filled up with 0
    polygons: dict[str, Polygons]  # by material, in the order of their first use
    libraries: list[str]


class _Lines:
    """The statements, line by line."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.positions: list[list[str]] = []
        self.uvs: list[list[str]] = []
        self.polygons: dict[str, list[list[tuple[int, int]]]] = {}  # by material: corners (vertex, uv or -1)
        self.libraries: list[str] = []
        material = ""
        for number, line in _split(blob):
            keyword, _, rest = line.partition(" ")
            if keyword == "v":
                self.positions.append(rest.split())
            elif keyword == "vt":
                self.uvs.append(rest.split())
            elif keyword == "f":
                corners = [self._corner(token, number) for token in rest.split()]
                if len(corners) >= 3:
                    self.polygons.setdefault(material, []).append(corners)
            elif keyword == "usemtl":
                material = rest.strip()
            elif keyword == "mtllib" and rest.strip():
                self.libraries.append(rest.strip())

    def _corner(self, token: str, number: int) -> tuple[int, int]:
        """Zero-based indices of "v", "v/vt", "v//vn" or "v/vt/vn"; negative ones count back from the last."""
        first, _, others = token.partition("/")
        second = others.partition("/")[0]
        try:
            return self._index(int(first), len(self.positions)), (
                self._index(int(second), len(self.uvs)) if second else -1
            )
        except ValueError:
            raise GatlasError(f"{self.blob.name}: line {number}: {token[:40]!r} is not a corner of a face") from None

    @staticmethod
    def _index(index: int, count: int) -> int:
        absolute = index - 1 if index > 0 else count + index
        if index == 0 or not 0 <= absolute < 1 << 62:
            raise ValueError
        return absolute


def parse_lines(blob: Blob) -> Statements:
    """Return the statements of an OBJ file, read line by line; a GatlasError names the first line that is none."""
    lines = _Lines(blob)
    polygons = {}
    for material, found in lines.polygons.items():
        corners = np.array([corner for polygon in found for corner in polygon], dtype=np.int64)
        polygons[material] = Polygons(corners[:, 0], corners[:, 1], np.array([len(polygon) for polygon in found]))
    positions = _numbers(blob, lines.positions, "v", 3)
    uvs = _numbers(blob, lines.uvs, "vt", 2, fill=0.0) if lines.uvs else np.zeros((0, 2))
    return Statements(positions, uvs, polygons, lines.libraries)


def _split(blob: Blob) -> Iterator[tuple[int, str]]:
    """Statements and their line numbers: without comments, continued lines joined, one space after the keyword."""
    pending = ""
    for number, raw in enumerate(blob.data.decode("utf-8-sig", "replace").split("\n"), start=1):
        line = pending + raw.strip()
        if line.endswith("\\"):
            pending = line[:-1] + " "
            continue
        pending = ""
        if line and not line.startswith("#"):
            keyword, *rest = line.split(None, 1)
            yield number, f"{keyword} {rest[0]}" if rest else keyword


def _numbers(
    blob: Blob, rows: list[list[str]], keyword: str, least: int, fill: float = np.nan
) -> Float[np.ndarray, "n w"]:
    """Rows of numbers; short ones are filled up to the longest."""
    width = max([least, *map(len, rows)])
    if width > MAX_COLUMNS or (fill != fill and any(len(row) < least for row in rows)):
        raise GatlasError(f"{blob.name}: a line {keyword!r} has the wrong count of numbers")
    try:
        return np.array([row + [fill] * (width - len(row)) for row in rows], dtype=np.float64).reshape(-1, width)
    except ValueError as error:
        raise GatlasError(f"{blob.name}: a line {keyword!r} does not hold numbers ({printable(str(error))})") from None
