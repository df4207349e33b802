"""Worker processes that run one object after the other, and what becomes of an object whose worker dies."""

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
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

POLL_SECONDS = 0.5  # between two looks at a signal or a time limit


class Job(NamedTuple):
    """One object of a batch."""

    number: int  # in the order of the batch, from 0
    key: str  # the object's name
    source: Any  # a path, a member of a tar, or what a pipe held
    output: str  # where its result goes


class Ended(NamedTuple):
    """What became of a job."""

    job: Job
    status: str  # "ok", "failed" or "stopped"
    seconds: float
    record: Mapping[str, Any]  # what the verb says of its result
    error: str = ""
    notes: tuple[str, ...] = ()  # what it said on the way
    passing: bool = False  # the failure is the machine's and not the object's: it may go well another time
    full_disk: bool = False  # and no other object would fare better


class Reply(NamedTuple):
    """What a worker answers: picklable, and small."""

    status: str
    seconds: float
    record: Mapping[str, Any]
    error: str = ""
    notes: tuple[str, ...] = ()
    passing: bool = False
    full_disk: bool = False


Work = Callable[[Job], Reply]
Item = TypeVar("Item")


class ReadAhead(Generic[Item]):
    """The items of a source that may let one wait, as a pipe does: a thread reads them, one ahead.

    They come in their order; what the source raises comes behind the last of them. The thread ends with the process.
    """

    def __init__(self, source: Iterable[Item]) -> None:
        self._found: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=1)
        self._end: BaseException | None = None
        # A queue cannot be waited for beside the pipes of workers. There is a byte in this pipe for each item in it.
        self.bell, self._rope = multiprocessing.Pipe(duplex=False)
        threading.Thread(target=self._read, args=(iter(source),), daemon=True).start()

    def _read(self, source: Iterator[Item]) -> None:
        end: BaseException | None = None
        while end is None:
            item = None
            try:
                item = next(source)
            except BaseException as error:  # StopIteration too: it is raised where the items are asked for
                end = error
            self._found.put((item, end))
            self._rope.send_bytes(b"!")

    def is_ready(self) -> bool:
        """Whether the next item, or the end, is there without waiting."""
        return self._end is not None or self.bell.poll()

    def __iter__(self) -> ReadAhead[Item]:
        return self

    def __next__(self) -> Item:
        if self._end is None:
            self.bell.recv_bytes()
            item, self._end = self._found.get()
        if self._end is not None:
            raise self._end
        return item  # type: ignore[return-value]  # None is of an end only


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job | None = None
    since: float = 0.0  # when the job began
    expired: bool = False  # it was killed for taking too long


def run(
    jobs: Iterable[Job],
    work: Work,
    *,
    processes: int = 1,
    timeout: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_stop: signal.Signals | None = None,
    devices: int = 0,
    ahead: int | None = None,
    upstream: ReadAhead[Any] | None = None,
) -> Generator[Ended, None, None]:
    """Each job's end, in the order of ends. Nothing that a job does ends the batch: not even its own death.

    Every worker is a process of its own that lives for many jobs. After `timeout` seconds a job's worker is killed;
    one that dies, as for want of memory, is reported and replaced. Once `stop` says so no job begins any more, and the
    running ones are waited for; `on_stop` is the signal that tells them, where they can save themselves. With
    `devices` > 0 the workers take turns on so many GPUs. No job begins `ahead` places or more before the first that
    has not ended: whoever wants the ends in order need not keep more than that. Where each job is made of an item of
    `upstream`, ends, signals and time limits are seen to while the next item is waited for.
    """
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    coming = iter(jobs)
    workers: list[_Worker] = []
    started = taken = 0
    exhausted = told = False

    def idle_worker() -> _Worker:
        nonlocal started
        for worker in [worker for worker in workers if worker.job is None]:
            if worker.process.is_alive():
                return worker
            workers.remove(worker)
        ours, theirs = context.Pipe()
        device = None if devices < 1 else started % devices
        # A forked worker holds the parent's ends of its sisters' pipes: it must let go of them, or none of them would
        # notice that the parent is gone.
        inherited = [worker.pipe for worker in workers] + [ours] if context.get_start_method() == "fork" else []
        process = context.Process(target=_serve, args=(theirs, work, inherited, device), daemon=True)
        process.start()
        theirs.close()
        started += 1
        workers.append(_Worker(process, ours))
        return workers[-1]

    try:
        while True:
            stopping = stop()
            busy = [worker for worker in workers if worker.job is not None]
            if stopping and not told and on_stop is not None:
                told = True
                for worker in busy:
                    os.kill(worker.process.pid or 0, on_stop)
            hungry = False
            while not stopping and not exhausted and len(busy) < processes:
                first = min((worker.job.number for worker in busy if worker.job is not None), default=taken)
                if ahead is not None and taken - first >= ahead:
                    break
                if upstream is not None and not upstream.is_ready():
                    hungry = True
                    break
                job = next(coming, None)
                if job is None:
                    exhausted = True
                    break
                taken = job.number + 1
                worker = idle_worker()
                worker.job, worker.since = job, time.monotonic()
                with suppress(OSError):  # it has just died: its sentinel says so
                    worker.pipe.send(job)
                busy.append(worker)
            if not busy and not hungry:
                return
            ends: list[Any] = [end for worker in busy for end in (worker.pipe, worker.process.sentinel)]
            if hungry and upstream is not None:
                ends.append(upstream.bell)
            ready = set(wait(ends, POLL_SECONDS))
            for worker in busy:
                answered = bool(ready & {worker.pipe, worker.process.sentinel})
                if not answered and timeout is not None and time.monotonic() - worker.since > timeout:
                    worker.expired = True
                    worker.process.kill()
                if worker.job is not None and (answered or worker.expired):
                    ended = _collect(worker, worker.job, timeout)
                    worker.job = None
                    yield ended
    finally:
        for worker in workers:
            if worker.job is not None:
                worker.process.kill()
            worker.pipe.close()
        for worker in workers:
            worker.process.join()


def in_order(ends: Iterable[Ended]) -> Iterator[Ended]:
    """The ends in the order of the jobs, whichever was faster."""
    waiting: dict[int, Ended] = {}
    turn = 0
    for ended in ends:
        waiting[ended.job.number] = ended
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1


def count_devices(environment: Mapping[str, str]) -> int:
    """GPUs that workers can take turns on, without asking CUDA, which would not survive a fork."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name])
    names = os.listdir("/dev") if os.path.isdir("/dev") else []
    return sum(name.removeprefix("nvidia").isdecimal() for name in names if name.startswith("nvidia"))


def _collect(worker: _Worker, job: Job, timeout: float | None) -> Ended:
    """The end of a worker's job: its answer, or what killed it."""
    seconds = time.monotonic() - worker.since
    reply = None if worker.expired else _answer(worker.pipe)
    if reply is not None:
        return Ended(job, *reply)
    worker.process.join()
    if worker.expired:
        return Ended(job, "failed", seconds, {}, f"took longer than the {timeout:g} s of --timeout")
    code = worker.process.exitcode or 0
    if code == -signal.SIGKILL:
        why = "its process was killed, most likely for want of memory: give it more, or use fewer --jobs"
    elif code < 0:
        why = f"its process was ended by {signal.Signals(-code).name}"
    else:
        why = f"its process ended with exit status {code}"
    return Ended(job, "failed", seconds, {}, why, passing=True)


def _answer(pipe: Connection) -> Reply | None:
    """A worker's answer; None where it died before it gave one."""
    try:
        return pipe.recv() if pipe.poll() else None
    except (EOFError, OSError):
        return None


def _serve(pipe: Connection, work: Work, inherited: list[Connection], device: int | None) -> None:
    """A worker: one job after the other until the parent is gone or has no more."""
    for connection in inherited:
        connection.close()
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)  # the parent decides: the object in work is finished first
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = _device_name(os.environ.get("CUDA_VISIBLE_DEVICES"), device)
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        reply = work(job)
        try:
            pipe.send(reply)
        except OSError:
            return


def _device_name(visible: str | None, device: int) -> str:
    """The GPU of that number among those that the process may see."""
    names = [name for name in (visible or "").split(",") if name]
    return names[device] if device < len(names) else str(device)
