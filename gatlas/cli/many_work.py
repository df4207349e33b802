"""The objects of a batch through their verb, one after the other in each worker, and what is written of them."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer

from gatlas import __version__, io
from gatlas.batch.options import BatchOptions
from gatlas.batch.plan import Task, fingerprint_of, made_line
from gatlas.batch.workers import Ended, Job, ReadAhead, Reply, count_devices, in_order, run
from gatlas.cli.interrupt import EXIT_REQUEUE, stopping
from gatlas.cli.many import STEM, Verb, single_of
from gatlas.cli.terminal import collected, counting_bar, say
from gatlas.errors import GatlasError, Requeue
from gatlas.io.streams import is_full, is_passing

if TYPE_CHECKING:
    from gatlas.io.sets.results import FolderResults, Line, StreamResults, TarResults

    Results = FolderResults | TarResults | StreamResults

EXIT_SOME_FAILED = 3
NO_MEMORY = "not enough memory for this input"
AGAIN = "and the same command begins again from the start"
AHEAD = 8  # objects a worker, where results are kept in order: those behind a slow one wait in memory or in scratch

# Options that do not change what is made.
NO_MATTER = {"output", "force", "threads", "device", "report", "preview", "resume", "time_limit", "views_out"}
# Options that name a file or a folder to write, and the suffix of what is written: every object needs one of its own.
OUTPUTS = {"report": ".json", "preview": ".png", "resume": ".npz", "views_out": ""}
BESIDE = {"report": False, "views_out": True}  # of those, what is made once, with the result; whether it is a folder


@dataclass(frozen=True)
class VerbWork:
    """The verb on one object, in a worker. Whatever a bad object does, the worker goes on."""

    about: Verb
    options: dict[str, Any]
    holds_back: bool  # what is written beside the result is left in scratch too

    def __call__(self, job: Job) -> Reply:
        started = time.monotonic()
        with collected() as notes:
            reply = self._try(job)
        return reply._replace(seconds=time.monotonic() - started, notes=tuple(notes))

    def _try(self, job: Job) -> Reply:
        try:
            return Reply("ok", 0.0, self._do(job))
        except GatlasError as error:
            return Reply("failed", 0.0, {}, str(error), passing=is_passing(error), full_disk=is_full(error))
        except Requeue as stop:
            return Reply("stopped", 0.0, {}, str(stop))
        except typer.Exit as end:
            stopped = end.exit_code == EXIT_REQUEUE
            return Reply("stopped" if stopped else "failed", 0.0, {}, f"ended with exit status {end.exit_code}")
        except MemoryError:
            return Reply("failed", 0.0, {}, NO_MEMORY, passing=True)
        except Exception as error:
            said = f"a fault of gatlas, please report it: {type(error).__name__}: {error}"
            return Reply("failed", 0.0, {}, said, passing=is_passing(error), full_disk=is_full(error))

    def _do(self, job: Job) -> dict[str, Any]:
        source = job.source
        if isinstance(source, Path) and source.is_fifo():
            source = io.as_blob(source)  # a pipe, as the shell's <(command), is read once only
        digest = io.sha256_of(source)
        if isinstance(source, Path):
            source = str(source)
        elif not isinstance(source, io.Blob):
            source = io.read_member(source)
        options = {**self.options, "output": job.output, "force": self.options["force"] or self.holds_back}
        beside = beside_of(options, job.key, job.output) if self.holds_back else {}
        for name, place in places_of(options, job.key).items():
            io.make_folder(place.parent, parents=True)
            if place in beside:
                io.check_output(place, force=True, folder=BESIDE[name])  # before the work, as for a single object
            options[name] = str(beside.get(place, place))
        record = single_of(self.about)(**{self.about.source: source}, **options) or {}
        made = Path(job.output)
        hashed = {} if made.is_dir() else {"output_sha256": io.sha256_of(made)}
        return {"input_sha256": digest, **record, **hashed}


def places_of(options: Mapping[str, Any], key: str) -> dict[str, Path]:
    """Where an object writes what the options ask for beside its result, by the option's name."""
    asked = {name: options[name] for name in sorted(OUTPUTS.keys() & options.keys()) if options[name]}
    return {name: Path(template.replace(STEM, key)) for name, template in asked.items()}


def beside_of(options: Mapping[str, Any], key: str, scratch: str) -> dict[Path, Path]:
    """Place -> scratch of what is moved with the result of an object, whose own scratch is given."""
    places = {name: place for name, place in places_of(options, key).items() if name in BESIDE}
    return {place: Path(f"{scratch.rstrip('/')}.{name}{place.suffix}") for name, place in places.items()}


def _with_places(ended: Ended, output: Path, beside: Mapping[Path, Path]) -> Ended:
    """An end that names places: the user knows no scratch files."""

    def told(text: str) -> str:
        for place, scratch in beside.items():
            text = text.replace(str(scratch), str(place))
        return text.replace(ended.job.output.rstrip("/"), str(output))

    return ended._replace(error=told(ended.error), notes=tuple(map(told, ended.notes)))


@dataclass
class Tally:
    """How a batch went."""

    total: int = 0
    earlier: int = 0
    ok: int = 0
    failed: int = 0
    stopped: bool = False
    forced: bool = False  # what was done earlier is done again
    notes: Counter[str] = field(default_factory=Counter)

    def finish(self, manifest: Path | None) -> None:
        """Say it, after what was to be said of every object alike, and end with its exit status."""
        for note, times in self.notes.items():
            if times == self.ok > 1:
                say(f"of every object: {note}")
        done = f"{self.ok + self.earlier:,} of {self.total:,} done" + f" ({self.earlier:,} earlier)" * bool(
            self.earlier
        )
        failed = f", {self.failed:,} failed" * bool(self.failed)
        if self.stopped and manifest is None:
            say(f"stopped after {self.ok:,} objects{failed}: the tar on standard output is not whole, {AGAIN}")
            raise typer.Exit(EXIT_REQUEUE)
        if self.stopped:
            on = (
                "with --force the same command begins again from the start"
                if self.forced
                else "the same command goes on"
            )
            say(f"stopped: {done}{failed}; {on}")
            raise typer.Exit(EXIT_REQUEUE)
        if self.failed and manifest is not None:
            failed += f": see {manifest}; --retry-failed tries them again"
        say(done + failed)
        if self.failed:
            raise typer.Exit(EXIT_SOME_FAILED)


def do_tasks(
    about: Verb,
    results: Results,
    tasks: Iterable[Task],
    batch: BatchOptions,
    options: dict[str, Any],
    tally: Tally,
    *,
    total: int | None,
    known: Mapping[str, Line] = MappingProxyType({}),
) -> None:
    """Run the tasks and store what comes out; `tally` counts, and `known` are the lines of earlier runs."""
    begun: dict[int, Task] = {}
    taken, whole, cut = 0, False, False  # tasks that began; whether there are no more; whether one was broken off
    goes_on = "and the same command goes on" if results.manifest is not None else AGAIN
    as_folder = about.suffix == "/" or (STEM in options["output"] and options["output"].endswith("/"))

    def jobs() -> Iterator[Job]:
        nonlocal taken, whole
        for number, task in enumerate(tasks):
            begun[number] = task
            taken = number + 1
            if total is None:
                tally.total += 1
            made = results.scratch_path(about.suffix * (not as_folder))
            yield Job(number, task.key, task.source, f"{made}{'/' * as_folder}")
        whole = True

    devices = 0 if getattr(options.get("device"), "value", "cpu") == "cpu" else count_devices(os.environ)
    single = {**options, "threads": options.get("threads") or _threads_each(batch.jobs)}
    holds_back = results.manifest is not None
    work = VerbWork(about, {name: value for name, value in single.items() if name in options}, holds_back)
    with stopping(None) as stop, counting_bar(about.name.replace("_", "-"), total) as count:
        running = run(
            jobs(),
            work,
            processes=batch.jobs,
            timeout=batch.timeout,
            stop=stop,
            on_stop=signal.SIGUSR1 if options.get("resume") else None,
            devices=devices if batch.jobs > 1 else 0,
            ahead=AHEAD * batch.jobs if results.ordered else None,
            upstream=tasks if isinstance(tasks, ReadAhead) else None,
        )
        with closing(running) as ends:  # whatever happens here, no worker is left
            for ended in in_order(ends) if results.ordered else ends:
                task = begun.pop(ended.job.number)
                beside = beside_of(options, task.key, ended.job.output) if holds_back else {}
                ended = _with_places(ended, task.output or Path(options["output"]), beside)
                line = line_of(about, task, options, ended.status, ended.error, ended)
                if ended.status == "ok":
                    try:
                        captions = io.sidecars(task.source) if task.captions is None else task.captions
                        earlier = made_line(known.get(task.key, {}))
                        results.store(line, Path(ended.job.output), task.output, captions, beside, earlier)
                        tally.ok += 1
                        tally.notes.update(set(ended.notes))
                    except GatlasError as error:
                        if results.ordered:  # all go to one place, and half of this one may stand there
                            raise GatlasError(f"{error}: stopped, {goes_on}") from None
                        # Its place cannot be written to; those of others may be.
                        ended = ended._replace(
                            status="failed",
                            record={},
                            error=str(error),
                            passing=is_passing(error),
                            full_disk=is_full(error),
                        )
                        line = line_of(about, task, options, ended.status, ended.error, ended)
                cut |= ended.status == "stopped"
                if ended.status == "failed":
                    tally.failed += 1
                    kept = made_line(known.get(task.key, {}))
                    results.record({**line, "kept": kept} if kept else line)
                    say(ended.error if task.name in ended.error else f"{task.name}: {ended.error}")
                    if ended.full_disk:
                        raise GatlasError(f"stopped, since no other object would fare better, {goes_on}")
                count()
        # A signal that comes when all is done stops nothing.
        tally.stopped = stop() and (cut or not (whole or taken == total))


def line_of(
    about: Verb, task: Task, options: dict[str, Any], status: str, error: str, ended: Ended | None = None
) -> dict[str, Any]:
    """What the manifest says of an object."""
    line: dict[str, Any] = {
        "id": task.key,
        "status": status,
        "verb": about.name,
        "input": task.name,
        "input_stamp": io.stamp(task.source),
        "options": fingerprint(about, options),
        "version": __version__,
        "ended": round(time.time(), 3),
    }
    if "seed" in options:
        line["seed"] = options["seed"]
    if error:
        line["error"] = error
    if ended is not None:
        line |= {"seconds": round(ended.seconds, 3), **ended.record}
        if ended.passing:
            line["passing"] = True
        if ended.notes:
            line["notes"] = list(ended.notes)
    return line


def fingerprint(about: Verb, options: dict[str, Any]) -> str:
    plain = {name: value.value if isinstance(value, Enum) else value for name, value in options.items()}
    return fingerprint_of(about.name, {name: value for name, value in plain.items() if name not in NO_MATTER})


def _threads_each(jobs: int) -> int:
    """Each worker's share of the processors."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)
