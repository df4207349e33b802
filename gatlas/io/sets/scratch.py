"""Files of a batch: a scratch folder that one process holds, moves that leave nothing half done, and JSON lines."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from gatlas.errors import GatlasError
from gatlas.io.descriptors import takes_writes
from gatlas.io.json_reader import JsonError, parse_json
from gatlas.io.outputs import append, remove, remove_leftovers, scratch_beside, whole_file
from gatlas.io.streams import os_errors

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of file systems without locks


@contextmanager
def held_scratch(folder: Path, label: str, busy: str) -> Iterator[Path]:
    """Yield an empty scratch folder in `folder` that no other process uses; it is removed after the block.

    A second process with the same label is a GatlasError with the message `busy`. What a killed process left is removed
    by the next one with its label.
    """
    scratch, lock = (folder / f".gatlas-batch-{label}{suffix}" for suffix in (".tmp", ".lock"))
    with ExitStack() as stack:
        with os_errors(folder, named=True):
            folder.mkdir(parents=True, exist_ok=True)
            stack.callback(os.close, _open_locked(lock, busy))
            stack.callback(lock.unlink, missing_ok=True)
            remove(scratch)
            remove_leftovers(folder)
            scratch.mkdir()
            stack.callback(remove, scratch, ignore_errors=True)
        yield scratch


def _open_locked(lock: Path, busy: str) -> int:
    while True:
        # A file and not the folder: over NFS only a file that is open for writing is locked on all machines.
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise GatlasError(busy) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        with suppress(FileNotFoundError):  # the owner before has just removed it
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        os.close(descriptor)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a scratch folder among the system's temporary files."""
    with tempfile.TemporaryDirectory(prefix="gatlas-") as folder:
        yield Path(folder)


def new_path(scratch: Path, suffix: str = "") -> Path:
    """Return a path in a scratch folder where nothing is yet."""
    return scratch / (secrets.token_hex(8) + suffix)


@contextmanager
def replacing(place: Path, made: Path, *, owned: Collection[str] = ()) -> Iterator[None]:
    """Move the file or folder `made`, which lies in a scratch folder, to its place when the block ends.

    A file is replaced in one step. A folder is set aside before the block and is back where the block fails; it may
    hold only `owned` files (paths inside it): any other is a GatlasError, as is a folder in the place of a file.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    if made.is_dir():
        place = Path(os.path.realpath(place))  # a link to a folder stays a link
    if not place.is_dir():
        yield
        _move(made, place)
        return
    if not made.is_dir():
        raise GatlasError(f"{place}: is a folder; the output must be a file")
    if unowned := sorted(folder_contents(place).keys() - set(owned)):
        raise GatlasError(f"{place / unowned[0]}: a new result would replace its folder: move it elsewhere first")
    older = new_path(made.parent)
    _move(place, older)
    try:
        yield
        _move(made, place)
    except BaseException:
        if not place.exists():
            _move(older, place)
        raise
    remove(older)


def _move(source: Path, target: Path) -> None:
    """Rename; to another file system, copy and rename there. A pipe or a descriptor of ours is written into."""
    if source.is_file() and takes_writes(target):
        with source.open("rb") as content, whole_file(target, force=True) as sink:
            shutil.copyfileobj(content, sink, 1 << 20)
        remove(source)
        return
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with scratch_beside(target) as near:
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, near)
            os.replace(near, target)
        remove(source)


def matching_names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """Return the names in a folder that match, sorted; the others, of which there may be many, are not kept."""
    with os_errors(folder, named=True), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if pattern.fullmatch(entry.name))


def folder_contents(folder: Path) -> dict[str, int]:
    """Return the size in bytes of every file in a folder and below, by its path from there."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return {str(path.relative_to(folder)): path.lstat().st_size for path in paths}


def read_lines(path: Path, ids: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects with an "id" in a file of one per line; none where there is no file.

    A torn line, of a process that was killed while it wrote, is left out, as is one with entries of other types than
    gatlas writes. With `ids`, lines of others are left out, and most are not parsed.
    """
    with os_errors(path):
        if not path.exists():
            return
        with path.open("rb") as file:
            if ids is None:
                yield from _objects(file)
            else:
                found = _objects(raw for raw in file if _may_be_of(raw, ids))
                yield from (line for line in found if line["id"] in ids)


_HEAD = b'{"id": "'


def _may_be_of(raw: bytes, ids: Collection[str]) -> bool:
    """Return False for a line that gatlas wrote of another id; the id comes first in it."""
    end = raw.find(b'"', len(_HEAD))
    if end < 0 or not raw.startswith(_HEAD) or raw.find(b'"id"', end) >= 0:
        return True
    try:
        found = raw[len(_HEAD) : end].decode("ascii")
        if "\\" in found:
            found = parse_json(f'"{found}"')
    except (UnicodeDecodeError, JsonError):  # of another writer, or an id with a quote in it
        return True
    return found in ids


def _objects(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for raw in lines:
        try:
            line = parse_json(raw.removesuffix(b"\n"), finite=False)
        except JsonError:
            continue
        if isinstance(line, dict) and isinstance(line.get("id"), str) and _has_our_types(line):
            yield line


def read_first_line(path: Path) -> dict[str, Any]:
    """Return the first JSON object with an "id" in the first lines of a file; {} where there is none."""
    with os_errors(path), path.open("rb") as file:
        head = file.read(1 << 16)
    return next(iter(_objects(head.split(b"\n"))), {})


def _has_our_types(line: dict[str, Any]) -> bool:
    files = line.get("files", {})
    sizes = [line.get("contents", {}), *(each for each in (files.values() if isinstance(files, dict) else ()) if each)]
    return (
        all(isinstance(line.get(key, ""), str) for key in ("status", "verb", "input"))
        and all(type(line.get(key, 0)) in (int, float) and line.get(key, 0) >= 0 for key in ("end", "ended", "bytes"))
        and isinstance(files, dict)
        and all(isinstance(each, dict) and all(type(size) is int for size in each.values()) for each in sizes)
        and isinstance(line.get("captions", []), list)
        and isinstance(kept := line.get("kept", {}), dict)
        and ("kept" not in line or _has_our_types(kept))
    )


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one line; it is on the disk on return. A failure leaves the file as it was, or none."""
    with os_errors(path, named=True):
        append(path, [json.dumps(line).encode() + b"\n"], synced=True)


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file of lines, whole or not at all; it is on the disk on return."""
    with whole_file(path, force=True) as file:
        file.writelines(json.dumps(line).encode() + b"\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
