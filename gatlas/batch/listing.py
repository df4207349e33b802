"""The objects of a batch: their names, their inputs, and the paths of their results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from gatlas import io
from gatlas.batch.options import STEM, BatchOptions
from gatlas.batch.shards import parse_shard
from gatlas.batch.work import BatchWork, Task
from gatlas.config import output_fields
from gatlas.errors import GatlasError
from gatlas.io.outputs import is_streamed, refuse_shared_names
from gatlas.io.registry import check_suffix
from gatlas.io.sets.inputs import list_columns, stream_objects
from gatlas.io.sets.items import ItemColumns
from gatlas.io.sets.shards import is_empty_tar
from gatlas.io.sets.suffixes import without_suffix


def check_output_names(work: BatchWork, output: str) -> None:
    """Raise a GatlasError where the names of outputs are wrong for every object: before any begins."""
    templates = []
    for name, field in sorted(output_fields(work.options).items()):
        templates.append(template := getattr(work.options, name))
        if STEM not in template:
            raise GatlasError(f"{field.flag} {template}: every object would write it: put {STEM} into its name")
        check_suffix(Path(template), field.info.output or "", "what it holds")
    refuse_shared_names(output, *templates)


def output_template(output: str, suffix: str) -> str:
    """Return the path of each object's result, with {stem} for its name."""
    if not output:
        raise GatlasError("the name of the output is empty")
    if STEM in output:
        check_suffix(Path(output), suffix.rstrip("/"), "what this verb makes")
        return output
    if io.is_folder(output) or not Path(output).suffix:
        return f"{output.rstrip('/')}/{STEM}{suffix}"
    raise GatlasError(f"{output}: holds one object: for many, name a folder, DIR/, or x.tar")


def results_folder(template: str) -> Path:
    """Return the folder of a batch's results and manifest, of the path of each result."""
    return Path(template[: template.index(STEM)] + "x").parent


def read_inputs(inputs: Sequence[str], batch: BatchOptions) -> tuple[list[str], list[str]]:
    """Return the inputs with those of --files-from, and the files in that list that do not exist.

    Inputs that are not from the list must exist.
    """
    sources, missing = list(inputs), []
    if batch.files_from is not None:
        listed = io.load_names(batch.files_from, null=batch.null)
        missing = [name for name in dict.fromkeys(listed) if _is_missing(name)]
        absent = set(missing)
        sources += [name for name in listed if name not in absent]
    if not sources and not missing and batch.files_from is not None:
        name = "standard input" if batch.files_from == "-" else batch.files_from
        raise GatlasError(f"{name}: there are no names of files in it")
    if not sources and not missing:
        raise GatlasError("no input: name files or folders, or a list of them with --files-from")
    if "-" in sources:
        raise GatlasError("standard input is an input of its own: it does not go with others")
    return sources, missing


def _is_missing(name: str) -> bool:
    return name != "-" and not io.exists(name) and not io.names_many(name)


def list_all(work: BatchWork, sources: Sequence[str], missing: Sequence[str]) -> ItemColumns:
    """Return what the sources name, by key. The `missing` are items too: each fails on its own."""
    if len(sources) == 1 and not missing and is_empty_tar(sources[0]):
        return ItemColumns()
    items = list_columns(sources, work.spec.accepts, photos=work.spec.photos) if sources else ItemColumns()
    for name in missing:
        split = without_suffix(Path(name).name, work.spec.accepts)
        items.add_other(io.Item(split[0] if split else Path(name).stem, Path(name)))
    return items.by_key()


def make_tasks(work: BatchWork, items: Iterable[io.Item], template: str | None) -> list[Task]:
    """Return the tasks of items; {stem} in the template of a result's place is the key, and None is a tar."""
    tasks = []
    for item in items:
        key = io.shard_key(item.key) if template is None else item.key
        output = None if template is None else Path(template.replace(STEM, key))
        tasks.append(Task(key, item.source, item.name, output, sidecars=tuple(work.sidecars(key).values())))
    return tasks


def piped_tasks(work: BatchWork, blobs: Iterable[io.Blob], output: str, shard: str | None) -> Iterator[Task]:
    """Return the tasks of a tar that comes through a pipe, in its order. Only standard output takes their results."""
    objects = stream_objects(_noticed(blobs, work), work.spec.accepts)
    if not is_streamed(output):
        first = next(objects, None)
        if first is not None and first.blob.key is None:
            named = f"{output.rstrip('/')}/NAME{work.suffix}" if io.is_folder(output) else f"NAME{work.suffix}"
            raise GatlasError(
                f"{first.blob.name} is one object and has no name for {output}: name its result, -o {named}"
            )
        raise GatlasError(
            "a tar from a pipe cannot be read again, so a stopped batch could not be resumed: leave -o out and write "
            "standard output to a file, or save the tar first and name it"
        )
    # A Slurm task takes all that comes through its pipe: the command before it took the task's shard already.
    index, shards = parse_shard(shard) if shard is not None else (0, 1)
    return _named_once(
        Task(io.shard_key(each.key or "object"), each.blob, each.blob.name, None, each.captions)
        for each in islice(objects, index, None, shards)
    )


def _noticed(blobs: Iterable[io.Blob], work: BatchWork) -> Iterator[io.Blob]:
    """Yield the members of a tar. One of which none can be an object is a GatlasError at its end."""
    count, objects = 0, 0
    for blob in blobs:
        count += 1
        objects += blob.key is None or without_suffix(blob.name, work.spec.accepts) is not None
        yield blob
    if count and not objects:
        accepted = ", ".join(work.spec.accepts)
        raise GatlasError(f"standard input: a tar of {count:,} files, of which none is one of {accepted}")


def _named_once(tasks: Iterable[Task]) -> Iterator[Task]:
    names: dict[str, str] = {}
    for task in tasks:
        other = names.setdefault(task.key, task.name)
        if other is not task.name:
            raise GatlasError(f"two objects have the name {task.key!r}, {other} and {task.name}: rename one of them")
        yield task
