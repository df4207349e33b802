"""Paths that stand for something open: descriptors such as /dev/stdout and /dev/fd/3, pipes, devices and sockets.

They are read and written as they stand, never replaced: a redirected /dev/stdout looks like an ordinary file, and a
rename over it would lose what the shell and other programs write there before and after.
"""

from __future__ import annotations

import io
import os
import re
import select
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from gatlas.errors import GatlasError

_LINKS = 40  # links that are followed, as the kernel does
_FOLDER = re.compile(r"/proc/(\d+)(?:/task/\d+)?/fd|/dev/fd")


def named_descriptor(path: str | Path) -> int | None:
    """Return the number of this process's descriptor that a path names, as /dev/stdout names 1; None for any other."""
    found = _descriptor_link(path)
    return found[1] if found is not None and found[0] in (None, os.getpid()) else None


def _descriptor_link(path: str | Path) -> tuple[int | None, int] | None:
    """Return process (None: ours, on systems without /proc) and number of the descriptor that a path names, or None."""
    name = os.fspath(path)
    if "\0" in name:
        return None
    for _ in range(_LINKS):
        folder, last = os.path.split(name)
        if last.isascii() and last.isdecimal():
            match = _FOLDER.fullmatch(os.path.realpath(folder))
            if match is not None:
                return int(match[1]) if match[1] else None, int(last)
        if not os.path.islink(name):
            break
        name = os.path.join(folder, os.readlink(name))
    return None


def stream_name(name: str, number: int) -> str:
    """Return "-" where an argument of the command line names standard input (0) or output (1), else the argument."""
    return "-" if named_descriptor(name) == number else name


def is_special(path: str | Path) -> bool:
    """Return True for what can be read once only, or is no place for a new file: a pipe, a device or a socket."""
    with suppress(OSError, ValueError):
        mode = os.stat(path).st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def is_endless(path: str | Path) -> bool:
    """Return True for a device whose bytes have no end, as /dev/zero: not a terminal, and not the empty /dev/null."""
    with suppress(OSError, ValueError):
        status = os.stat(path)
        device = stat.S_ISCHR(status.st_mode) and status.st_rdev != os.stat(os.devnull).st_rdev
        return device and not is_terminal(path)
    return False


def own_descriptor(path: str | Path) -> int | None:
    """Return a descriptor of this process that writes into the file of a path, under whatever name; None without any.

    So it is with the file that standard output is redirected to.
    """
    try:
        status = os.stat(path)
        numbers = sorted(map(int, os.listdir("/dev/fd"))) if stat.S_ISREG(status.st_mode) else []
    except (OSError, ValueError):
        return None
    if numbers:
        import fcntl
    for number in numbers:
        with suppress(OSError):  # it is closed by now, as that of the list itself
            writes = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
            if writes and os.path.samestat(os.fstat(number), status):
                return number
    return None


def takes_writes(path: str | Path) -> bool:
    """Return True for a path that is written into and must never be replaced by a file."""
    return _descriptor_link(path) is not None or is_special(path) or own_descriptor(path) is not None


def refuse_own_stream(path: str | Path) -> None:
    """Raise a GatlasError where a descriptor of this process writes into a file that it must rewrite by itself."""
    if own_descriptor(path) is not None:
        raise GatlasError(f"{path}: a stream of this command is redirected into it: redirect that to another file")


def open_sink(path: str | Path) -> io.RawIOBase | None:
    """Return a file that writes into what a path stands for, behind what is there; None for an ordinary place."""
    number = named_descriptor(path)
    if number is None:
        number = own_descriptor(path)
    if number is not None:
        with suppress(OSError, ValueError):  # what they still hold comes first; their own faults show elsewhere
            if sys.stdout is not None and sys.stdout.fileno() == number:
                sys.stdout.flush()
        return _Sink(os.dup(number), "wb")  # not opened by name, which would empty a file, and refuse a socket
    if is_special(path) or _descriptor_link(path) is not None:
        return _Sink(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY), "wb")
    return None


class _Sink(io.FileIO):
    """A descriptor that takes every byte, however little at a time."""

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            taken = super().write(rest)
            if not taken:  # non-blocking, and full
                select.select([], [self], [])
            rest = rest[taken or 0 :]
        return size


def is_terminal(path: str | Path) -> bool:
    """Return True where a path is that of a terminal."""
    number = named_descriptor(path)
    with suppress(OSError):
        if number is not None:
            return os.isatty(number)
        if not stat.S_ISCHR(os.stat(path).st_mode):
            return False
        descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            return os.isatty(descriptor)
        finally:
            os.close(descriptor)
    return False
