"""The jobs of a batch on a Dask or Ray cluster, for users without Slurm: the engine places them and runs again what a
lost worker had, and the batch stores what comes back as it does for its own workers.

Jobs and results name files: all machines of a cluster must see the folders of a batch under the same paths.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from gatlas.batch.workers import POLL_SECONDS, JobResult
from gatlas.errors import GatlasError

JobType = TypeVar("JobType")
ATTEMPTS = 3  # at an object whose worker dies


class Engine(Protocol):
    """A cluster at work."""

    def slots(self) -> int:
        """Return the number of jobs that it can run at once."""

    def submit(self, job: Any) -> Any:
        """Begin a job and return its ticket, which is hashable."""

    def ended(self, tickets: list[Any]) -> list[Any]:
        """Return those that ended, as soon as there are some, or after POLL_SECONDS none."""

    def result(self, ticket: Any) -> JobResult:
        """Return the result of one that ended; of a job that was lost too often, a failure."""


def run_on_engine(
    name: str,
    jobs: Iterable[JobType],
    function: Callable[[JobType], JobResult],
    *,
    processes: int,
    address: str | None,
    should_stop: Callable[[], bool] = lambda: False,
    ahead: int | None = None,
) -> Generator[tuple[int, JobType, JobResult], None, None]:
    """Yield the number of each job from 0, the job and its result, as they end: see `gatlas.batch.workers.run_jobs`.

    `name` is "dask" or "ray", `address` that of a cluster; None is one of `processes` workers on this machine, which
    ends with the batch. Once `should_stop()`, running jobs are waited for and no other begins.
    """
    call = partial(_call_in, os.getcwd(), function)
    busy: dict[Any, tuple[int, JobType]] = {}
    coming, taken, exhausted = iter(jobs), 0, False
    with ENGINES[name](call, processes, address) as engine:
        while True:
            stopping = should_stop()
            while not stopping and not exhausted and len(busy) < max(engine.slots(), 1):
                first = min((number for number, _ in busy.values()), default=taken)
                if ahead is not None and taken - first >= ahead:
                    break
                try:
                    job = next(coming)
                except StopIteration:
                    exhausted = True
                    break
                busy[engine.submit(job)] = taken, job
                taken += 1
            if not busy:
                return
            for ticket in engine.ended(list(busy)):
                number, job = busy.pop(ticket)
                yield number, job, engine.result(ticket)


def _call_in(folder: str, function: Callable[[JobType], JobResult], job: JobType) -> JobResult:
    """Return the result of a job, in a worker whose paths are to begin where those of the batch do."""
    if os.getcwd() != folder:
        os.chdir(folder)
    return function(job)


def _lost(error: BaseException) -> JobResult:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return JobResult("failed", error=f"its worker was lost {ATTEMPTS} times: {reason}", transient=True)


def _missing(name: str, error: ImportError) -> GatlasError:
    return GatlasError(f"--engine {name}: {error.name or name} is not installed: pip install 'gatlas[{name}]'")


def _no_cluster(engine: str, address: str | None, error: Exception) -> GatlasError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    where = (
        f"{engine} did not start here" if address is None else f"--cluster {address}: no cluster of {engine} answers"
    )
    return GatlasError(f"{where}: {reason}")


@contextmanager
def _on_dask(call: Callable[[Any], JobResult], processes: int, address: str | None) -> Iterator[Engine]:
    try:
        import dask
        from distributed import Client, LocalCluster, wait
    except ImportError as error:
        raise _missing("dask", error) from None

    class Dask:
        def __init__(self, client: Client) -> None:
            self._client = client
            self._run = uuid.uuid4().hex

        def slots(self) -> int:
            return sum(self._client.nthreads().values())

        def submit(self, job: Any) -> Any:
            return self._client.submit(call, job, key=f"gatlas-{self._run}-{uuid.uuid4().hex}", pure=False)

        def ended(self, tickets: list[Any]) -> list[Any]:
            with suppress(TimeoutError):
                wait(tickets, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
            return [ticket for ticket in tickets if ticket.done()]

        def result(self, ticket: Any) -> JobResult:
            error = ticket.exception()
            found: JobResult = ticket.result() if error is None else _lost(error)
            ticket.release()
            return found

    quiet = {"distributed.scheduler.allowed-failures": ATTEMPTS - 1, "distributed.admin.tick.limit": "1h"}
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(quiet))
        try:
            if address is None:
                # One thread a worker: the functions of verbs use threads of their own.
                cluster = LocalCluster(
                    n_workers=processes,
                    threads_per_worker=1,
                    memory_limit=None,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
                stack.enter_context(cluster)
            client = stack.enter_context(Client(cluster if address is None else address, timeout=30))
        except (OSError, TimeoutError, ValueError) as error:
            raise _no_cluster("Dask", address, error) from None
        yield Dask(client)


@contextmanager
def _on_ray(call: Callable[[Any], JobResult], processes: int, address: str | None) -> Iterator[Engine]:
    try:
        import ray
    except ImportError as error:
        raise _missing("ray", error) from None
    remote = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(_call)

    class Ray:
        def slots(self) -> int:
            return int(ray.cluster_resources().get("CPU", 1))

        def submit(self, job: Any) -> Any:
            return remote.remote(shared, job)

        def ended(self, tickets: list[Any]) -> list[Any]:
            done, _ = ray.wait(tickets, num_returns=1, timeout=POLL_SECONDS)
            return list(done)

        def result(self, ticket: Any) -> JobResult:
            try:
                found: JobResult = ray.get(ticket)
            except ray.exceptions.RayError as error:
                return _lost(error)
            return found

    own = {"num_cpus": processes, "include_dashboard": False} if address is None else {"address": address}
    try:
        ray.init(**own, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # of any kind, also a bare one where it does not start in time
        raise _no_cluster("Ray", address, error) from None
    shared = ray.put(call)
    try:
        yield Ray()
    finally:
        ray.shutdown()


def _call(call: Callable[[Any], JobResult], job: Any) -> JobResult:
    return call(job)


ENGINES: dict[str, Callable[[Callable[[Any], JobResult], int, str | None], Any]] = {"dask": _on_dask, "ray": _on_ray}
