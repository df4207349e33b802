"""Files that another file names: found next to it, however the machine that wrote the name spelled paths.

Names come with backslashes, in another case, percent-encoded, or as absolute paths of another machine. The file
itself is not trusted: unless the caller allows it, nothing outside the folder is ever found. Symbolic links inside the
folder are followed, as whoever made the folder made them.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

_MAX_NAME = 4096  # characters; longer ones are no paths
_MAX_PARTS = 64  # of a path, from its end
_ABSOLUTE = re.compile(r"/|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]+:/")  # of any system, or a URI with a scheme


def find_beside(folder: str | Path, name: str, *, uri: bool = False, outside: bool = False) -> Path | None:
    """Return the regular file in `folder` that `name` means, or None where there is none.

    The name as it is counts first, then without quotes around it, with backslashes as slashes and with %xx decoded
    (first of all where it is a `uri`), then in another case, then ever fewer of its last parts, of which the longest
    match counts. Absolute paths and those that lead out of the folder by ".." are found by their last parts alone,
    unless `outside` is set, which takes such a path where it exists. See `is_plain` for what deserves a message.
    """
    if not name or len(name) > _MAX_NAME or "\0" in name:
        return None
    folder = Path(folder)
    spellings = _spellings(name, uri)
    for spelling in spellings:
        if (inside := _inside(spelling)) is not None and is_file(folder / inside):
            return folder / inside
        if outside and is_file(folder / spelling):
            return folder / spelling
    for spelling in spellings:
        parts = _parts(spelling)
        for first in range(len(parts)):
            found = _find_parts(folder, parts[first:])
            if found is not None:
                return found
    return None


def is_plain(folder: str | Path, name: str, found: Path) -> bool:
    """Return True where `found` is what `name` means as it stands, with / or backslash and %xx: nothing to report."""
    candidates = (os.path.normpath(Path(folder) / spelling) for spelling in _spellings(name, uri=False))
    return os.path.normpath(found) in candidates


def leads_outside(name: str) -> bool:
    """Return True for an absolute path, a URI with a scheme, or a path that leads out of its folder by ".."."""
    return _inside(unquote(name).replace("\\", "/")) is None


def _spellings(name: str, uri: bool) -> list[str]:
    """The name as it is, without quotes around it, with slashes, and percent-decoded."""
    bare = name.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        bare = bare[1:-1].strip()
    decoded = unquote(bare)
    names = (decoded, name, bare) if uri else (name, bare, decoded)
    return list(dict.fromkeys(spelling for each in names for spelling in (each, each.replace("\\", "/")) if spelling))


def _inside(name: str) -> str | None:
    """The path relative to the folder, without "." and ".."; None where it is absolute or leads out of the folder."""
    if _ABSOLUTE.match(name.replace("\\", "/")) or "\0" in name:
        return None
    path = posixpath.normpath(name)
    return None if path in (".", "..") or path.startswith("../") else path


def _parts(name: str) -> list[str]:
    """The last parts of a path of any system, without its drive, scheme, "." and ".."."""
    slashed = name.replace("\\", "/")
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", slashed)
    path = posixpath.normpath(slashed[scheme.end() :] if scheme else slashed)
    return [part for part in path.split("/") if part not in ("", ".", "..")][-_MAX_PARTS:]


def _find_parts(folder: Path, parts: list[str]) -> Path | None:
    """The file at these parts below the folder, each in its own case where there is one, else in any."""
    exact = folder.joinpath(*parts)
    if is_file(exact):
        return exact
    path = folder
    for part in parts:
        below = path / part
        if not _exists(below):
            names = _names_by_key(path).get(_key(part))
            if not names:
                return None
            below = path / names[0]
        path = below
    return path if is_file(path) else None


def _key(name: str) -> str:
    """The part that names that differ by case or by the composition of accents share."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _names_by_key(folder: Path) -> dict[str, list[str]]:
    """The names in a folder, sorted, by `_key`; empty where it cannot be listed."""
    try:
        return _listed(str(folder), os.stat(folder).st_mtime_ns)
    except (OSError, ValueError):
        return {}


@lru_cache(maxsize=64)  # thousands of pictures are sought in a few folders
def _listed(folder: str, modified: int) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        names.setdefault(_key(name), []).append(name)
    return names


def is_file(path: Path) -> bool:
    """Return True for a regular file; a device could be read for ever."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
