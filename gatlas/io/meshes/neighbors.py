"""The files that a mesh names: buffers, textures and material libraries next to it, and what is reported of them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from gatlas.io.beside import find_beside, is_plain, leads_outside
from gatlas.io.visible import visible

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from gatlas.io.streams import Blob

_SHOWN = 200  # characters of a name in a message
_LISTED = 5  # things in a message


class Neighbors:
    """The folder of a mesh, in which everything that it names is found; nothing outside it is opened."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self._moved: dict[str, str] = {}  # name in the mesh -> the file, relative to the folder
        self._missing: set[str] = set()
        self._libraries: list[Path] = []  # folders below that of the mesh

    def read(self, name: str, *, uri: bool = False) -> bytes | None:
        """Return the bytes of the file that the mesh names; None where it is not there or cannot be read."""
        if self.blob.path is None:
            return None
        folder = self.blob.path.parent
        found = find_beside(folder, name, uri=uri)
        if found is None:
            candidates = ((below, find_beside(below, name, uri=uri)) for below in self._libraries)
            folder, found = next(((below, each) for below, each in candidates if each is not None), (folder, None))
        if found is None:
            return None
        if not is_plain(folder, name, found):
            self._moved[name] = str(found.relative_to(self.blob.path.parent))
        try:
            return found.read_bytes()
        except OSError:
            return None

    def search_next_to(self, name: str) -> None:
        """Have names that are not found next to the mesh sought next to the file `name`, a material library, too."""
        if self.blob.path is None:
            return
        found = find_beside(self.blob.path.parent, name)
        if found is not None and found.parent not in (self.blob.path.parent, *self._libraries):
            self._libraries.append(found.parent)

    def warn_missing(self, name: str) -> None:
        """Warn of a texture that is not there, once for each name."""
        if name in self._missing:
            return
        self._missing.add(name)
        why = self.why_missing(name)
        where = f" ({why})" if why else ""
        warnings.warn(
            f"{self.blob.name}: texture {shown(name)} is missing; its plain base color is used{where}", stacklevel=2
        )

    def why_missing(self, name: str) -> str:
        """Return the reason why a name cannot lead to a file, and what to do; "" where it could."""
        if self.blob.path is None:
            return "a mesh from a pipe has no folder: name the file instead"
        if leads_outside(name):
            return "only files in the folder of the mesh are read: put it there"
        return ""

    def warn_moved(self) -> None:
        """Warn, in one line, of files that were found by the last parts of their names or in another case."""
        if not self._moved:
            return
        name, file = next(iter(self._moved.items()))
        more = f", and {len(self._moved) - 1:,} more so" if len(self._moved) > 1 else ""
        warnings.warn(
            f"{self.blob.name}: {shown(name)} is not there; {shown(file)} next to the mesh is taken{more}",
            stacklevel=2,
        )


def shown(name: str) -> str:
    """Return a name from a file for a message: shortened, and quoted where it holds what a terminal might obey."""
    short = printable(name)
    return short if short in (name, name[:_SHOWN] + "…") else f"'{short}'"


def printable(text: str) -> str:
    """Return a text in one line, shortened, with escapes such as \\x1b for characters that a terminal might obey."""
    short = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return visible(short).replace("\n", "\\n")


def listed(things: Collection[str]) -> str:
    """Return things for a message, in one line: the first few, and how many more there are."""
    more = f" and {len(things) - _LISTED:,} more" if len(things) > _LISTED else ""
    return ", ".join(printable(thing) for thing in list(things)[:_LISTED]) + more
