"""Inputs that are read once, in order: listed files, and streams whose objects are known only by reading."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.descriptors import is_special
from gatlas.io.sets.inputs import list_columns, read_item
from gatlas.io.sets.items import Item, ItemColumns
from gatlas.io.sets.shards import stream_members
from gatlas.io.sets.suffixes import without_suffix

if TYPE_CHECKING:
    from gatlas.io.streams import Blob

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Readable(NamedTuple):
    """One object among the inputs."""

    name: str  # for messages
    key: str  # of the object
    read: Callable[[], Blob]


def read_inputs(
    words: Sequence[str], suffix: str = ".npz", *, share: tuple[int, int] = (0, 1)
) -> tuple[Iterator[Readable], list[str] | None]:
    """Return the objects that the words of a command line name, and all their names; None where a stream is among them.

    Standard input ("-"), named pipes and compressed tars are read from front to back. Of a `share` (index, number) only
    every object whose place, divided by the number, leaves the index is returned.
    """
    first, step = share
    plain = [word for word in words if not _is_streamed(word)]
    items = list_columns(plain, suffix) if plain else ItemColumns()
    if len(plain) == len(words):
        taken = items[first::step]
        return map(_readable, taken), [item.name for item in taken]
    if words.count("-") > 1:
        warnings.warn("standard input is named twice and read once", stacklevel=2)
    streamed = dict.fromkeys(word for word in words if _is_streamed(word))
    every = chain(map(_readable, items), *(_members(word, suffix) for word in streamed))
    return islice(every, first, None, step), None


def _readable(item: Item) -> Readable:
    return Readable(item.name, item.key, partial(read_item, item))


def _is_streamed(word: str) -> bool:
    return word == "-" or word.lower().endswith(COMPRESSED) or is_special(word)


def _members(word: str, suffix: str) -> Iterator[Readable]:
    empty = True
    for blob in stream_members(word):
        split = without_suffix(blob.name, (suffix,))
        if blob.key is None or split is not None:
            empty = False
            key = blob.name if split is None else split[0]
            yield Readable(blob.name, key.rpartition(":")[2], partial(_same, blob))
    if empty:
        raise GatlasError(f"{'standard input' if word == '-' else word}: there are no {suffix} files in it")


def _same(blob: Blob) -> Blob:
    return blob
