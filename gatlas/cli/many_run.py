"""How a batch runs: each object through its verb in a worker, its result into its place."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gatlas import io
from gatlas.batch.options import BatchOptions
from gatlas.batch.places import refuse_captions, refuse_overwriting, without_members, without_products
from gatlas.batch.plan import Plan, Task, foreign_file, made_line, make_plan
from gatlas.batch.shards import parse_shard, slurm_shard, take_shard
from gatlas.batch.workers import ReadAhead
from gatlas.cli.many import SHARD, STEM, Verb
from gatlas.cli.many_work import OUTPUTS, Tally, beside_of, do_tasks, fingerprint, line_of, places_of
from gatlas.cli.terminal import refuse_shared_names, say
from gatlas.errors import GatlasError
from gatlas.io.sets.inputs import without_suffix
from gatlas.io.sets.shards import is_empty_tar
from gatlas.io.sets.streamed import stream_objects
from gatlas.io.streams import check_suffix, show

if TYPE_CHECKING:
    from gatlas.io.sets.results import FolderResults, Line, StreamResults, TarResults
    from gatlas.io.sets.streamed import Streamed

    Results = FolderResults | TarResults | StreamResults

EXIT_CLOSED_PIPE = 141  # as the shell says of a process that SIGPIPE ended


def run_batch(about: Verb, sources: list[str], batch: BatchOptions, options: dict[str, Any]) -> None:
    """The objects of this shard that are not done yet; ends with 3 where some failed, 75 where it was stopped."""
    vanished: list[str] = []  # of a list; what the command line itself names must be there
    if batch.files_from is not None:
        listed = io.load_names(batch.files_from, null=batch.null)
        vanished = [name for name in dict.fromkeys(listed) if _is_gone(name)]
        gone = set(vanished)
        sources = [*sources, *(name for name in listed if name not in gone)]
    if not sources and not vanished:
        raise GatlasError("no input: name files or folders, or a list of them with --files-from")
    if "-" in sources:
        raise GatlasError("standard input is an input of its own: it does not go with others")
    _refuse_shared(options)
    own = batch.files_from is None and len(sources) == 1 and _is_own(about, sources[0])
    index, shards = _shard(batch.shard, quiet=own)
    if own and shards > 1 and batch.shard is None and io.names_many(sources[0], photos=about.photos):
        say(f"{sources[0]} is taken whole, as this task's own input: give --shard {index}/{shards} for a share of it")
    if about.suffix == "/" and (options["output"] == "-" or options["output"].endswith(".tar")):
        raise GatlasError("each result is a folder: name them with -o DIR/")
    items = _items(about, sources, vanished)
    output = options["output"].replace(SHARD, f"{index:05d}")
    if batch.tar and output != "-":
        raise GatlasError("--tar is for standard output: leave -o out, or name a tar, -o x.tar")
    results: Results
    if output == "-" or output.lower().endswith(".tar"):
        results = (
            io.StreamResults(about.suffix) if output == "-" else io.TarResults(Path(output), about.suffix, about.name)
        )
        tasks = [Task(io.shard_key(item.key), item.source, item.name, None) for item in items]
        if output != "-":
            tasks = [task._replace(files=tuple(beside_of(options, task.key, ""))) for task in tasks]
            shard = re.escape(os.path.realpath(options["output"])).replace(re.escape(SHARD), r"\d{5}")
            tasks = without_members(tasks, re.compile(shard), sources)
    else:
        template = _template(about, output)
        folder = Path(template[: template.index(STEM)] + "x").parent
        results = io.FolderResults(folder, index, shards, about.name)
        tasks = [
            Task(
                item.key,
                item.source,
                item.name,
                Path(template.replace(STEM, item.key)),
                files=tuple(beside_of(options, item.key, "")),
            )
            for item in items
        ]
        # The list was made first: the line of a result that is in it stands in a manifest by now.
        tasks = without_products(tasks, results.known(), about.name)
        refuse_captions(tasks, lambda task: places_of(options, task.key).values())
    _refuse_equal(tasks)
    refuse_overwriting(tasks)
    if not own or batch.shard is not None:
        tasks = take_shard(tasks, index, shards)
    if isinstance(results, io.StreamResults):
        _into_stream(about, results, tasks, batch, options)
    else:
        _into_files(about, results, tasks, batch, options)


def run_stream(about: Verb, blobs: Iterator[io.Blob], batch: BatchOptions, options: dict[str, Any]) -> None:
    """The objects of a tar that comes through a pipe, in its order, as a tar into the next pipe."""
    _refuse_shared(options)
    objects = stream_objects(blobs, about.accepts)
    if options["output"] != "-":
        _refuse_place(about, next(objects, None), options["output"])
    # What comes through a pipe is a Slurm task's own: the command before it took the task's share already.
    index, shards = parse_shard(batch.shard) if batch.shard is not None else (0, 1)

    def tasks() -> Iterator[Task]:
        names: dict[str, str] = {}
        for each in islice(objects, index, None, shards):
            task = Task(io.shard_key(each.key or "object"), each.blob, each.blob.name, None, each.captions)
            other = names.setdefault(task.key, task.name)
            if other is not task.name:
                raise GatlasError(
                    f"two objects have the name {task.key!r}, {other} and {task.name}: rename one of them"
                )
            yield task

    coming = tasks() if batch.dry_run else ReadAhead(tasks())
    _into_stream(about, io.StreamResults(about.suffix), coming, batch, options)


def _refuse_place(about: Verb, first: Streamed | None, output: str) -> None:
    """Only standard output takes what comes through a pipe and has to be kept in order or has no name."""
    if first is not None and first.blob.key is None:
        place = f"{output.rstrip('/')}/NAME{about.suffix}" if io.is_folder(output) else f"NAME{about.suffix}"
        raise GatlasError(f"{first.blob.name} is one object and has no name for {output}: name its result, -o {place}")
    raise GatlasError(
        "a tar from a pipe cannot be read again, so there is no going on with it: leave -o out and write "
        "standard output to a file, or save the tar first and name it"
    )


def _into_stream(
    about: Verb, results: StreamResults, tasks: Iterable[Task], batch: BatchOptions, options: dict[str, Any]
) -> None:
    if batch.dry_run:
        _print_plan(Plan(list(tasks), [], [], [], []))
        return
    tally = Tally()
    with _quiet_pipes(), results:
        do_tasks(about, results, tasks, batch, options, tally, total=None)
        if tally.stopped:
            tally.finish(None)  # inside the block: a stream that was cut off gets no end mark
    tally.finish(None)


def _into_files(
    about: Verb, results: FolderResults | TarResults, tasks: list[Task], batch: BatchOptions, options: dict[str, Any]
) -> None:
    if batch.dry_run:
        _print_plan(_planned(about, results, tasks, batch, options)[0])
        return
    with _quiet_pipes(), results:
        plan, known = _planned(about, results, tasks, batch, options)  # none but this process writes from here on
        if plan.other:
            example = plan.other[0].output
            raise GatlasError(
                f"{example} and {len(plan.other) - 1:,} more were made with other options: use --force to make them "
                "anew, or name another place with -o"
            )
        failed = len(plan.failed) + len(plan.foreign)
        tally = Tally(len(tasks), earlier=len(plan.done), failed=failed, forced=options["force"])
        for task in plan.foreign:
            place = foreign_file(task, known.get(task.key, {}), about.name)
            error = f"{place} exists and is of another input or other options: remove it, or use --force"
            if task.key not in known:  # else its line says who made what is there
                # Passing: when the file is gone, the object is tried again.
                results.record({**line_of(about, task, options, "failed", error), "passing": True})
            say(error)
        growing = isinstance(results, io.TarResults) and (plan.todo or not results.is_complete())
        if isinstance(results, io.TarResults) and growing:
            results.go_on(max((line.get("end", 0) for line in known.values()), default=0))
        do_tasks(about, results, plan.todo, batch, options, tally, total=len(plan.todo), known=known)
        if (
            isinstance(results, io.TarResults)
            and growing
            and not tally.stopped
            and (tally.ok + tally.earlier or not tasks)
        ):
            results.finish()
    tally.finish(results.manifest)


def _planned(
    about: Verb, results: FolderResults | TarResults, tasks: list[Task], batch: BatchOptions, options: dict[str, Any]
) -> tuple[Plan, dict[str, Line]]:
    """What is to be done, and the manifest's lines that stay."""
    known = results.known()
    plan = make_plan(
        tasks,
        known,
        fingerprint(about, options),
        about.name,
        holds=lambda line, task: results.holds(line, task.output),
        retry_failed=batch.retry_failed,
        force=options["force"],
    )
    if not isinstance(results, io.TarResults):
        return plan, known
    if results.tar.exists() and not known and not options["force"] and not is_empty_tar(results.tar):
        raise GatlasError(f"{results.tar} exists: use --force to overwrite it")
    if options["force"]:  # the tar is begun anew; what stands beside it is still known to be ours
        made = {key: made_line(line) for key, line in known.items()}
        return plan, {key: {**line, "end": 0} for key, line in made.items() if line}
    held = {key for key, line in known.items() if line.get("status") == "ok"}
    strange = sorted(held - {task.key for task in tasks})
    if strange:
        raise GatlasError(
            f"{results.tar}: holds {strange[0]}, which is not among these inputs: name another tar; tasks of an array "
            f"need one each, as {results.tar.stem}-{SHARD}.tar"
        )
    if held - {task.key for task in plan.done}:  # a member cannot be taken out of a tar
        what = "of other inputs or options, or without a file that is asked for beside them"
        raise GatlasError(f"{results.tar}: holds objects {what}: use --force to make it anew")
    return plan, known


def _is_gone(name: str) -> bool:
    """Whether a name of one file leads to none."""
    return name != "-" and not io.exists(name) and not io.names_many(name)


def _is_own(about: Verb, source: str) -> bool:
    """Whether an input is one task's own in an array of jobs that name an input each: a file, also if it is a tar."""
    return not io.names_many(source, photos=about.photos) or (io.exists(source) and not io.is_folder(source))


def _items(about: Verb, sources: list[str], vanished: list[str]) -> list[io.Item]:
    """What the sources name, by key. The `vanished` are items too: each fails on its own."""
    if len(sources) == 1 and not vanished and is_empty_tar(sources[0]):
        return []
    items = io.list_items(sources, about.accepts, photos=about.photos)
    for name in vanished:
        split = without_suffix(Path(name).name, about.accepts)
        items.append(io.Item(split[0] if split else Path(name).stem, Path(name)))
    return sorted(items, key=lambda item: item.key)


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
    """What is wrong with the names of the outputs is wrong for all objects: refused before any is begun."""
    asked = {name: options[name] for name in sorted(OUTPUTS.keys() & options.keys()) if options[name]}
    for name, template in asked.items():
        if STEM not in template:
            flag = "--" + name.replace("_", "-")
            raise GatlasError(f"{flag} {template}: every object would write it: put {STEM} into its name")
        check_suffix(Path(template), OUTPUTS[name], "what it holds")
    refuse_shared_names(options["output"], *asked.values())


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
    groups = zip(("do", "done", "failed", "exists", "other"), plan, strict=True)
    lines = (
        f"{word}\t{task.name}\t->\t{task.output or f'{task.key} in the tar'}\n"
        for word, tasks in groups
        for task in tasks
    )
    show("".join(lines))
