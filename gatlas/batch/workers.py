"""Worker processes that run one job after the other; a job whose worker dies is reported as failed."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

POLL_SECONDS = 0.5  # between two checks of a signal or a time limit
JobType = TypeVar("JobType")
Item = TypeVar("Item")


class JobResult(NamedTuple):
    """The outcome of a job: picklable, and small."""

    status: str  # "ok", "failed" or "stopped"
    record: Mapping[str, Any] = {}  # for the manifest
    error: str = ""
    notes: tuple[str, ...] = ()  # messages on the way
    transient: bool = False  # the failure is the machine's and not the object's: a retry may succeed
    disk_full: bool = False  # every other object would fail too
    seconds: float = 0.0


class ReadAhead(Generic[Item]):
    """The items of a source that may block, such as a pipe, read one ahead by a thread.

    They come in their order; what the source raises comes after the last of them. The thread ends with the process.
    """

    def __init__(self, source: Iterable[Item]) -> None:
        self._items: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=1)
        self._end: BaseException | None = None
        # A queue cannot be waited for together with the pipes of workers: this pipe holds a byte for each item in it.
        self.ready_pipe, self._ready_end = multiprocessing.Pipe(duplex=False)
        threading.Thread(target=self._read, args=(iter(source),), daemon=True).start()

    def _read(self, source: Iterator[Item]) -> None:
        end: BaseException | None = None
        while end is None:
            item = None
            try:
                item = next(source)
            except BaseException as error:  # StopIteration too: it is raised where the items are asked for
                end = error
            self._items.put((item, end))
            self._ready_end.send_bytes(b"!")

    def is_ready(self) -> bool:
        """Return True where the next item, or the end, can be had without blocking."""
        return self._end is not None or self.ready_pipe.poll()

    def __iter__(self) -> ReadAhead[Item]:
        return self

    def __next__(self) -> Item:
        if self._end is None:
            self.ready_pipe.recv_bytes()
            item, self._end = self._items.get()
        if self._end is not None:
            raise self._end
        return item  # type: ignore[return-value]  # None comes with an end only


def run_jobs(
    jobs: Iterable[JobType],
    function: Callable[[JobType], JobResult],
    *,
    processes: int = 1,
    timeout: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    devices: int = 0,
    ahead: int | None = None,
    upstream: ReadAhead[Any] | None = None,
) -> Generator[tuple[int, JobType, JobResult], None, None]:
    """Yield the number of each job from 0, the job and its result, as they end. No job's death ends the others.

    Every worker is a process that lives for many jobs. After `timeout` seconds a job's worker is killed; one that dies,
    as for want of memory, is reported and replaced. Once `should_stop()` no job begins any more, and the running ones
    get SIGUSR1, so that they may save their state, and are waited for. With `devices` > 0 the workers take turns on so
    many GPUs. No job begins `ahead` places or more after the first that has not ended, which bounds how many results
    wait to be stored in order. Where each job is made of an item of `upstream`, results, signals and time limits are
    handled while the next item is waited for.
    """
    pool = _Pool(function, devices)
    coming = iter(jobs)
    taken, exhausted, signaled = 0, False, False
    try:
        while True:
            stopping, starved = should_stop(), False
            if stopping and not signaled:
                pool.signal_busy()
                signaled = True
            while not stopping and not exhausted and len(pool.busy) < processes:
                if ahead is not None and taken - min(pool.busy, default=taken) >= ahead:
                    break
                if upstream is not None and not upstream.is_ready():
                    starved = True
                    break
                try:
                    pool.start(taken, next(coming))
                    taken += 1
                except StopIteration:
                    exhausted = True
            if not pool.busy and not starved:
                return
            yield from pool.wait(timeout, upstream.ready_pipe if upstream is not None and starved else None)
    finally:
        pool.close()


def in_order(results: Iterable[tuple[int, JobType, JobResult]]) -> Iterator[tuple[int, JobType, JobResult]]:
    """Yield the results in the order of the jobs."""
    waiting: dict[int, tuple[int, JobType, JobResult]] = {}
    turn = 0
    for result in results:
        waiting[result[0]] = result
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1


def count_devices(environment: Mapping[str, str]) -> int:
    """Return the number of GPUs for workers, without asking CUDA, which would not survive a fork."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name])
    names = os.listdir("/dev") if os.path.isdir("/dev") else []
    return sum(name.removeprefix("nvidia").isdecimal() for name in names if name.startswith("nvidia"))


class _Worker(NamedTuple):
    process: BaseProcess
    pipe: Connection


class _Pool(Generic[JobType]):
    def __init__(self, function: Callable[[JobType], JobResult], devices: int) -> None:
        self._context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self._function = function
        self._devices = devices
        self._started = 0
        self._idle: list[_Worker] = []
        self.busy: dict[int, tuple[JobType, _Worker, float]] = {}  # number -> job, worker, time of its begin

    def start(self, number: int, job: JobType) -> None:
        """Give a job to an idle worker, or to a new one."""
        self._idle = [worker for worker in self._idle if worker.process.is_alive()]
        worker = self._idle.pop() if self._idle else self._new_worker()
        self.busy[number] = job, worker, time.monotonic()
        with suppress(OSError):  # it has just died, which its sentinel shows
            worker.pipe.send(job)

    def _new_worker(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        # A forked worker inherits the parent's ends of its siblings' pipes and must close them, or none of them would
        # notice that the parent is gone.
        forked = self._context.get_start_method() == "fork"
        inherited = [ours, *(worker.pipe for worker in self._workers())] if forked else []
        device = self._started % self._devices if self._devices > 0 else None
        process = self._context.Process(target=_serve, args=(theirs, self._function, inherited, device), daemon=True)
        process.start()
        theirs.close()
        self._started += 1
        return _Worker(process, ours)

    def _workers(self) -> list[_Worker]:
        return [*(worker for _, worker, _ in self.busy.values()), *self._idle]

    def wait(self, timeout: float | None, ready_pipe: Connection | None) -> Iterator[tuple[int, JobType, JobResult]]:
        """Yield the jobs that end within POLL_SECONDS, or earlier where `ready_pipe` is ready."""
        handles: list[Any] = [] if ready_pipe is None else [ready_pipe]
        for _, worker, _ in self.busy.values():
            handles += [worker.pipe, worker.process.sentinel]
        ready = set(wait(handles, POLL_SECONDS))
        for number, (job, worker, since) in list(self.busy.items()):
            seconds = time.monotonic() - since
            if ready & {worker.pipe, worker.process.sentinel}:
                result = _receive(worker) or _death(worker, seconds)
            elif timeout is not None and seconds > timeout:
                worker.process.kill()
                worker.process.join()
                result = JobResult("failed", error=f"took longer than the {timeout:g} s of --timeout", seconds=seconds)
            else:
                continue
            del self.busy[number]
            self._idle.append(worker)
            yield number, job, result

    def signal_busy(self) -> None:
        """Send SIGUSR1 to the busy workers: a function that can save its state handles it, others ignore it."""
        for _, worker, _ in self.busy.values():
            os.kill(worker.process.pid or 0, signal.SIGUSR1)

    def close(self) -> None:
        """End all workers, the busy ones at once."""
        for _, worker, _ in self.busy.values():
            worker.process.kill()
        for worker in self._workers():
            worker.pipe.close()
        for worker in self._workers():
            worker.process.join()


def _receive(worker: _Worker) -> JobResult | None:
    """Return a worker's result; None where it died before it sent one."""
    try:
        return worker.pipe.recv() if worker.pipe.poll() else None
    except (EOFError, OSError):
        return None


def _death(worker: _Worker, seconds: float) -> JobResult:
    worker.process.join()
    code = worker.process.exitcode or 0
    if code == -signal.SIGKILL:
        why = "its process was killed, most likely for want of memory: give it more, or use fewer --jobs"
    elif code < 0:
        why = f"its process was ended by {signal.Signals(-code).name}"
    else:
        why = f"its process ended with exit status {code}"
    return JobResult("failed", error=why, transient=True, seconds=seconds)


def _end_with_parent() -> None:
    """Have the system end this worker with its parent, also in the midst of a job, where the system can.

    Otherwise it would hold the lock of the batch until then, and a batch that was killed could not be resumed.
    """
    if sys.platform != "linux":
        return
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it was killed before that
        os._exit(1)


def _use_no_threads_of_parent() -> None:
    """Have torch compute on one thread in a fork of a process that had loaded it, as a notebook.

    The threads that OpenMP has started there are not here, and the first operation on several would wait for them.
    """
    torch = sys.modules.get("torch")
    if torch is not None and sys.platform == "linux":
        torch.set_num_threads(1)


def _serve(
    pipe: Connection, function: Callable[[JobType], JobResult], inherited: list[Connection], device: int | None
) -> None:
    """Run one job after the other until the parent is gone or has no more."""
    _end_with_parent()
    _use_no_threads_of_parent()
    for connection in inherited:
        connection.close()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # the parent decides: a running job is finished first
    if device is not None:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[device] if device < len(visible) else str(device)
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        result = function(job)
        with suppress(OSError):  # the parent is gone: so is the next job
            pipe.send(result)
