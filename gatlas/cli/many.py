"""Many inputs for a verb that knows one: `-o DIR/`, shards, resume and worker processes around the verb as it stands.

Every object of a batch goes through the very function that a single call runs, so its bytes are those of a single call.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from gatlas.batch.options import BatchOptions
from gatlas.cli.command import option_parameter
from gatlas.config import option_fields

STEM = "{stem}"  # in the name of an output: the object's name
SHARD = "{shard}"  # the shard's number, five digits

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Files, folders, patterns or tar shards to read; - is standard input.",
        show_default=False,
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="OUTPUT",
        help="FILE; for many DIR/, x.tar, or a name with {stem} or {shard} in it; - is standard output.",
    ),
]


@dataclass(frozen=True)
class Verb:
    """What a batch must know of a verb."""

    module: str
    name: str
    source: str  # its first parameter
    suffix: str  # of its result; "/" is a folder
    accepts: tuple[str, ...]  # suffixes of its inputs in folders and tars
    photos: bool  # a folder of photos is one input
    command: Any = None  # a `gatlas.cli.command.Verb`


def many(
    suffix: str,
    accepts: tuple[str, ...],
    *,
    photos: bool = False,
    fills_folder: Callable[[dict[str, Any]], bool] = lambda options: False,
    may_fill_folder: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Let a verb of one INPUT and one OUTPUT take many of them. Its function returns what the manifest records.

    Where `fills_folder` says so of the options, each result is a folder; with `may_fill_folder` it is one where -o DIR/
    is given for a single input.
    """

    def decorate(verb: Callable[..., Any]) -> Callable[..., None]:
        signature = inspect.signature(verb)
        hints = typing.get_type_hints(verb, include_extras=True)
        first, *rest = signature.parameters.values()
        about = Verb(verb.__module__, verb.__name__, first.name, suffix, accepts, photos)

        def command(**options: Any) -> None:
            sources = options.pop("inputs") or []
            batch = BatchOptions(**{name: options.pop(name) for name in option_fields(BatchOptions)})
            folders = fills_folder(options)
            one_folder = folders or may_fill_folder
            _dispatch(replace(about, suffix="/") if folders else about, verb, sources, batch, options, one_folder)

        own = [inspect.Parameter("inputs", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Inputs)]
        own += [each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[each.name]) for each in rest]
        own += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, annotation, default in map(option_parameter, option_fields(BatchOptions).values())
        ]
        command.__name__, command.__module__, command.__doc__ = verb.__name__, verb.__module__, verb.__doc__
        command.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in own}
        command.single = verb  # type: ignore[attr-defined]
        return command

    return decorate


def dispatch_verb(command: Any, options: Any, inputs: list[str] | None, output: str, **values: Any) -> None:
    """Run a verb of `gatlas.cli.command` on one object or on many."""
    batch = BatchOptions(**{name: values.pop(name) for name in option_fields(BatchOptions)})
    spec = command.batch
    folders = spec.folder_results(options)
    name = command.name.replace("-", "_")
    about = Verb(command.run, name, "source", "/" if folders else spec.suffix, spec.accepts, spec.photos, command)
    fields = option_fields(type(options))
    plain = {**{name: getattr(options, name) for name, field in fields.items() if field.info.command_line}, **values}
    one_folder = folders or spec.may_fill_folder
    _dispatch(about, single_of(about), inputs or [], batch, {**plain, "output": output}, one_folder)


def single_of(about: Verb) -> Callable[..., Any]:
    """Return the function that runs a verb on one object."""
    from importlib import import_module

    if about.command is None:
        return getattr(import_module(about.module), about.name).single
    from gatlas.cli.command import set_threads

    def single(source: Any, *, output: str, force: bool, **options: Any) -> Any:
        if about.command.threads:
            set_threads(options.pop("threads"))
        return about.command.function()(source, output, about.command.options(**options), force=force)

    return lambda *sources, **options: single(*(sources or (options.pop("source"),)), **options)


def _dispatch(
    about: Verb,
    verb: Callable[..., Any],
    sources: list[str],
    batch: BatchOptions,
    options: dict[str, Any],
    one_folder: bool,
) -> None:
    """One object: the verb itself. Else a batch."""
    from gatlas import io

    output = options["output"]
    one_result = not _holds_many(output) and (one_folder or not io.is_folder(output))
    if batch.files_from is None and sources in ([], ["-"]):
        members = io.stream_members("-")
        head = next(members, None)  # None: a tar without objects
        if head is not None and head.key is None and one_result and not batch.makes_batch:
            _refuse_timeout(batch)
            verb(head, **options)
            return
        from itertools import chain

        from gatlas.cli.many_run import run_stream

        run_stream(about, chain([head] if head is not None else [], members), batch, options)
        return
    if (
        not batch.makes_batch
        and len(sources) == 1
        and one_result
        and not io.names_many(sources[0], photos=about.photos)
    ):
        _refuse_timeout(batch)
        verb(sources[0], **options)
        return
    from gatlas.cli.many_run import run_batch

    run_batch(about, sources, batch, options)


def _refuse_timeout(batch: BatchOptions) -> None:
    """Only a worker can be given up."""
    from gatlas.errors import GatlasError

    if batch.timeout is not None:
        raise GatlasError("--timeout is for many objects: write to a folder, -o DIR/, or to a tar, -o x.tar")


def _holds_many(output: str) -> bool:
    return STEM in output or SHARD in output or output.lower().endswith(".tar")
