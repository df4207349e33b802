"""From an options class and a function to a command of typer: the one place that builds a command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from gatlas.batch.options import BatchOptions
from gatlas.cli.verb import Verb, set_threads
from gatlas.config import OptionField, option_fields

METAVARS = {int: "N", float: "X", str: "TEXT"}

Force = typer.Option("--force", help="Overwrite an existing output.")


def _at_most_all(count: int | None) -> int | None:
    """Return the count, at most the number of processors: more threads only take memory and time."""
    if count is None:
        return None
    from gatlas.raster.threads import available_cpus

    return min(count, available_cpus())


Threads = typer.Option(
    "--threads",
    min=1,
    metavar="N",
    callback=_at_most_all,
    help="Number of threads; default and maximum: all available processors.",
    show_default=False,
)


def build_command(verb: Verb) -> Callable[..., None]:
    """Return the function that typer turns into the verb's command."""
    fields = {name: field for name, field in option_fields(verb.options).items() if field.info.command_line}
    parameters: list[tuple[str, Any, Any]] = []  # name, annotation, default
    if verb.inputs is not None:
        parameters.append(("inputs", Annotated[verb.inputs_type, verb.inputs], _none_or_required(verb.inputs_type)))
    parameters += [option_parameter(field) for field in fields.values() if field.default is MISSING]
    if verb.output is not None:
        kind: Any = str | None if verb.output_default is None else str
        parameters.append(("output", Annotated[kind, verb.output], verb.output_default))
    parameters += [option_parameter(field) for field in fields.values() if field.default is not MISSING]
    if verb.threads:
        parameters.append(("threads", Annotated[int | None, Threads], None))
    if verb.output is not None and verb.overwrites:
        parameters.append(("force", Annotated[bool, Force], False))
    if verb.batch is not None:
        parameters += [option_parameter(field) for field in option_fields(BatchOptions).values()]

    def command(context: typer.Context, **values: Any) -> None:
        _name_streams(verb, values)
        given = frozenset(name for name in values if _is_given(context, name))
        options = verb.options(**{name: _plain(values.pop(name), field) for name, field in fields.items()})
        if verb.batch is not None:
            from gatlas.cli.batch import run_verb

            of_batch = option_fields(BatchOptions)
            batch = BatchOptions(**{name: _plain(values[name], field) for name, field in of_batch.items()})
            inputs, output, force = values["inputs"] or [], values["output"], values["force"]
            if verb.gathers:
                out, threads = output if "output" in given else None, values.get("threads")
                verb.function()(inputs, out, options, batch, force=force, threads=threads)
                return
            run_verb(verb, verb.batch, inputs, output, options, batch, force=force, threads=values.get("threads"))
            return
        set_threads(values.pop("threads", None))
        arguments = [values[name] for name in ("inputs", "output") if name in values]
        verb.function()(*arguments, options, force=values.get("force", False), given=given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = [inspect.Parameter("context", keyword, annotation=typer.Context)]
    signature += [inspect.Parameter(name, keyword, default=d, annotation=a) for name, a, d in parameters]
    command.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in signature}
    command.__name__ = verb.name.replace("-", "_")
    command.__doc__ = verb.options.describe()
    return command


def _name_streams(verb: Verb, values: dict[str, Any]) -> None:
    """Replace names of standard input among the inputs, and of standard output, such as /dev/stdout, by "-"."""
    from gatlas.io.descriptors import stream_name

    if verb.output is not None:
        values["output"] = values["output"] and stream_name(values["output"], 1)
        values["inputs"] = values["inputs"] and [stream_name(each, 0) for each in values["inputs"]]


def _none_or_required(kind: Any) -> Any:
    return None if type(None) in get_args(kind) else inspect.Parameter.empty


def option_parameter(field: OptionField) -> tuple[str, Any, Any]:
    """Return the name, annotation and default of an option for typer."""
    kind: Any = field.type
    info = field.info
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    optional = type(None) in get_args(kind)
    if optional and get_origin(kind) in (Union, UnionType):
        (kind,) = (part for part in get_args(kind) if part is not type(None))
    metavar = info.metavar or ("|".join(field.choices) if field.choices else METAVARS.get(kind))
    if get_origin(kind) is Literal:
        kind = choice_type(field)
        default = None if default is None else kind(default)
    elif get_origin(kind) is tuple:  # an option that may be given many times
        kind, default, optional = list[get_args(kind)[0]], None, True  # type: ignore[misc]
    hidden_default = default is None or info.show_default is False
    settings: dict[str, Any] = {"help": info.help, "metavar": None if kind is bool else metavar}
    settings |= {name: value for name, value in (("min", info.min), ("max", info.max)) if value is not None}
    if hidden_default:
        settings["show_default"] = False
    annotation = kind | None if optional else kind
    short = (flag for flag in info.flags if flag != field.flag)
    flag = field.flag if info.off is None else f"{field.flag}/{info.off}"
    return field.name, Annotated[annotation, typer.Option(flag, *short, **settings)], default


def choice_type(field: OptionField) -> Any:
    """Return an Enum of the choices of a field, which is how typer reads them."""
    members: Any = {choice: choice for choice in field.choices}
    return Enum(value=field.name, names=members)


def _plain(value: Any, field: OptionField) -> Any:
    """Return a value from typer as the options class holds it."""
    if isinstance(value, Enum):
        return value.value
    return tuple(value or ()) if get_origin(field.type) is tuple else value


def _is_given(context: typer.Context, name: str) -> bool:
    """Return True where the command line holds the parameter."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
