"""Stopping long work between two steps instead of in the middle of one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_REQUEUE = 75  # stopped after saving: run the same command again


@contextmanager
def stopping(time_limit: float | None) -> Iterator[Callable[[], bool]]:
    """Inside the block SIGINT, SIGTERM and SIGUSR1 only make the yielded function say True, as the time limit does.

    A second SIGINT ends the process as it always does.
    """
    asked = False
    started = time.monotonic()

    def remember(number: int, frame: object) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice at the terminal: now
        asked = True

    def stop() -> bool:
        return asked or (time_limit is not None and time.monotonic() - started > time_limit)

    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
    before = {number: signal.signal(number, remember) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
