"""Pictures and masks that an index of photos names, found also where another machine spelled their paths."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

from gatlas.io.beside import find_beside, is_file, is_plain


def find_named(
    index: str,
    folders: Sequence[Path],
    names: Sequence[str | None],
    *,
    noun: str,
    suffixes: Sequence[str] = ("",),
    others: Collection[Path | None] = (),
) -> list[Path | None]:
    """Return the file of each name, in the first of the folders that has it, or None.

    A name may lack one of the `suffixes`. What is nowhere as it is named is sought with slashes for backslashes, in
    another case and by its last parts; one warning counts what was not simply beside the index, and calls it by its
    `noun`. A file that is another name's too, or one of the `others`, is nobody's: it would be the wrong one.
    """
    found = [None if name is None else _exact(folders, name, suffixes) for name in names]
    sought = [i for i, name in enumerate(names) if name is not None and found[i] is None]
    taken = {path for path in (*found, *others) if path is not None}
    loose = {i: _loose(folders, name, suffixes) for i in sought if (name := names[i]) is not None}
    claims = defaultdict(set)
    for i, path in loose.items():
        claims[path].add(names[i])
    odd = []
    for i, path in loose.items():
        if path is None or len(claims[path]) > 1 or path in taken:
            continue
        found[i] = path
        if not any(is_plain(folder, f"{names[i]}{suffix}", path) for folder in folders for suffix in suffixes):
            odd.append(i)
    if odd:
        say_once(
            f"{index}: {len(odd)} of the {len(names)} names of {noun}s are of another machine or in another case and "
            f"found by their last parts: the first, {names[odd[0]]!r:.200}, is {found[odd[0]]}"
        )
    return found


def last_part(name: str) -> str:
    """Return the file's name in a path of any system."""
    return name.replace("\\", "/").rsplit("/", 1)[-1]


@cache  # an index is read several times by one command
def say_once(message: str) -> None:
    """Issue a warning, once per process."""
    warnings.warn(message, stacklevel=2)


def _exact(folders: Sequence[Path], name: str, suffixes: Sequence[str]) -> Path | None:
    for folder in folders:
        for suffix in suffixes:
            path = folder / f"{name}{suffix}"
            if is_file(path):
                return path
    return None


def _loose(folders: Sequence[Path], name: str, suffixes: Sequence[str]) -> Path | None:
    for folder in folders:
        for suffix in suffixes:
            path = find_beside(folder, f"{name}{suffix}", outside=True)
            if path is not None:
                return path
    return None
