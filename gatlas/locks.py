"""Locks between processes: a file of which one process at a time holds the lock, which goes with the process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def exclusive(path: str, on_wait: Callable[[], object]) -> Iterator[None]:
    """Hold the lock of a file, which is made with its folder; `on_wait` is called before waiting for another process.

    Where the file cannot be made, or the file system has no locks, nothing is waited for.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        yield
        return
    try:
        _acquire(lock, on_wait)
        yield
    finally:
        os.close(lock)  # which unlocks it


def _acquire(lock: int, on_wait: Callable[[], object]) -> None:
    try:
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
    except (ImportError, OSError):  # no locks here
        return
