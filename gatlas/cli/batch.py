"""A verb of one input and one output, on one object or on many."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gatlas import io
from gatlas.batch.options import SHARD, STEM, Batchable, BatchOptions
from gatlas.batch.run import RESUME, START_OVER, BatchOutcome, run_batch
from gatlas.batch.work import BatchWork
from gatlas.batch.workers import count_devices
from gatlas.cli.interrupt import stopping
from gatlas.cli.terminal import counting_bar, message, messages_to
from gatlas.cli.verb import Verb, set_threads
from gatlas.config import Options, Report, option_fields
from gatlas.errors import GatlasError, Requeue
from gatlas.io.outputs import is_streamed
from gatlas.io.registry import check_named_format
from gatlas.raster.threads import available_cpus

if TYPE_CHECKING:
    from gatlas.batch.plan import Plan

EXIT_SOME_FAILED = 3
EXIT_CLOSED_PIPE = 141  # as the shell reports a process that SIGPIPE ended


def run_verb(
    verb: Verb,
    spec: Batchable,
    inputs: list[str],
    output: str,
    options: Options,
    batch: BatchOptions,
    *,
    force: bool,
    threads: int | None,
) -> None:
    """Run a verb on the one object that the command line names, or on many of them as a batch."""
    if spec.chosen and not (is_streamed(output) or io.is_folder(output) or output.lower().endswith(".tar")):
        check_named_format(Path(output), spec.chosen)
    if spec.joins is not None and spec.joins(options):
        if batch.makes_batch or batch.timeout is not None:
            raise GatlasError("all inputs are to give one result, which takes no options of a batch: leave them out")
        if STEM in output or SHARD in output or io.is_folder(output):
            raise GatlasError("all inputs are to give one result: name a file for it with -o")
        set_threads(threads)
        verb.function()(inputs or ["-"], output, options, force=force)
        return
    many = batch.makes_batch or STEM in output or SHARD in output or output.lower().endswith(".tar")
    many = many or (io.is_folder(output) and spec.result_suffix(options) != "/" and not spec.may_fill_folder)
    sources: list[str] | Iterator[io.Blob] = inputs
    single: str | io.Blob | None = None
    with ExitStack() as stack:
        if batch.files_from is None and inputs in ([], ["-"]):
            sources, single = _piped(spec, io.stream_members("-"), stack)
            if many and isinstance(single, str):
                raise GatlasError(f"standard input holds views of one object: name its result, -o NAME{spec.suffix}")
        elif not many and len(inputs) == 1:
            if not io.names_many(inputs[0], photos=spec.photos):
                single = inputs[0]
            elif spec.photos and inputs[0].lower().endswith(".tar"):
                single = _views_of(inputs[0], io.stream_members(inputs[0]), stack)
        if single is None and not many and spec.gathers(output, options):
            found = sources if isinstance(sources, Iterator) else _objects(sources, spec)
            _run_gathered(verb, list(found), output, options, batch, force=force, threads=threads)
            return
        if many or single is None:
            work = _batch_work(verb, spec.named(output), options, batch.jobs, threads)
            run_work(work, sources, output, batch, force)
            return
        if batch.timeout is not None:  # only a worker can be killed
            raise GatlasError("--timeout is for many objects: write to a folder, -o DIR/, or to a tar, -o x.tar")
        _report_unused_engine(batch)
        set_threads(threads)
        verb.function()(single, output, options, force=force)


def _report_unused_engine(batch: BatchOptions) -> None:
    if batch.engine != "processes":
        message(f"--engine {batch.engine} is not used, as one result is made here: of many, name a folder, -o DIR/")


def _objects(inputs: list[str], spec: Batchable) -> Iterator[io.Blob]:
    """Yield the content of each object that the inputs name, in their order."""
    files = [each for each in inputs if not io.names_many(each, photos=spec.photos)]
    for given in inputs:
        if given in files:  # of any suffix
            yield io.read(given)
        else:
            yield from map(io.read_item, io.list_items([given], spec.accepts))


def _run_gathered(
    verb: Verb,
    objects: list[io.Blob],
    output: str,
    options: Options,
    batch: BatchOptions,
    *,
    force: bool,
    threads: int | None,
) -> None:
    """Run a verb once, on all objects."""
    if batch.jobs > 1 or batch.timeout is not None or batch.retry_failed:
        raise GatlasError(f"{output}: one output of all objects takes no --jobs, --timeout or --retry-failed")
    if not objects:
        raise GatlasError("standard input holds no objects")
    _report_unused_engine(batch)
    set_threads(threads)
    verb.function()(objects, output, options, force=force)


def _piped(
    spec: Batchable, members: Iterator[io.Blob], stack: ExitStack
) -> tuple[Iterator[io.Blob], str | io.Blob | None]:
    """Return what comes through a pipe, and the object that is all of it; None where it is a tar of objects."""
    if spec.photos:
        of_views, members = io.views_ahead(members)
        if of_views:
            return members, stack.enter_context(io.unpacked_views("-", members))
    head = next(members, None)
    if head is None:  # a tar without objects
        return members, None
    return chain([head], members), head if head.key is None else None


def _views_of(tar: str, members: Iterator[io.Blob], stack: ExitStack) -> str | None:
    """Return a folder with the views of a tar; None for a tar of something else."""
    of_views, members = io.views_ahead(members)
    return stack.enter_context(io.unpacked_views(tar, members)) if of_views else None


@dataclass(frozen=True)
class _VerbFunction:
    """The function of a verb as a batch calls it in a worker."""

    verb: str
    threads: int

    def __call__(self, source: Any, output: str, options: Options, *, force: bool, report: Report) -> Any:
        from gatlas.cli.verbs import VERBS

        set_threads(self.threads)
        with messages_to(report):
            return VERBS[self.verb].function()(source, output, options, force=force)


def _batch_work(verb: Verb, spec: Batchable, options: Any, jobs: int, threads: int | None) -> BatchWork:
    share = threads or max(1, available_cpus() // jobs)
    if "threads" in option_fields(type(options)):
        options = replace(options, threads=options.threads or share)
    function = _VerbFunction(verb.name, share)
    return BatchWork(verb.name.replace("-", "_"), function, options, spec)


def run_work(
    work: BatchWork, sources: list[str] | Iterator[io.Blob], output: str, batch: BatchOptions, force: bool
) -> None:
    """Run a batch, print how it ended, and exit with its status where that is not 0."""
    outcome = watched_batch(work, sources, output, batch, force=force)
    if outcome.plan is not None:
        _print_plan(outcome.plan)
    else:
        _report(outcome, force)


def watched_batch(
    work: BatchWork, sources: list[str] | Iterator[io.Blob], output: str, batch: BatchOptions, *, force: bool
) -> BatchOutcome:
    """Run a batch with a progress bar; signals stop it between objects."""
    on_gpus = batch.jobs > 1 and getattr(work.options, "device", "cpu") != "cpu"
    with _sigpipe_ignored(), ExitStack() as stack:
        watch = _Watch(work.name.replace("_", "-"), stack)
        return run_batch(
            work,
            sources,
            output,
            batch,
            force=force,
            devices=count_devices(os.environ) if on_gpus else 0,
            report=message,
            on_object=watch.on_object,
            should_stop=watch.should_stop,
        )


class _Watch:
    """A progress bar, and signals as requests to stop, from the moment when the first object begins."""

    def __init__(self, title: str, stack: ExitStack) -> None:
        self._title = title
        self._stack = stack
        self._stop: Callable[[], bool] = lambda: False
        self._advance: Callable[[], None] = lambda: None

    def on_object(self, ended: int, total: int | None) -> None:
        if ended:
            self._advance()
            return
        self._stop = self._stack.enter_context(stopping(None))
        self._advance = self._stack.enter_context(counting_bar(self._title, total))

    def should_stop(self) -> bool:
        return self._stop()


@contextmanager
def _sigpipe_ignored() -> Iterator[None]:
    """A pipe that nobody reads ends the process quietly, and not before its scratch files are removed."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    except BrokenPipeError:
        raise typer.Exit(EXIT_CLOSED_PIPE) from None
    finally:
        signal.signal(signal.SIGPIPE, before)


def _report(outcome: BatchOutcome, force: bool) -> None:
    """Print how a batch ended, and exit with its status where that is not 0."""
    for note, count in outcome.notes.items():
        if count == outcome.done > 1:
            message(f"for every object: {note}")
    earlier = f" ({outcome.earlier:,} earlier)" if outcome.earlier else ""
    done = f"{outcome.done + outcome.earlier:,} of {outcome.total:,} done{earlier}"
    failed = f", {outcome.failed:,} failed" if outcome.failed else ""
    if outcome.stopped and outcome.manifest is None:
        raise Requeue(
            f"stopped after {outcome.done:,} objects{failed}: the tar on standard output is incomplete; {START_OVER}"
        )
    if outcome.stopped:
        raise Requeue(f"stopped: {done}{failed}; {f'{START_OVER}, as --force asks' if force else RESUME}")
    if outcome.failed and outcome.manifest is not None:
        failed += f": see {outcome.manifest}; --retry-failed tries them again"
    message(done + failed)
    if outcome.failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _print_plan(plan: Plan) -> None:
    from gatlas.io.outputs import show

    groups = zip(("do", "done", "failed", "exists", "other"), plan, strict=True)
    show(
        "".join(
            f"{word}\t{task.name}\t->\t{task.output or f'{task.key} in the tar'}\n"
            for word, tasks in groups
            for task in tasks
        )
    )
