"""Run a function on many objects: what an earlier run has left to do, in worker processes, each result stored whole."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from gatlas import __version__, io
from gatlas.batch import listing
from gatlas.batch.manifest import FolderResults, Line, Made, StreamResults, TarResults, last_success, last_successes
from gatlas.batch.options import SHARD, STEM, BatchOptions
from gatlas.batch.places import refuse_found
from gatlas.batch.plan import Plan, make_plan, unowned_file
from gatlas.batch.resharding import choose_shard
from gatlas.batch.shards import parse_shard, slurm_task
from gatlas.batch.share import ALL, folder_share, streamed_share, tar_share
from gatlas.batch.work import BatchWork, Job, Task, call_function, failure
from gatlas.batch.workers import JobResult, ReadAhead, in_order, run_jobs
from gatlas.config import Report, ignore
from gatlas.errors import GatlasError, Requeue
from gatlas.io.outputs import is_streamed
from gatlas.io.sets.scratch import new_path
from gatlas.io.sets.shard_index import keep_index
from gatlas.io.splats.gltf_heads import is_gltf_splat_file

Results = FolderResults | TarResults | StreamResults

RESUME, START_OVER = "run the same command to resume", "run the same command to start over"
AHEAD = 8  # objects per worker, where results are stored in order: those after a slow one wait in memory or in scratch


@dataclass
class BatchOutcome:
    """The outcome of a batch."""

    total: int = 0  # objects of this shard
    earlier: int = 0  # done by an earlier run
    done: int = 0  # done by this run
    failed: int = 0
    stopped: bool = False  # before all objects were tried
    manifest: Path | None = None  # None: results went to a stream
    plan: Plan | None = None  # of a dry run
    notes: Counter[str] = field(default_factory=Counter)  # messages of the function -> objects of this run


def run_batch(
    work: BatchWork,
    inputs: Sequence[str] | Iterator[io.Blob],
    output: str,
    options: BatchOptions = BatchOptions(),
    *,
    force: bool = False,
    devices: int = 0,
    report: Report = ignore,
    on_object: Callable[[int, int | None], None] = lambda ended, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> BatchOutcome:
    """Call a function for every object that the inputs name, and store the results.

    `inputs` are files, folders, patterns and tars, or the members of a tar that is read once (`io.stream_members`).
    `output` is a folder ("DIR/", or a name with {stem}), a tar ("x.tar") or "-", a tar to standard output. Folders and
    tars get a manifest: what an earlier run has done with the same options is not done again, unless with `force`.

    An object that fails is reported and does not end the batch. `on_object` is called with the number of objects that
    ended, 0 as the first begins, and of those to do, None where that is unknown. Once `should_stop()`, running objects
    are finished and no other begins. With `devices` > 0 the workers take turns on so many GPUs. A mistake in the names
    of inputs and outputs is a GatlasError, as is a full disk.
    """
    listing.check_output_names(work, output)
    _check_engine(options, output, piped=not isinstance(inputs, Sequence))
    results: Results
    tasks: list[Task] | ReadAhead[Task]
    named: set[str] = set()
    if isinstance(inputs, Sequence):
        results, tasks, named = _list_tasks(work, inputs, output, options, report, force)
    else:
        results = StreamResults(work.suffix, output, force)
        piped = listing.piped_tasks(work, inputs, output, options.shard)
        tasks = list(piped) if options.dry_run else ReadAhead(piped)
    run = _Run(work, results, output, options, force, devices, report, on_object, should_stop, named)
    if options.dry_run:
        return BatchOutcome(plan=run.plan(list(tasks))[0])
    with suppress(Requeue), results.opened() as run.scratch:
        if isinstance(tasks, list):
            run.resume(tasks)
        else:
            run.process(tasks, None, {})
        if run.outcome.stopped:
            raise Requeue  # a stream that was cut off gets no end mark
    return run.outcome


def _check_engine(options: BatchOptions, output: str, *, piped: bool) -> None:
    """Raise a GatlasError where an engine cannot do what is asked for."""
    if options.engine == "processes":
        if options.cluster is not None:
            raise GatlasError("--cluster is the address of a Dask or Ray cluster: say which with --engine")
        return
    if piped:
        raise GatlasError(f"--engine {options.engine} takes files, folders and tars on disk, not a pipe")
    if options.timeout is not None:
        raise GatlasError(
            f"--engine {options.engine} takes no --timeout: only a worker process of this machine is ended"
        )
    if options.cluster is not None and is_streamed(output):
        raise GatlasError("--cluster: the results must go to a disk that all its machines see: name them with -o")


def _list_tasks(
    work: BatchWork, inputs: Sequence[str], output: str, options: BatchOptions, report: Report, force: bool
) -> tuple[Results, list[Task], set[str]]:
    """Return the store of the results, the tasks of this shard, and the absolute paths of what was named."""
    sources, missing = listing.read_inputs(inputs, options)
    named = set(map(os.path.abspath, sources))
    streamed, tar = is_streamed(output), output.lower().endswith(".tar")
    if work.suffix == "/" and (streamed or tar):
        raise GatlasError("each result is a folder: name them with -o DIR/")
    if options.tar and not streamed:
        raise GatlasError("--tar is for standard output: leave -o out, or name a tar, -o x.tar")
    task = None if options.shard is not None else slurm_task(os.environ)
    # An array may give each task an input of its own, a file or a tar: that is not split.
    whole = options.shard is None and options.files_from is None and len(sources) == 1 and _is_file(work, sources[0])
    if options.shard is not None:
        parse_shard(options.shard)
    items = listing.list_all(work, sources, missing)  # first: an input that gives nothing explains itself
    folder = None if streamed or tar else listing.results_folder(listing.output_template(output, work.suffix))
    index, shards = choose_shard(output, folder, options.shard, task, whole=whole, force=force)
    if whole and shards > 1 and io.names_many(sources[0], photos=work.spec.photos):
        report(f"{sources[0]} is taken whole, as this task's own input: give --shard {index}/{shards} for a share")
    elif task and not whole:
        report(f"shard {index}/{shards}, from Slurm's array variables")
    place = output.replace(SHARD, f"{index:05d}")
    record = {} if whole or shards == 1 else {"shard": f"{index}/{shards}", **({"array": str(task)} if task else {})}
    part = ALL if whole else (index, shards)
    if streamed or is_streamed(place):
        return StreamResults(work.suffix, place, force), streamed_share(work, items, part), named
    if tar:
        of_any_shard = re.compile(re.escape(os.path.realpath(output)).replace(re.escape(SHARD), r"\d{5}"))
        results = TarResults(Path(place), work.suffix, work.name, record)
        return results, tar_share(work, items, part, of_any_shard, sources), named
    template = listing.output_template(place, work.suffix)
    stored = FolderResults(listing.results_folder(template), index, shards, work.name, record)
    return stored, folder_share(work, items, part, template, stored.known), named


def _is_file(work: BatchWork, source: str) -> bool:
    return not io.names_many(source, photos=work.spec.photos) or (io.exists(source) and not io.is_folder(source))


@dataclass
class _Run:
    """A batch at work."""

    work: BatchWork
    results: Results
    output: str
    options: BatchOptions
    force: bool
    devices: int
    report: Report
    on_object: Callable[[int, int | None], None]
    should_stop: Callable[[], bool]
    named: set[str]  # absolute paths of the files and folders that were named
    outcome: BatchOutcome = field(default_factory=BatchOutcome)
    scratch: Path = Path()

    def plan(self, tasks: list[Task]) -> tuple[Plan, dict[str, Line]]:
        """Return what is to do, and the manifest lines that stay valid."""
        if isinstance(self.results, StreamResults):
            return self._of_meshes(Plan(tasks, [], [], [], [])), {}
        keys = [task.key for task in tasks]
        known = self.results.known() if isinstance(self.results, TarResults) else self.results.known(keys)
        refuse_found(tasks, last_successes(known), self.work.name)
        retry, force = self.options.retry_failed, self.force
        plan = make_plan(tasks, known, self.work, holds=self.results.holds, retry_failed=retry, force=force)
        plan = self._of_meshes(plan)
        if isinstance(self.results, TarResults):
            if force:  # the tar is begun anew; its sidecars are still known to be ours
                return plan, {key: {**line, "end": 0} for key, line in last_successes(known).items()}
            self.results.check(known, keys, [task.key for task in plan.done])
        return plan, known

    def _of_meshes(self, plan: Plan) -> Plan:
        """Return a plan without the splats in glTF that lie in folders of meshes; those that were named fail."""
        if not self.work.spec.meshes:
            return plan
        splats = [task for task in (*plan.todo, *plan.failed) if self._is_found_splat(task)]
        if not splats:
            return plan
        keys = {task.key for task in splats}
        plan = Plan(*([task for task in tasks if task.key not in keys] for tasks in plan))
        more = f" and {len(splats) - 1:,} more" if len(splats) > 1 else ""
        what = f"{splats[0].name}{more}: splats in glTF, not meshes"
        if not any(plan) and self.options.shard is None:
            raise GatlasError(f"{what}, and there is nothing else: to make meshes of them, give them to gatlas mesh")
        self.report(f"{what}: left out; to make meshes of them, give them to gatlas mesh")
        return plan

    def _is_found_splat(self, task: Task) -> bool:
        path = task.source
        return isinstance(path, Path) and is_gltf_splat_file(path) and os.path.abspath(path) not in self.named

    def resume(self, tasks: list[Task]) -> None:
        """Process what an earlier run has left to do, and complete a tar."""
        plan, known = self.plan(tasks)  # no other process writes from here on
        if plan.other:
            raise GatlasError(
                f"{plan.other[0].output} and {len(plan.other) - 1:,} more were made with other options: use --force to "
                "make them anew, or name another place with -o"
            )
        failed = len(plan.failed) + len(plan.unowned)
        outcome = self.outcome = BatchOutcome(
            sum(map(len, plan)), len(plan.done), 0, failed, manifest=self.results.manifest
        )
        tar = self.results if isinstance(self.results, TarResults) else None
        if tar is not None and (plan.todo or not tar.growing.is_whole()):
            tar.resume(max((line.get("end", 0) for line in known.values()), default=0))
        for task in plan.unowned:
            self._refuse(task, known.get(task.key, {}))
        self.process(plan.todo, len(plan.todo), known)
        whole = not outcome.stopped and (outcome.done + outcome.earlier or not outcome.total)
        if tar is not None and whole and not tar.growing.is_whole():
            tar.growing.finish()
            keep_index(tar.tar)

    def _refuse(self, task: Task, line: Line) -> None:
        place = unowned_file(task, line, self.work.name)
        error = f"{place} exists and is of another input or other options: remove it, or use --force"
        if not line:  # else it records who made what stands there; once the file is gone, the object is tried again
            self.results.record(self._line(task, JobResult("failed", error=error, transient=True)))
        self.report(error)

    def process(self, tasks: Iterable[Task], total: int | None, known: Mapping[str, Line]) -> None:
        """Run the tasks and store their results; `known` are the lines of earlier runs."""
        taken, exhausted, interrupted = 0, False, False
        folders = self.work.suffix == "/" or (STEM in self.output and self.output.endswith("/"))
        suffix, slash = ("", "/") if folders else (self.work.suffix, "")

        def jobs() -> Iterator[Job]:
            nonlocal taken, exhausted
            for task in tasks:
                taken += 1
                yield Job(task, f"{new_path(self.scratch, suffix)}{slash}")
            exhausted = True

        ordered = self.results.ordered
        running = self._run(jobs(), tasks if isinstance(tasks, ReadAhead) else None)
        self.on_object(0, total)
        with closing(running):  # whatever happens here, no worker is left
            ends = in_order(running) if ordered else running
            for count, (_, job, result) in enumerate(ends, 1):
                self._take(job, result, last_success(known.get(job.task.key, {})))
                interrupted |= result.status == "stopped"
                self.on_object(count, total)
        if total is None:
            self.outcome.total = taken
        # A request to stop that comes when all is done stops nothing.
        self.outcome.stopped = self.should_stop() and (interrupted or not (exhausted or taken == total))

    def _run(
        self, jobs: Iterator[Job], upstream: ReadAhead[Task] | None
    ) -> Generator[tuple[int, Job, JobResult], None, None]:
        """Yield the jobs with their results, as worker processes or an engine end them."""
        options, recorded = self.options, self.results.manifest is not None
        function = partial(call_function, self.work, self.force or recorded, recorded)
        ahead = AHEAD * options.jobs if self.results.ordered else None
        if options.engine != "processes":
            from gatlas.batch.engines import run_on_engine

            return run_on_engine(
                options.engine,
                jobs,
                function,
                processes=options.jobs,
                address=options.cluster,
                should_stop=self.should_stop,
                ahead=ahead,
            )
        return run_jobs(
            jobs,
            function,
            processes=options.jobs,
            timeout=options.timeout,
            should_stop=self.should_stop,
            devices=self.devices,
            ahead=ahead,
            upstream=upstream,
        )

    def _take(self, job: Job, result: JobResult, earlier: Line) -> None:
        """Store the result of an object, or record its error; `earlier` is the line of the result that it replaces."""
        task, made = job.task, Path(job.output)
        sidecars = job.sidecar_paths(self.work) if self.results.manifest is not None else {}
        result = _with_places(result, {**sidecars, task.output or Path(self.output): made})
        if result.status == "ok":
            try:
                captions = io.captions_of(task.source) if task.captions is None else task.captions
                self.results.store(Made(task, self._line(task, result), made, captions, sidecars, earlier))
                self.outcome.done += 1
                self.outcome.notes.update(dict.fromkeys(result.notes, 1))
            except GatlasError as error:
                if self.results.ordered:  # all go to one place, and a part of this one may stand there
                    raise GatlasError(f"{error}: stopped; {self._remedy}") from None
                result = failure(error)._replace(seconds=result.seconds, notes=result.notes)
        if result.status == "failed":
            self.outcome.failed += 1
            line = self._line(task, result)
            try:
                self.results.record({**line, "kept": earlier} if earlier else line)
            except GatlasError as error:
                raise GatlasError(f"{error}: stopped; {self._remedy}") from None
            self.report(result.error if task.name in result.error else f"{task.name}: {result.error}")
            if result.disk_full:
                raise GatlasError(f"stopped, since every other object would fail too; {self._remedy}")

    @property
    def _remedy(self) -> str:
        return START_OVER if self.results.manifest is None else RESUME

    def _line(self, task: Task, result: JobResult) -> Line:
        """Return what the manifest records of an object."""
        line: Line = {
            "id": task.key,
            "status": result.status,
            "verb": self.work.name,
            "input": task.name,
            "input_stamp": io.stamp(task.source),
            "options": self.work.fingerprint,
            "version": __version__,
            "ended": round(time.time(), 3),
            "seed": getattr(self.work.options, "seed", None),
            "error": result.error or None,
            "seconds": round(result.seconds, 3) if result.seconds else None,
        }
        line = {name: value for name, value in line.items() if value is not None or name == "input_stamp"}
        more = {"passing": result.transient, "notes": list(result.notes)}
        return line | dict(result.record) | {name: value for name, value in more.items() if value}


def _with_places(result: JobResult, places: Mapping[Path, Path]) -> JobResult:
    """Return a result whose messages name final places instead of paths in the scratch folder."""

    def named(text: str) -> str:
        for place, path in places.items():
            text = text.replace(str(path), str(place))
        return text

    return result._replace(error=named(result.error), notes=tuple(map(named, result.notes)))
