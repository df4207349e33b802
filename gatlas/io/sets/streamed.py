"""Objects of a tar that is read from front to back, each with the captions beside it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from gatlas.io.sets.inputs import CAPTIONS, without_suffix

if TYPE_CHECKING:
    from gatlas.io.streams import Blob


class Streamed(NamedTuple):
    """One object of a stream."""

    key: str  # its name, as `list_items` calls it; empty for what is no member of a tar
    blob: Blob
    captions: dict[str, bytes]  # suffix -> content


def stream_objects(members: Iterable[Blob], suffixes: tuple[str, ...]) -> Iterator[Streamed]:
    """The objects with one of the suffixes among the members, each with the captions right before or behind it.

    A caption that lies elsewhere in the tar is left out, with a warning: by the time it is read its object may be done.
    """
    found: set[str] = set()
    apart: set[str] = set()  # names of captions without an object beside them
    for key, group in groupby(_named(members, suffixes), key=lambda each: each[0]):
        objects: list[Blob] = []
        captions: dict[str, bytes] = {}
        for _, ending, blob in group:
            if ending in CAPTIONS:
                captions[ending] = blob.data
            else:
                objects.append(blob)
        (found if objects else apart).add(key)
        for blob in objects:
            yield Streamed(key, blob, captions)
    left_out = len(found & apart)
    if left_out:
        warnings.warn(
            f"captions that do not lie beside their objects in the tar are left out: {left_out:,}; "
            "pack it with tar --sort=name",
            stacklevel=2,
        )


def _named(members: Iterable[Blob], suffixes: tuple[str, ...]) -> Iterator[tuple[str, str, Blob]]:
    """Name, suffix and content of each object and each caption."""
    for blob in members:
        if blob.key is None:
            yield "", "", blob
            continue
        file = blob.name[blob.name.rindex(f":{blob.key}") + 1 :]
        split = without_suffix(file, (*suffixes, *CAPTIONS))
        if split is not None:
            yield *split, blob
