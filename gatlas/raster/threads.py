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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

COMPILE_NOTICE_AFTER = 1.0  # seconds

_pool: ThreadPoolExecutor | None = None
_pool_size = 0
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
    """Call `kernel(*share, *common)` for all shares at once and wait; the first runs on the calling thread."""
    if not shares:
        return
    futures = []
    if len(shares) > 1:
        pool = _get_pool(len(shares) - 1)
        futures = [pool.submit(kernel, *share, *common) for share in shares[1:]]
    try:
        kernel(*shares[0], *common)
    finally:  # the arrays must stay alive until every share is done, also when the first one failed
        failures = [future.exception() for future in futures]
    for failure in failures:
        if failure is not None:
            raise failure


def split_range(count: int, threads: int) -> list[tuple[int, int]]:
    """At most `threads` ranges [start, stop) that cover `count` items in about equal parts; none where count is 0."""
    parts = max(1, min(threads, count))
    edges = [count * i // parts for i in range(parts + 1)]
    return [(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]


@contextmanager
def announced_compilation(*kernels: object) -> Iterator[None]:
    """Print one line on standard error where the block runs long because one of `kernels` is being compiled."""

    def announce() -> None:
        if any(sum(kernel.stats.cache_misses.values()) for kernel in kernels):  # type: ignore[attr-defined]
            print("gatlas: compiling kernels (once) ...", file=sys.stderr, flush=True)

    timer = threading.Timer(COMPILE_NOTICE_AFTER, announce)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _get_pool(workers: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size < workers:
        # A pool that is outgrown is left to finish what other threads may still run on it.
        _pool, _pool_size = ThreadPoolExecutor(workers, thread_name_prefix="gatlas-raster"), workers
    return _pool


def _forget_pool() -> None:
    """Threads do not survive a fork: the child makes its own."""
    global _pool, _pool_size
    _pool, _pool_size = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
