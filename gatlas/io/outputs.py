"""Outputs: checked before any work, and written so that they appear whole or not at all."""

from __future__ import annotations

import os
import re
import select
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from gatlas.errors import GatlasError
from gatlas.io.descriptors import is_terminal, named_descriptor, open_sink, takes_writes
from gatlas.io.leftovers import leftovers, scratch_name
from gatlas.io.registry import NOUNS, check_suffix, written_format, written_suffixes
from gatlas.io.streams import STREAM, is_folder, is_stream, os_errors
from gatlas.io.visible import visible

if TYPE_CHECKING:
    Buffer = Any  # bytes or a C-contiguous numpy array

_CLOSED = "standard output is closed"


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
            for each in written_format(noun, out).beside if noun and written_suffixes(noun) else ():
                _check_beside(path, each, force)


def is_streamed(out: str | Path) -> bool:
    """Return True where an output is written into: standard output, a descriptor of ours, a pipe or a device."""
    return is_stream(out) or takes_writes(out)


def refuse_shared_names(*outputs: str | None) -> None:
    """Raise a GatlasError where two outputs have the same name and would overwrite each other; None is no output."""
    given = [output for output in outputs if output is not None]
    if sum(output == STREAM or named_descriptor(output) == 1 for output in given) > 1:
        raise GatlasError("two outputs cannot both go to standard output: name a file for one of them")
    paths = [os.path.realpath(output) for output in given if output != STREAM]
    if len(set(paths)) < len(paths):
        raise GatlasError("two outputs have the same name: give each its own")


def _check_file(path: Path, force: bool) -> None:
    if takes_writes(path):
        return
    if path.exists() and not force:
        raise GatlasError(f"{path} exists: use --force to overwrite it")
    check_parent(path)


def _check_beside(path: Path, suffix: str, force: bool) -> None:
    """Refuse an output whose format is several files, where another one exists or the output takes only one."""
    if takes_writes(path):
        raise GatlasError(f"{path}: takes one file, and {path.suffix} is several: name a file for it")
    if is_folder(str(path.with_suffix(suffix))):
        raise GatlasError(f"{path.with_suffix(suffix)}: is a folder, and {path.name} needs a file of that name")
    _check_file(path.with_suffix(suffix), force)


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

    What `out` stands for may be open already, as /dev/fd/3 is: it is written into, behind what is there.
    `noun`, or `suffix` and `what`, are of its content: see `check_output`. A terminal gets no binary: the result goes
    to a file in the current folder called `name` (or "gatlas") plus the suffix, and its path to standard error. A
    reader that closes the pipe is a BrokenPipeError, for the command line to end quietly; any other failure is a
    GatlasError.
    """
    check_output(out, force=force, noun=noun, suffix=suffix, what=what)
    if not text and (sys.stdout.isatty() if is_stream(out) else is_terminal(out)):
        path = Path(_file_name(name) + (written_suffixes(noun)[0] if noun else suffix))
        check_output(path, force=force)
        _write_file(path, chunks, force=force)
        print(visible(str(path)), file=sys.stderr)
    elif is_stream(out):
        write_stdout(chunks)
    else:
        _write_file(Path(out), chunks, force=force)


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

    A terminal gets the control characters in names escaped. `print` does not report a closed standard output, and
    reports a full one too late.
    """
    terminal = sys.stdout is not None and sys.stdout.isatty()
    write_stdout([os.fsencode(visible(text, tabs=True) if terminal else text)])


def _write_file(path: Path, chunks: Iterable[Buffer], *, force: bool) -> None:
    with whole_file(path, force=force) as file:
        file.writelines(memoryview(chunk) for chunk in chunks)


@contextmanager
def whole_file(out: str | Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file to write that becomes `out` when the block ends well, and leaves nothing behind when it does not.

    What must not be replaced, as a pipe or a descriptor of ours (see `gatlas.io.descriptors`), is written into.
    """
    path = Path(out)
    with os_errors(path):
        sink = open_sink(path)
        if sink is not None:
            with sink:
                yield cast("BinaryIO", sink)
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


def append(path: str | Path, chunks: Iterable[Buffer], *, synced: bool) -> int:
    """Append to a file, which is made where it is missing, and return its new size; `synced`: all is on the disk then.

    All is appended or nothing: after a failure, as the OSError of a full disk, the file is as it was, and none is left
    empty.
    """
    with open(path, "ab", buffering=0) as file:
        size = file.tell()
        try:
            for chunk in chunks:
                rest = memoryview(chunk).cast("B")
                while rest:  # a disk that fills up takes a part
                    rest = rest[file.write(rest) :]
            if synced:
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                os.truncate(path, size) if size else os.unlink(path)
            raise
        return file.tell()


def write_together(out: str | Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write files next to `out`, by name, whole or not at all; the last one names the others and appears last.

    With `force` what it replaces is removed first, so that no file ever names others that are not its own. Errors as
    for `write`.
    """
    paths = [Path(out).with_name(name) for name in files]
    for path in paths:
        with os_errors(path):
            _check_file(path, force)
    targets = [Path(os.path.realpath(path)) for path in paths]  # a link stays a link
    made: list[Path] = []
    with ExitStack() as stack:
        scratches = [stack.enter_context(scratch_beside(target)) for target in targets]
        for path, scratch, content in zip(paths, scratches, files.values(), strict=True):
            with os_errors(path), open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
                file.write(content)
        try:
            for path, target in zip(paths, targets, strict=True):
                if not force and target.exists():
                    raise GatlasError(f"{path} exists: use --force to overwrite it")
            remove(targets[-1])
            for path, scratch, target in zip(paths, scratches, targets, strict=True):
                with os_errors(path):
                    os.replace(scratch, target)
                made.append(target)
        except BaseException:
            for target in made:
                remove(target, ignore_errors=True)
            raise


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A fresh path on the target's file system; what is there when the block fails, for whatever reason, is removed.

    What killed processes left in the folder is removed first.
    """
    remove_leftovers(target.parent)
    scratch = target.parent / scratch_name()
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


def remove_leftovers(folder: Path) -> None:
    """Remove the scratch files in a folder of processes that were killed."""
    for path in leftovers(folder):
        with suppress(OSError):
            remove(path, ignore_errors=True)


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
            remove_leftovers(target.parent)
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
