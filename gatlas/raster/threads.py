"""Run one kernel on several threads: plain Python threads over kernels that release the interpreter lock.

Against numba's own thread layers this costs no extra compile time, may be entered from several threads at once, keeps
no thread spinning between calls, and survives a fork.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Any

COMPILE_NOTICE_AFTER = 1.0  # seconds

_calls: SimpleQueue[_Call] = SimpleQueue()
_threads = 0
_num_threads: int | None = None


def available_cpus() -> int:
    """Return the number of CPUs that this process may use (the scheduler's affinity mask where the system has one)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def get_num_threads() -> int:
    """Threads that the CPU kernels use: what `set_num_threads` set, else every CPU this process may use.

    The environment variable NUMBA_NUM_THREADS, read when numba is first imported, lowers the latter.
    """
    if _num_threads is not None:
        return _num_threads
    from numba import config

    return min(available_cpus(), config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def set_num_threads(count: int | None) -> None:
    """Use `count` threads in the CPU kernels; None is the default. Results are the same to the bit for any count."""
    global _num_threads
    if count is not None and count < 1:
        raise ValueError(f"the number of threads must be >= 1, got {count}")
    _num_threads = count


def launch(kernel: Callable[..., Any], shares: Sequence[tuple[Any, ...]], *common: Any) -> None:
    """Call `kernel(*share, *common)` for all shares at once and wait.

    The first runs on the calling thread. Several of the main thread all run on others: a signal, which Python handles
    in the main thread between any two steps, may raise while numba holds a lock there and leave it locked; a share on
    another thread, and with it this function, would wait for that lock forever.
    """
    if not shares:
        return
    waits_only = len(shares) > 1 and threading.current_thread() is threading.main_thread()
    here, elsewhere = (shares[:0], shares) if waits_only else (shares[:1], shares[1:])
    calls = [_Call(partial(kernel, *share, *common)) for share in elsewhere]
    _start_threads(len(calls))
    for call in calls:
        _calls.put(call)
    try:
        for share in here:
            kernel(*share, *common)
    finally:  # the arrays must stay alive until every share is done, also when one here failed or a signal came
        try:
            for call in calls:
                call.wait()
        finally:
            for call in calls:
                call.wait()
    for call in calls:
        if call.failure is not None:
            raise call.failure


def split_range(count: int, threads: int) -> list[tuple[int, int]]:
    """At most `threads` ranges [start, stop) that cover `count` items in about equal parts; none where count is 0."""
    parts = max(1, min(threads, count))
    edges = [count * i // parts for i in range(parts + 1)]
    return [(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]


@contextmanager
def announced_compilation(*kernels: Any) -> Iterator[None]:
    """Print one line on standard error where the block runs long because one of `kernels` is being compiled."""

    def compilations() -> int:
        return sum(count for kernel in kernels for count in kernel.stats.cache_misses.values())

    before = compilations()

    def announce() -> None:
        if compilations() > before:
            print("gatlas: compiling kernels (once) ...", file=sys.stderr, flush=True)

    timer = threading.Timer(COMPILE_NOTICE_AFTER, announce)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Call:
    """A call on another thread. Waiting for it takes no lock of Python code, which a signal could leave locked."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._running = threading.Lock()
        self._running.acquire()
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Call the function and keep what it raises."""
        try:
            self._function()
        except BaseException as error:
            self.failure = error
        finally:
            self._running.release()

    def wait(self) -> None:
        """Return when the call has ended."""
        with self._running:
            pass


def _start_threads(count: int) -> None:
    """Have so many threads wait for calls.

    They are not those of `concurrent.futures`, whose process never ends where a signal interrupts the start of one.
    """
    global _threads
    while _threads < count:
        threading.Thread(target=_serve, args=(_calls,), name="gatlas-raster", daemon=True).start()
        _threads += 1


def _serve(calls: SimpleQueue[_Call]) -> None:
    while True:
        calls.get().run()


def _forget_threads() -> None:
    """Threads do not survive a fork: the child makes its own."""
    global _calls, _threads
    _calls, _threads = SimpleQueue(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
