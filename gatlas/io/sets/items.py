"""The objects of a set, as columns: a set of hundreds of thousands fits into memory, and an Item is made when asked."""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, overload

from gatlas.io.sets.shards import Member


class Item(NamedTuple):
    """One file of a set, on its own or in a shard."""

    key: str  # the object's name: that of the file without the suffix, with its folders below the named one
    source: Path | Member

    @property
    def name(self) -> str:
        """For messages."""
        source = self.source
        return str(source) if isinstance(source, Path) else f"{source.shard}:{source.key}{source.suffix}"


class ItemColumns(Sequence[Item]):
    """Items in their order, some 130 bytes each."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.endings: list[str] = []  # of the files' names; a file is its place, its key and its ending
        self.shards: list[Path] = []
        self.folders: set[str] = set()  # real paths of those that hold the files and the shards
        self.links: list[str] = []  # files and shards that are links
        self._places: list[str] = []  # folders, as they are named, with the slash at their end
        self._index: dict[str, int] = {}  # of the folders
        self._of = array("i")  # place or shard of an item; -1: it is one of the others
        self._offsets = array("q")  # in a shard; -1: it is a file
        self._sizes = array("q")
        self._cuts = array("i")  # characters of a member's suffix that belong to the item's key
        self._others: dict[int, Item] = {}

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        """Return an item, or a list of them."""
        if isinstance(index, slice):
            return [self._item(i) for i in range(*index.indices(len(self)))]
        return self._item(range(len(self))[index])

    @property
    def has_others(self) -> bool:
        """True where there are items that are neither a file named after its key nor a member of a shard."""
        return bool(self._others)

    @property
    def one_folder(self) -> str | None:
        """The folder, as it was named, that all items are files of or below, each named after its key: "" or "DIR/".

        None where there is no such folder.
        """
        return self._places[0] if len(self._places) == 1 and not self.shards and not self._others else None

    def __iter__(self) -> Iterator[Item]:
        return map(self._item, range(len(self)))

    def _item(self, index: int) -> Item:
        place, key, ending = self._of[index], self.keys[index], self.endings[index]
        if place < 0:
            return self._others[index]
        if self._offsets[index] < 0:
            return Item(key, Path(self._places[place] + key + ending))
        cut = key[: len(key) - self._cuts[index]]
        return Item(key, Member(self.shards[place], cut, ending, self._offsets[index], self._sizes[index]))

    def identity(self, index: int) -> tuple[str, int]:
        """Return the absolute path of an item's file or shard, and where it begins in a shard, else -1."""
        source = self._item(index).source
        return (os.path.abspath(source), -1) if isinstance(source, Path) else (os.path.abspath(source[0]), source[3])

    def add_files(self, folder: str, names: Iterable[tuple[str, str]]) -> None:
        """Append files of a folder ("" or a path with a slash at its end), as key and ending."""
        place = self._index.setdefault(folder, len(self._places))
        if place == len(self._places):
            self._places.append(folder)
        count = len(self)
        for key, ending in names:
            self.keys.append(key)
            self.endings.append(sys.intern(ending))
        self._fill(place, len(self) - count, -1)

    def _fill(self, place: int, count: int, offset: int) -> None:
        self._of.extend([place] * count)
        for column, value in ((self._offsets, offset), (self._sizes, 0), (self._cuts, 0)):
            column.extend([value] * count)

    def add_shard(self, shard: Path, members: Iterable[tuple[str, str, Member]]) -> None:
        """Append members of a shard, each with its key as an item's and its suffix."""
        place = len(self.shards)
        self.shards.append(shard)
        self.note_file(str(shard))
        for key, _, member in members:
            self.keys.append(key)
            self.endings.append(sys.intern(member.suffix))
            self._of.append(place)
            self._offsets.append(member.offset)
            self._sizes.append(member.size)
            self._cuts.append(len(key) - len(member.key))

    def add_other(self, item: Item) -> None:
        """Append an item of any other kind: a folder of photos, a file whose key is not of its name."""
        self._others[len(self)] = item
        self.keys.append(item.key)
        self.endings.append("")
        self._fill(-1, 1, -1)
        self.note_file(str(item.source))

    def note_file(self, path: str) -> None:
        """Record the real folder of a file, and whether it is a link."""
        self.folders.add(real_folder(os.path.dirname(os.path.abspath(path))))
        if os.path.islink(path):
            self.links.append(path)

    def by_shard(self) -> Iterator[tuple[Path, list[int]]]:
        """Yield each shard with the places of its members in the list."""
        places: list[list[int]] = [[] for _ in self.shards]
        for index, (place, offset) in enumerate(zip(self._of, self._offsets, strict=True)):
            if offset >= 0:
                places[place].append(index)
        yield from ((shard, each) for shard, each in zip(self.shards, places, strict=True) if each)

    def apart_from_shards(self) -> Iterator[int]:
        """Yield the places of the items that lie in no shard."""
        return (index for index, offset in enumerate(self._offsets) if offset < 0)

    def take(self, order: Iterable[int]) -> ItemColumns:
        """Return the items of these indices, in that order. Folders and links stay those of all."""
        order = list(order)
        taken = ItemColumns()
        taken.keys, taken.endings = [self.keys[i] for i in order], [self.endings[i] for i in order]
        taken.shards, taken.folders, taken.links = self.shards, self.folders, self.links
        taken._places, taken._index = self._places, self._index
        for name in ("_of", "_offsets", "_sizes", "_cuts"):
            column = getattr(self, name)
            setattr(taken, name, array(column.typecode, (column[i] for i in order)))
        if self._others:
            taken._others = {new: self._others[old] for new, old in enumerate(order) if old in self._others}
        return taken

    def by_key(self) -> ItemColumns:
        """Return the items sorted by key; those of one key in the order that they have."""
        return self.take(sorted(range(len(self)), key=self.keys.__getitem__))


@cache
def real_folder(path: str) -> str:
    """Return the real path of an absolute, normalized path, as `os.path.realpath`: for many paths of a few folders."""
    parent, name = os.path.split(path)
    if not name:
        return path
    real = os.path.join(real_folder(parent), name)
    return os.path.realpath(real) if os.path.islink(real) else real
