"""Bytes in: files, and standard input; and errors of the system as one line."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from gatlas.errors import GatlasError
from gatlas.io.descriptors import is_endless, is_special, named_descriptor
from gatlas.io.registry import recognize

if TYPE_CHECKING:
    from gatlas.io.registry import Format

STREAM = "-"  # standard input or output on the command line
TURN = 0.5  # seconds: how long a wait for standard input may keep a signal from being acted on


@dataclass(frozen=True)
class Blob:
    """One whole input: its bytes and what to call it."""

    name: str  # for messages: the path, or "standard input"
    data: bytes = field(repr=False)
    path: Path | None = None  # None: it came through a pipe
    key: str | None = None  # of a member of a tar shard

    @property
    def format(self) -> Format | None:
        """The format, by the content or, for one without a signature, by the name; None: unknown."""
        return recognize(self)

    @cached_property
    def kind(self) -> str:
        """The noun that it holds, a key of `gatlas.io.registry.NOUNS`, or "unknown"."""
        found = self.format
        return found.noun if found is not None else "unknown"

    @property
    def suffix(self) -> str:
        """The suffix of the file's name, also in a shard, in lower case; "" for a pipe."""
        name = self.name if self.key is not None else self.path or ""
        return Path(name).suffix.lower()

    @property
    def stem(self) -> str:
        """The name of the object: the key in a shard, the file's name without its suffix, or "" for a pipe."""
        if self.key is not None:
            return self.key
        return self.path.stem if self.path is not None else ""


def is_stream(path: str | Path) -> bool:
    """Return True if a command-line argument means standard input or output."""
    return str(path) == STREAM


def read(source: str | Path) -> Blob:
    """All bytes of a file, or of standard input where `source` is "-". Nothing to read is a GatlasError."""
    descriptor = named_descriptor(source)
    if is_stream(source) or descriptor == 0:
        return _read_stdin()
    if not str(source):
        raise GatlasError("the name of the input is empty")
    path = Path(source)
    if descriptor is None and is_endless(path):
        raise GatlasError(f"{path}: is a device, which has no end: name a file")
    with opened_file(path) as file:
        data = file.read()
    if not data:
        raise GatlasError(f"{path}: the file is empty")
    # A named pipe, such as the shell's <(command), has a path that does not name the object, and so has a descriptor.
    return Blob(str(path), data, path if descriptor is None and path.is_file() else None)


def exists(path: str | Path) -> bool:
    """Return True if a file or folder of this name exists."""
    with os_errors(path):
        return Path(path).exists()


def make_folder(path: str | Path, *, parents: bool = False) -> None:
    """Make a folder where it is missing; its parent must be there, or is made too."""
    with os_errors(path):
        Path(path).mkdir(exist_ok=True, parents=parents)


def as_blob(source: str | Path | Blob) -> Blob:
    """The source itself where it has been read, else its bytes."""
    return source if isinstance(source, Blob) else read(source)


def stdin_bytes() -> BinaryIO:
    """Standard input as bytes. None to read from, or a terminal, is a GatlasError."""
    if sys.stdin is None:
        raise GatlasError("standard input is closed: name an input file")
    if sys.stdin.isatty():
        raise GatlasError("no input: name a file, or pipe one in (standard input is a terminal)")
    return _interruptible(sys.stdin.buffer)


@cache
def _interruptible(stream: BinaryIO) -> BinaryIO:
    """The same bytes, read so that a signal ends the wait for them; once a stream, as there is a buffer in it."""
    try:
        return io.BufferedReader(_InterruptibleReader(stream.fileno()), 1 << 20)
    except OSError:  # no file of the system's stands behind it
        return stream


class _InterruptibleReader(io.RawIOBase):
    """A descriptor that is waited for in short turns.

    Python acts on a signal between two steps of its own: one that comes just before a read has to wait for its end,
    which on a pipe may never come.
    """

    def __init__(self, descriptor: int, *, close: bool = False) -> None:
        self._descriptor = descriptor
        self._close = close

    def close(self) -> None:
        if self._close and not self.closed:
            os.close(self._descriptor)
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not select.select([self._descriptor], [], [], TURN)[0]:
            pass
        return os.readv(self._descriptor, [buffer])


def _read_stdin() -> Blob:
    with os_errors("standard input"):
        data = stdin_bytes().read()
    if not data:
        raise GatlasError("standard input is empty: the command before this one in the pipe failed or wrote nothing")
    return Blob("standard input", data)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_TRANSIENT = (*_FULL, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE)


def is_disk_full(error: BaseException | None) -> bool:
    """Return True if an error, or its description, means that the disk is full."""
    return _comes_from(error, _FULL)


def is_transient(error: BaseException | None) -> bool:
    """Return True if an error, or its description, is transient: of the machine or the disk, not of the input."""
    return _comes_from(error, _TRANSIENT)


def _comes_from(error: BaseException | None, numbers: Container[int]) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in numbers:
            return True
        error = error.__context__
    return False


@contextmanager
def os_errors(path: str | Path, *, named: bool = False) -> Iterator[None]:
    """Convert an OSError inside the block to a GatlasError of one line that begins with `path`.

    With `named` it begins with the file that the error itself names, where it names one: of a rename, the new name.
    A reader that closes the pipe stays a BrokenPipeError, for the command line to end quietly.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        place = (error.filename2 or error.filename or path) if named else path
        raise GatlasError(f"{place}: {error.strerror or error}") from None
    except ValueError as error:
        if "\0" not in str(path):
            raise
        raise GatlasError(f"{str(path)!r:.200}: no name of a file: it holds a zero byte ({error})") from None


@contextmanager
def opened_file(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a file open for reading. Errors inside the block are those of `os_errors`; a folder is refused as such."""
    with os_errors(path):
        try:
            with _opened_descriptor(path) or Path(path).open("rb") as file:
                yield file
        except IsADirectoryError:
            raise GatlasError(f"{path}: is a folder; a file is needed here") from None


def _opened_descriptor(path: str | Path) -> BinaryIO | None:
    """Return a reader of an open pipe or socket that a path names, as /dev/fd/3 does; None for any other path."""
    number = named_descriptor(path)
    if number is None or not is_special(path):
        return None
    return io.BufferedReader(_InterruptibleReader(os.dup(number), close=True))


def is_folder(out: str | Path) -> bool:
    """Return True if an output names a folder: an existing one, or a path that ends in a slash."""
    if is_stream(out):
        return False
    with os_errors(out):
        return str(out).endswith(os.sep) or Path(out).is_dir()
