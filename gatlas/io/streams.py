"""Bytes in and bytes out: standard input and output, and files that appear whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
import select
import shutil
import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from gatlas.errors import GatlasError
from gatlas.io.registry import NOUNS, check_suffix, recognize, written_suffixes

if TYPE_CHECKING:
    from gatlas.io.registry import Format

    Buffer = Any  # bytes or a C-contiguous numpy array

STREAM = "-"  # standard input or output on the command line
TURN = 0.5  # seconds: how long a wait for standard input may keep a signal from being acted on
_CLOSED = "standard output is closed"


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
    if is_stream(source):
        return _read_stdin()
    if not str(source):
        raise GatlasError("the name of the input is empty")
    path = Path(source)
    with opened_file(path) as file:
        data = file.read()
    if not data:
        raise GatlasError(f"{path}: the file is empty")
    # A named pipe, such as the shell's <(command), has a path that does not name the object.
    return Blob(str(path), data, path if path.is_file() else None)


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

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

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


@contextmanager
def opened_file(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a file open for reading. Errors inside the block are those of `os_errors`; a folder is refused as such."""
    with os_errors(path):
        try:
            with Path(path).open("rb") as file:
                yield file
        except IsADirectoryError:
            raise GatlasError(f"{path}: is a folder; a file is needed here") from None


def is_folder(out: str | Path) -> bool:
    """Return True if an output names a folder: an existing one, or a path that ends in a slash."""
    if is_stream(out):
        return False
    with os_errors(out):
        return str(out).endswith(os.sep) or Path(out).is_dir()


def check_output(
    out: str | Path, *, force: bool, folder: bool = False, noun: str = "", suffix: str = "", what: str = ""
) -> None:
    """Refuse, before any work is done, an output that could not be written in the end.

    A file is refused where it exists (without `force`), where its folder is missing or not writable and, where the
    content to come is known, where its own suffix promises another one. The content is a `noun` of
    `gatlas.io.registry`, or else `what` messages call it and the `suffix` that it has ("a report", ".json").
    With `folder` the output is a folder to fill: it may be missing (its parent must be there) or empty, and `force`
    allows one with files in it.
    """
    if is_stream(out):
        if folder:
            raise GatlasError("a folder cannot go to standard output: name one with -o")
        if sys.stdout is None:
            raise GatlasError(f"{_CLOSED}: name an output with -o")
        return
    if not str(out):
        raise GatlasError("the name of the output is empty")
    path = Path(out)
    with os_errors(path):
        if folder:
            _check_folder(path, force)
        else:
            if is_folder(out):
                raise GatlasError(f"{out}: is a folder; the output must be a file")
            check_suffix(path, written_suffixes(noun) if noun else suffix, NOUNS.get(noun, what))
            _check_file(path, force)


def refuse_shared_names(*outputs: str | None) -> None:
    """Raise a GatlasError where two outputs have the same name and would overwrite each other; None is no output."""
    if outputs.count(STREAM) > 1:
        raise GatlasError("two outputs cannot both go to standard output: name a file for one of them")
    paths = [os.path.realpath(output) for output in outputs if output is not None and output != STREAM]
    if len(set(paths)) < len(paths):
        raise GatlasError("two outputs have the same name: give each its own")


def _check_file(path: Path, force: bool) -> None:
    if _is_special(path):
        return
    if path.exists() and not force:
        raise GatlasError(f"{path} exists: use --force to overwrite it")
    check_parent(path)


def _check_folder(path: Path, force: bool) -> None:
    if not path.exists():
        check_parent(path)
        return
    if not path.is_dir():
        raise GatlasError(f"{path}: is a file; the output must be a folder")
    if not force and any(path.iterdir()):
        raise GatlasError(f"{path} exists and is not empty: use --force to overwrite what is in it")
    if not os.access(path, os.W_OK | os.X_OK):
        raise GatlasError(f"{path}: the folder is not writable")


def check_parent(path: Path) -> None:
    """Refuse an output whose folder is missing or not writable."""
    parent = Path(os.path.realpath(path)).parent
    if not parent.is_dir():
        raise GatlasError(f"{path}: there is no folder {parent}: create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise GatlasError(f"{path}: the folder {parent} is not writable")


def _is_special(path: Path) -> bool:
    """A device or a named pipe, which is written to and must never be replaced by a file."""
    return path.exists() and not path.is_file() and not path.is_dir()


def write(
    out: str | Path,
    chunks: Iterable[Buffer],
    *,
    force: bool,
    noun: str = "",
    suffix: str = "",
    what: str = "",
    name: str = "",
    text: bool = False,
) -> None:
    """Write a result whole or not at all: to standard output where `out` is "-", else to a file.

    `noun`, or `suffix` and `what`, are of its content: see `check_output`. A terminal gets no binary: the result goes
    to a file in the current folder called `name` (or "gatlas") plus the suffix, and its path to standard error. A
    reader that closes the pipe is a BrokenPipeError, for the command line to end quietly; any other failure is a
    GatlasError.
    """
    check_output(out, force=force, noun=noun, suffix=suffix, what=what)
    if not is_stream(out):
        _write_file(Path(out), chunks, force=force)
    elif sys.stdout.isatty() and not text:
        path = Path(_file_name(name) + (written_suffixes(noun)[0] if noun else suffix))
        check_output(path, force=force)
        _write_file(path, chunks, force=force)
        print(path, file=sys.stderr)
    else:
        write_stdout(chunks)


def write_stdout(chunks: Iterable[Buffer]) -> None:
    """Write every byte to standard output, however little it takes at a time. Errors as for `write`."""
    if sys.stdout is None:
        raise GatlasError(_CLOSED)
    with os_errors("standard output"):
        sys.stdout.flush()
        stream = sys.stdout.buffer
        for chunk in chunks:
            rest = memoryview(chunk).cast("B")
            while rest:
                # Under PYTHONUNBUFFERED the stream is raw: it may take a part only, or, non-blocking, nothing yet.
                try:
                    taken = stream.write(rest) or 0
                except BlockingIOError as full:
                    taken = full.characters_written
                if not taken:
                    select.select([], [stream], [])
                rest = rest[taken:]
        stream.flush()


def show(text: str) -> None:
    """Write text for people to standard output; what of it are names of files stays their bytes. Errors as for `write`.

    `print` does not report a closed standard output, and reports a full one too late.
    """
    write_stdout([os.fsencode(text)])


def _write_file(path: Path, chunks: Iterable[Buffer], *, force: bool) -> None:
    with whole_file(path, force=force) as file:
        file.writelines(memoryview(chunk) for chunk in chunks)


@contextmanager
def whole_file(out: str | Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file to write that becomes `out` when the block ends well, and leaves nothing behind when it does not."""
    path = Path(out)
    with os_errors(path):
        if _is_special(path):
            with path.open("wb") as file:
                yield file
            return
        target = Path(os.path.realpath(path))  # a link stays a link
        with scratch_beside(target) as scratch:
            # Not tempfile, whose files only their owner can read: this one's mode follows the umask.
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with open(descriptor, "wb") as file:
                yield file
            if not force and target.exists():
                raise GatlasError(f"{path} exists: use --force to overwrite it")
            os.replace(scratch, target)


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A fresh path on the target's file system; what is there when the block fails, for whatever reason, is removed."""
    scratch = target.parent / f".gatlas-{secrets.token_hex(8)}.tmp"
    try:
        yield scratch
    except BaseException:
        remove(scratch, ignore_errors=True)
        raise


def remove(path: Path, *, ignore_errors: bool = False) -> None:
    """Remove a file, a link, or a folder and all that is in it, if it is there; `ignore_errors` inside the folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=ignore_errors)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def filling_folder(folder: str | Path, *, force: bool) -> Iterator[Path]:
    """A folder to write files into, that becomes `folder` when the block ends well.

    A folder that is not there yet appears whole, by a rename. One that is there is filled in place, so its index (the
    file that names the others) must be removed first and written last.
    """
    path = Path(folder)
    check_output(path, force=force, folder=True)
    with os_errors(path):
        target = Path(os.path.realpath(path))
        if target.is_dir():
            yield target
            return
        with scratch_beside(target) as scratch:
            scratch.mkdir()
            yield scratch
            os.rename(scratch, target)


def _file_name(name: str) -> str:
    """The object's name as a file name: it may come from a foreign file's header, so it is not trusted."""
    safe = re.sub(r"[/\\\x00-\x1f\x7f]", "_", name).lstrip(".")
    return safe.encode("utf-8", "replace")[:200].decode("utf-8", "ignore") or "gatlas"
