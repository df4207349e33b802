"""Stopping long work between two steps instead of in the middle of one."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_REQUEUE = 75  # stopped after saving: run the same command again
ECHO_SECONDS = 30.0  # launchers pass a SIGTERM on that the process got from the queue as well: it comes twice, at once


@contextmanager
def stopping(time_limit: float | None) -> Iterator[Callable[[], bool]]:
    """Inside the block SIGINT, SIGTERM and SIGUSR1 only make the yielded function say True, as the time limit does.

    A second SIGINT ends the process as it always does, and so does a second SIGTERM after ECHO_SECONDS: work that hangs
    never comes to its end.
    """
    asked = False
    told = math.inf  # when the first SIGTERM came
    started = time.monotonic()

    def remember(number: int, frame: object) -> None:
        nonlocal asked, told
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice at the terminal: now
        asked = True
        if number == signal.SIGTERM:
            now = time.monotonic()
            if now - told > ECHO_SECONDS:
                raise SystemExit(128 + number)
            told = min(told, now)

    def stop() -> bool:
        return asked or (time_limit is not None and time.monotonic() - started > time_limit)

    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
    before = {number: signal.signal(number, remember) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
