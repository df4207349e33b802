"""How a batch runs: each object through its verb in a worker, its result into its place."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from io import TextIOWrapper
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer

from gatlas import __version__, io
from gatlas.batch import (
    Ended,
    Job,
    Plan,
    Reply,
    Task,
    count_devices,
    fingerprint_of,
    in_order,
    make_plan,
    parse_shard,
    refuse_overwriting,
    run,
    slurm_shard,
    take_shard,
    without_members,
    without_products,
)
from gatlas.cli.interrupt import EXIT_REQUEUE, stopping
from gatlas.cli.many import SHARD, STEM, Batch, Verb
from gatlas.cli.terminal import collected, counting_bar, say
from gatlas.errors import GatlasError
from gatlas.io.streams import check_suffix

if TYPE_CHECKING:
    from gatlas.io.results import FolderResults, Line, StreamResults, TarResults

    Results = FolderResults | TarResults | StreamResults

EXIT_SOME_FAILED = 3
EXIT_CLOSED_PIPE = 141  # as the shell says of a process that SIGPIPE ended

# Options that do not change what is made.
_NO_MATTER = {"output", "force", "threads", "device", "report", "preview", "resume", "time_limit", "views_out"}
# Options that name a file or a folder to write: every object needs one of its own.
_OUTPUTS = {"report", "preview", "resume", "views_out"}


@dataclass(frozen=True)
class VerbWork:
    """The verb on one object, in a worker. Whatever a bad object does, the worker goes on."""

    about: Verb
    options: dict[str, Any]

    def __call__(self, job: Job) -> Reply:
        started = time.monotonic()
        with collected() as notes:
            status, record, error = self._try(job)
        return Reply(status, time.monotonic() - started, record, error, tuple(notes))

    def _try(self, job: Job) -> tuple[str, dict[str, Any], str]:
        try:
            return "ok", self._do(job), ""
        except GatlasError as error:
            return "failed", {}, str(error)
        except typer.Exit as end:
            stopped = end.exit_code == EXIT_REQUEUE
            return "stopped" if stopped else "failed", {}, f"ended with exit status {end.exit_code}"
        except MemoryError:
            return "failed", {}, "not enough memory for this input"
        except Exception as error:
            return "failed", {}, f"a fault of gatlas, please report it: {type(error).__name__}: {error}"

    def _do(self, job: Job) -> dict[str, Any]:
        import importlib

        source = job.source
        if isinstance(source, Path) and source.is_fifo():
            source = io.as_blob(source)  # a pipe, as the shell's <(command), is read once only
        digest = io.sha256_of(source)
        if isinstance(source, Path):
            source = str(source)
        elif not isinstance(source, io.Blob):
            source = io.read_member(source)
        options = {**self.options, "output": job.output, "force": True}
        for name in _OUTPUTS & options.keys():
            if options[name]:
                options[name] = options[name].replace(STEM, job.key)
                io.make_folder(os.path.dirname(options[name]) or ".", parents=True)
        verb = getattr(importlib.import_module(self.about.module), self.about.name).single
        record = verb(**{self.about.source: source}, **options) or {}
        made = Path(job.output)
        hashed = {} if made.is_dir() else {"output_sha256": io.sha256_of(made)}
        return {"input_sha256": digest, **record, **hashed}


@dataclass
class Tally:
    """How a batch went."""

    total: int = 0
    earlier: int = 0
    ok: int = 0
    failed: int = 0
    stopped: bool = False

    def finish(self, manifest: Path | None) -> None:
        """Say it, and end with its exit status."""
        done = f"{self.ok + self.earlier:,} of {self.total:,} done" + f" ({self.earlier:,} earlier)" * bool(
            self.earlier
        )
        failed = f", {self.failed:,} failed" * bool(self.failed)
        if self.stopped:
            say(f"stopped: {done}{failed}; the same command goes on")
            raise typer.Exit(EXIT_REQUEUE)
        if self.failed and manifest is not None:
            failed += f": see {manifest}; --retry-failed tries them again"
        say(done + failed)
        if self.failed:
            raise typer.Exit(EXIT_SOME_FAILED)


def run_batch(about: Verb, sources: list[str], batch: Batch, options: dict[str, Any]) -> None:
    """The objects of this shard that are not done yet; ends with 3 where some failed, 75 where it was stopped."""
    if batch.files_from is not None:
        sources = [*sources, *io.load_names(batch.files_from, null=batch.null)]
    if not sources:
        raise GatlasError("no input: name files or folders, or a list of them with --files-from")
    if "-" in sources:
        raise GatlasError("standard input is an input of its own: it does not go with others")
    _refuse_shared(options)
    # In an array of jobs that name an input each, that input is the share of each.
    own = batch.files_from is None and len(sources) == 1 and not io.names_many(sources[0], photos=about.photos)
    index, shards = _shard(batch.shard, quiet=own)
    if about.suffix == "/" and (options["output"] == "-" or options["output"].endswith(".tar")):
        raise GatlasError("each result is a folder: name them with -o DIR/")
    items = sorted(io.list_items(sources, about.accepts, photos=about.photos), key=lambda item: item.key)
    output = options["output"].replace(SHARD, f"{index:05d}")
    if batch.tar and output != "-":
        raise GatlasError("--tar is for standard output: leave -o out, or name a tar, -o x.tar")
    results: Results
    if output == "-" or output.lower().endswith(".tar"):
        results = io.StreamResults(about.suffix) if output == "-" else io.TarResults(Path(output), about.suffix)
        tasks = [Task(io.shard_key(item.key), item.source, item.name, None) for item in items]
        if output != "-":
            shard = re.escape(os.path.realpath(options["output"])).replace(re.escape(SHARD), r"\d{5}")
            tasks = without_members(tasks, re.compile(shard), sources)
    else:
        template = _template(about, output)
        results = io.FolderResults(Path(template[: template.index(STEM)] + "x").parent, index, shards)
        tasks = [Task(item.key, item.source, item.name, Path(template.replace(STEM, item.key))) for item in items]
        # The list was made first: the line of a result that is in it stands in a manifest by now.
        tasks = without_products(tasks, results.known(), about.name)
    _refuse_equal(tasks)
    refuse_overwriting(tasks)
    if not own or batch.shard is not None:
        tasks = take_shard(tasks, index, shards)
    if isinstance(results, io.StreamResults):
        _into_stream(about, results, tasks, batch, options)
    else:
        _into_files(about, results, tasks, batch, options)


def run_stream(about: Verb, blobs: Iterator[io.Blob], batch: Batch, options: dict[str, Any]) -> None:
    """The objects of a tar that comes through a pipe, in its order, as a tar into the next pipe."""
    _refuse_shared(options)
    if options["output"] != "-":
        raise GatlasError(
            "a tar from a pipe cannot be read again, so there is no going on with it: leave -o out and write "
            "standard output to a file, or save the tar first and name it"
        )
    index, shards = _shard(batch.shard)
    wanted = (blob for blob in blobs if blob.key is None or blob.name.lower().endswith(about.accepts))
    mine = (blob for number, blob in enumerate(wanted) if number % shards == index)
    tasks = (Task(io.shard_key(blob.stem or "object"), blob, blob.name, None) for blob in mine)
    _into_stream(about, io.StreamResults(about.suffix), tasks, batch, options)


def _into_stream(
    about: Verb, results: StreamResults, tasks: Iterable[Task], batch: Batch, options: dict[str, Any]
) -> None:
    if batch.dry_run:
        _print_plan(Plan(list(tasks), [], [], []))
        return
    tally = Tally()
    with _quiet_pipes(), results:
        _work(about, results, tasks, batch, options, tally, total=None)
    tally.finish(None)


def _into_files(
    about: Verb, results: FolderResults | TarResults, tasks: list[Task], batch: Batch, options: dict[str, Any]
) -> None:
    plan, known = _planned(about, results, tasks, batch, options)
    if batch.dry_run:
        _print_plan(plan)
        return
    with _quiet_pipes(), results:
        plan, known = _planned(about, results, tasks, batch, options)  # none but this process writes from here on
        tally = Tally(len(tasks), earlier=len(plan.done), failed=len(plan.failed) + len(plan.foreign))
        for task in plan.foreign:
            error = f"{task.output} exists and is of another input or other options: remove it, or use --force"
            if task.key not in known:  # else its line says who made what is there
                results.record(_line(about, task, options, "failed", error))
            say(error)
        growing = isinstance(results, io.TarResults) and (plan.todo or not results.is_complete())
        if isinstance(results, io.TarResults) and growing:
            results.go_on(max((line.get("end", 0) for line in known.values()), default=0))
        _work(about, results, plan.todo, batch, options, tally, total=len(plan.todo), known=known)
        if isinstance(results, io.TarResults) and growing and not tally.stopped and tally.ok + tally.earlier:
            results.finish()
    tally.finish(results.manifest)


def _planned(
    about: Verb, results: FolderResults | TarResults, tasks: list[Task], batch: Batch, options: dict[str, Any]
) -> tuple[Plan, dict[str, Line]]:
    """What is to be done, and the manifest's lines that stay."""
    known = results.known()
    plan = make_plan(
        tasks,
        known,
        _fingerprint(about, options),
        about.name,
        holds=lambda line, task: results.holds(line, task.output),
        retry_failed=batch.retry_failed,
        force=options["force"],
    )
    if not isinstance(results, io.TarResults):
        return plan, known
    if results.tar.exists() and not known and not options["force"]:
        raise GatlasError(f"{results.tar} exists: use --force to overwrite it")
    if options["force"]:
        return plan, {}
    held = {key for key, line in known.items() if line.get("status") == "ok"}
    if held - {task.key for task in plan.done}:  # a member cannot be taken out of a tar
        raise GatlasError(f"{results.tar}: holds objects of other inputs or options: use --force to make it anew")
    return plan, known


def _work(
    about: Verb,
    results: Results,
    tasks: Iterable[Task],
    batch: Batch,
    options: dict[str, Any],
    tally: Tally,
    *,
    total: int | None,
    known: Mapping[str, Line] = MappingProxyType({}),
) -> None:
    """Run the tasks and store what comes out; `tally` counts, and `known` are the lines of earlier runs."""
    begun: dict[int, Task] = {}
    as_folder = about.suffix == "/" or (STEM in options["output"] and options["output"].endswith("/"))

    def jobs() -> Iterator[Job]:
        for number, task in enumerate(tasks):
            begun[number] = task
            if total is None:
                tally.total += 1
            made = results.scratch_path(about.suffix * (not as_folder))
            yield Job(number, task.key, task.source, f"{made}{'/' * as_folder}")

    devices = 0 if getattr(options.get("device"), "value", "cpu") == "cpu" else count_devices(os.environ)
    single = {**options, "threads": options.get("threads") or _threads_each(batch.jobs)}
    work = VerbWork(about, {name: value for name, value in single.items() if name in options})
    with stopping(None) as stop, counting_bar(about.name.replace("_", "-"), total) as count:
        running = run(
            jobs(),
            work,
            processes=batch.jobs,
            timeout=batch.timeout,
            stop=stop,
            on_stop=signal.SIGUSR1 if options.get("resume") else None,
            devices=devices if batch.jobs > 1 else 0,
        )
        with closing(running) as ends:  # whatever happens here, no worker is left
            for ended in in_order(ends) if results.ordered else ends:
                task = begun.pop(ended.job.number)
                line = _line(about, task, options, ended.status, ended.error, ended)
                if ended.status == "ok":
                    tally.ok += 1
                    results.store(line, Path(ended.job.output), task.output, io.sidecars(task.source))
                elif ended.status == "failed":
                    tally.failed += 1
                    earlier = known.get(task.key, {})
                    kept = earlier if earlier.get("status") == "ok" else earlier.get("kept")
                    results.record({**line, "kept": kept} if kept else line)
                    say(ended.error if task.name in ended.error else f"{task.name}: {ended.error}")
                if count is not None:
                    count()
        tally.stopped = stop()


def _line(
    about: Verb, task: Task, options: dict[str, Any], status: str, error: str, ended: Ended | None = None
) -> dict[str, Any]:
    """What the manifest says of an object."""
    line: dict[str, Any] = {
        "id": task.key,
        "status": status,
        "verb": about.name,
        "input": task.name,
        "input_stamp": io.stamp(task.source),
        "options": _fingerprint(about, options),
        "version": __version__,
        "ended": round(time.time(), 3),
    }
    if "seed" in options:
        line["seed"] = options["seed"]
    if error:
        line["error"] = error
    if ended is not None:
        line |= {"seconds": round(ended.seconds, 3), **ended.record}
        if ended.notes:
            line["notes"] = list(ended.notes)
    return line


def _fingerprint(about: Verb, options: dict[str, Any]) -> str:
    plain = {name: value.value if isinstance(value, Enum) else value for name, value in options.items()}
    return fingerprint_of(about.name, {name: value for name, value in plain.items() if name not in _NO_MATTER})


def _threads_each(jobs: int) -> int:
    """Each worker's share of the processors."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


def _shard(given: str | None, *, quiet: bool = False) -> tuple[int, int]:
    if given is not None:
        return parse_shard(given)
    found = slurm_shard(os.environ)
    if found is None:
        return 0, 1
    if not quiet:
        say(f"shard {found[0]}/{found[1]}, from Slurm's array variables")
    return found


@contextmanager
def _quiet_pipes() -> Iterator[None]:
    """A pipe that nobody reads ends the process quietly, and not before its scratch files are removed."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    except BrokenPipeError:
        raise typer.Exit(EXIT_CLOSED_PIPE) from None
    finally:
        signal.signal(signal.SIGPIPE, before)


def _template(about: Verb, output: str) -> str:
    """Where each object's result goes, with {stem} for its name."""
    if not output:
        raise GatlasError("the name of the output is empty")
    if STEM in output:
        check_suffix(Path(output), about.suffix.rstrip("/"), "what this verb makes")
        return output
    if io.is_folder(output) or not Path(output).suffix:
        return f"{output.rstrip('/')}/{STEM}{about.suffix}"
    raise GatlasError(f"{output}: holds one object: for many, name a folder, DIR/, or x.tar")


def _refuse_shared(options: dict[str, Any]) -> None:
    for name in sorted(_OUTPUTS & options.keys()):
        if options[name] and STEM not in options[name]:
            flag = "--" + name.replace("_", "-")
            raise GatlasError(f"{flag} {options[name]}: every object would write it: put {STEM} into its name")


def _refuse_equal(tasks: Iterable[Task]) -> None:
    first: dict[str, Task] = {}
    for task in tasks:
        other = first.setdefault(task.key, task)
        if other is not task:
            raise GatlasError(
                f"two inputs have the name {task.key!r}, {other.name} and {task.name}: rename one of them, or name the "
                "folder above them, whose folders become part of the names"
            )


def _print_plan(plan: Plan) -> None:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files are bytes
    for word, tasks in zip(("do", "done", "failed", "exists"), plan, strict=True):
        for task in tasks:
            print(word, task.name, "->", task.output or f"{task.key} in the tar", sep="\t")
