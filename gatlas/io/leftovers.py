"""Names of scratch files beside an output, which tell whose they are: those of a killed process are removed later."""

from __future__ import annotations

import os
import re
import secrets
import socket
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path

_NAME = re.compile(r"\.gatlas-([0-9a-f]{8})-(\d+)-[0-9a-f]{16}\.tmp")


def scratch_name() -> str:
    """Return a new name for a file or folder in the making, hidden, with the process that makes it."""
    return f".gatlas-{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.tmp"


@cache
def _machine() -> str:
    """Return a mark of the processes among which a number is one process: of a machine, or of a container on it."""
    container = ""
    with suppress(OSError):
        container = os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(f'{socket.gethostname()} {container}'.encode()):08x}"


def leftovers(folder: Path) -> list[Path]:
    """Return what processes of this machine that are gone left in a folder; [] for one that was asked about before."""
    return _leftovers(os.path.realpath(folder))


@cache  # a batch writes many files into one folder
def _leftovers(folder: str) -> list[Path]:
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is not None and match[1] == _machine() and not _is_alive(int(match[2])):
                found.append(Path(entry.path))
    return found


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # of another user
    return True
