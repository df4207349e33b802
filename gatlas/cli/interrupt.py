"""Stopping long work between two steps instead of within one."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_REQUEUE = 75  # stopped after saving: run the same command again
ECHO_SECONDS = 30.0  # launchers forward a SIGTERM that the queue also sends: the second one comes at once


@contextmanager
def stopping(time_limit: float | None) -> Iterator[Callable[[], bool]]:
    """Inside the block, SIGINT, SIGTERM, SIGUSR1 and the time limit only make the yielded function return True.

    A second SIGINT ends the process as usual, and so does a second SIGTERM after ECHO_SECONDS, for work that hangs.
    """
    requested = False
    first_term = math.inf  # time of the first SIGTERM
    started = time.monotonic()

    def on_signal(number: int, frame: object) -> None:
        nonlocal requested, first_term
        if requested and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C stops at once
        requested = True
        if number == signal.SIGTERM:
            now = time.monotonic()
            if now - first_term > ECHO_SECONDS:
                raise SystemExit(128 + number)
            first_term = min(first_term, now)

    def should_stop() -> bool:
        return requested or (time_limit is not None and time.monotonic() - started > time_limit)

    if threading.current_thread() is not threading.main_thread():  # of a worker of Dask, which takes no signals
        yield should_stop
        return
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield should_stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
