"""Inputs that are read once, in order: listed files, and streams whose objects are known only by reading."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.descriptors import is_special
from gatlas.io.sets.inputs import list_items, read_item
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


def read_inputs(words: Sequence[str], suffix: str = ".npz") -> tuple[Iterator[Readable], list[str] | None]:
    """Return the objects that the words of a command line name, and all their names; None where a stream is among them.

    Standard input ("-"), named pipes and compressed tars are read from front to back.
    """
    plain = [word for word in words if not _is_streamed(word)]
    items = list_items(plain, suffix) if plain else []
    listed = (Readable(item.name, item.key, partial(read_item, item)) for item in items)
    if len(plain) == len(words):
        return listed, [item.name for item in items]
    if words.count("-") > 1:
        warnings.warn("standard input is named twice and read once", stacklevel=2)
    streamed = dict.fromkeys(word for word in words if _is_streamed(word))
    return chain(listed, *(_members(word, suffix) for word in streamed)), None


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
