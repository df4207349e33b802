"""Indexes of tar shards: what lies where in a shard, and its short captions, so that nobody reads its headers twice.

The index of `x.tar` is `.x.tar.index` beside it, a line of JSON and then columns of int64, written with the shard and
on first use. It counts where it names the size and the time of change that the shard has; else the headers are read
again. In a folder that cannot be written it lies in the user's cache, and where that cannot be either, in memory. It
only saves time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from array import array
from collections.abc import Iterable, Iterator
from functools import cache
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.caches import cache_folder
from gatlas.io.json_reader import JsonError, parse_json
from gatlas.io.leftovers import scratch_name
from gatlas.io.sets.shards import CAPTIONS, Member, list_members, read_member
from gatlas.io.sets.suffixes import without_suffix
from gatlas.io.streams import Blob
from gatlas.locks import exclusive
from gatlas.trust import foreign_writer

FORMAT = 1
FEWEST = 64  # members: the headers of fewer are read as fast
MOST_OF_TEXT = 2_048  # bytes of a caption that is kept
_COLUMNS = 4  # key, suffix, offset and size of every member

Stamp = tuple[int, int]  # size and time of change of a shard, bytes and ns


class ShardIndex(NamedTuple):
    """The members of a shard, in its order, as columns, and the texts of its short captions by their offsets."""

    shard: Path
    keys: list[str]  # each once
    suffixes: list[str]  # each once
    key: array[int]  # of a member, as an index into `keys`
    suffix: array[int]
    offset: array[int]  # bytes, of its content
    size: array[int]  # bytes
    texts: dict[int, str]

    @property
    def members(self) -> list[Member]:
        """The members, one by one."""
        rows = zip(self.key, self.suffix, self.offset, self.size, strict=True)
        return [Member(self.shard, self.keys[k], self.suffixes[s], begin, size) for k, s, begin, size in rows]

    def with_suffix(self, suffixes: tuple[str, ...]) -> Iterator[tuple[str, str, Member]]:
        """Yield the key, as an object's, and the suffix of each member that ends in one of them, and the member."""
        splits = [without_suffix(each, suffixes) for each in self.suffixes]
        for k, s, begin, size in zip(self.key, self.suffix, self.offset, self.size, strict=True):
            split = splits[s]
            if split is not None:
                key = self.keys[k]  # "chair.v2.npz" is no less an object in a shard than in a folder
                yield (
                    key + split[0] if split[0] else key,
                    split[1],
                    Member(self.shard, key, self.suffixes[s], begin, size),
                )

    def read(self, member: Member) -> Blob:
        """Return the content of a member."""
        text = self.texts.get(member.offset)
        if text is None:
            return read_member(member)
        return Blob(f"{member.shard}:{member.key}{member.suffix}", text.encode(), key=member.key)


def index_of(shard: str | Path, members: Iterable[Member], texts: dict[int, str]) -> ShardIndex:
    """Return the index of a shard with these members."""
    keys: dict[str, int] = {}
    suffixes: dict[str, int] = {}
    key, suffix, offset, size = (array("q") for _ in range(4))
    for member in members:
        key.append(keys.setdefault(member.key, len(keys)))
        suffix.append(suffixes.setdefault(member.suffix, len(suffixes)))
        offset.append(member.offset)
        size.append(member.size)
    return ShardIndex(Path(shard), list(keys), list(suffixes), key, suffix, offset, size, texts)


def shard_index(shard: str | Path) -> ShardIndex:
    """Return the index of a tar on disk: the one that is kept, else that of its headers, which is then kept.

    Of several processes that ask for it at once, one reads the headers. Errors are those of `list_members`.
    """
    path = os.fspath(shard)
    found = _load(path)
    if found is not None:
        return found
    stamp = _stamp(path)
    if stamp is None or not os.path.isfile(path) or stamp[0] < FEWEST * 512:  # an error in one line, or a small tar
        return index_of(path, list_members(path), {})
    turn = cache_folder() / "locks" / f"shards-{_digest(os.path.dirname(os.path.realpath(path)))}.lock"
    with exclusive(str(turn), lambda: None):
        return _load(path) or _scan(path)


def keep_index(shard: str | Path) -> None:
    """Read the headers of a new shard and keep its index. What is wrong with it is reported where it is read."""
    try:
        _scan(os.fspath(shard))
    except GatlasError:
        return


def index_path(shard: str) -> Path:
    """Return the place of a shard's index beside it."""
    folder, name = os.path.split(shard)
    return Path(folder) / f".{name}.index"


def _scan(path: str) -> ShardIndex:
    stamp = _stamp(path)
    members = list_members(path)
    if len(members) < FEWEST or stamp is None:
        return index_of(path, members, {})
    found = index_of(path, members, _texts(path, members))
    if stamp == _stamp(path):  # nobody wrote into it meanwhile
        _save(path, stamp, found)
    return found


def _texts(path: str, members: Iterable[Member]) -> dict[int, str]:
    texts = {}
    with open(path, "rb") as file:
        for member in members:
            if member.size <= MOST_OF_TEXT and member.suffix.lower().endswith(CAPTIONS):
                file.seek(member.offset)
                try:
                    texts[member.offset] = file.read(member.size).decode()
                except UnicodeDecodeError:  # reading it as a caption is the error
                    continue
    return texts


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:24]


def _cached_path(path: str) -> Path:
    return cache_folder() / "shards" / f"{_digest(os.path.realpath(path))}.index"


KEPT: dict[str, tuple[Stamp, ShardIndex]] = {}  # those that could be written nowhere


def _load(path: str) -> ShardIndex | None:
    """Return the index of a shard that is kept and is of the shard as it is now, or None."""
    stamp = _stamp(path)
    if stamp is None:
        return None
    if path in KEPT and KEPT[path][0] == stamp:
        return KEPT[path][1]
    cached = _cached_path(path)
    for place in (index_path(path), cached):
        try:
            if place == cached and foreign_writer(cached, contents=False) is not None:
                continue
            head, _, columns = place.read_bytes().partition(b"\n")
            document = parse_json(head, finite=False)
            if (document["gatlas_shard_index"], document["size"], document["changed"]) == (FORMAT, *stamp):
                return _from_file(Path(path), document, columns)
        except (OSError, JsonError, ValueError, TypeError, LookupError):
            continue
    return None


def _from_file(shard: Path, document: Any, columns: bytes) -> ShardIndex:
    """Return the index of the two parts of its file; what is wrong is a ValueError, TypeError or LookupError."""
    keys, suffixes, count = document["keys"], document["suffixes"], len(columns) // (8 * _COLUMNS)
    key, suffix, offset, size = (_numbers(columns[8 * count * i : 8 * count * (i + 1)]) for i in range(_COLUMNS))
    texts = {int(begin): text for begin, text in document["texts"].items()}
    if not all(isinstance(name, str) for name in (*keys, *suffixes)):
        raise TypeError("a name that is no text")
    if not all(map(_is_safe, (*keys, *suffixes))):
        raise ValueError("a name that no member has")
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("a caption that is no text")
    bounds = ((key, len(keys)), (suffix, len(suffixes)), (offset, document["size"]), (size, document["size"]))
    if len(columns) != 8 * _COLUMNS * count or (count and any(min(c) < 0 or max(c) > most for c, most in bounds)):
        raise ValueError("a member that does not lie in the shard")
    if count and (max(key) == len(keys) or max(suffix) == len(suffixes)):
        raise ValueError("a member without a name")
    if count and max(map(add, offset, size)) > document["size"]:
        raise ValueError("a member that does not lie in the shard")
    return ShardIndex(shard, keys, suffixes, key, suffix, offset, size, texts)


def _numbers(content: bytes) -> array[int]:
    """Return int64 of little-endian bytes, and the other way round with `tobytes`."""
    column = array("q", content)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _is_safe(name: str) -> bool:
    """Return True for a name inside the tar's own folder."""
    return "\0" not in name and not name.startswith("/") and (".." not in name or ".." not in name.split("/"))


def _save(path: str, stamp: Stamp, index: ShardIndex) -> None:
    """Keep an index beside its shard, else in the cache, else in memory."""
    document: dict[str, Any] = {"gatlas_shard_index": FORMAT, "size": stamp[0], "changed": stamp[1]}
    document |= {"keys": index.keys, "suffixes": index.suffixes, "texts": index.texts}
    columns = (_numbers(each.tobytes()).tobytes() for each in (index.key, index.suffix, index.offset, index.size))
    content = b"".join((json.dumps(document, separators=(",", ":")).encode(), b"\n", *columns))
    folder = os.path.dirname(path) or "."
    for place in (index_path(path), _cached_path(path)):
        if write_index(place, content, make_folder=place != index_path(path)):
            if place != index_path(path):
                warn_once(f"{folder}: cannot be written: the indexes of its shards are kept in {place.parent}")
            return
    KEPT[path] = stamp, index
    warn_once(f"{folder}: neither it nor {cache_folder()} can be written: each process reads the headers anew")


def write_index(place: Path, content: bytes, *, make_folder: bool) -> bool:
    """Write an index whole; False where it cannot be."""
    scratch = place.with_name(scratch_name())
    try:
        if make_folder:
            place.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.write_bytes(content)
            os.replace(scratch, place)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError:
        return False
    return True


@cache
def warn_once(text: str) -> None:
    """Warn of something, the first time."""
    warnings.warn(text, stacklevel=2)
