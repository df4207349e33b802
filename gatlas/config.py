"""Options and settings: the base class of everything that a user can set.

An options class is a frozen dataclass. From its fields follow the checks of their values, JSON both ways, the
`--set KEY=VALUE` words, the command line (`gatlas.cli.command`), the tables of the manual, and what a batch must know:
which fields change the result and which name an output file.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from gatlas.errors import GatlasError

Class = TypeVar("Class", bound="Options")
Report = Callable[[str], None]  # takes one message for the user, without a newline

# Of `OptionInfo.recorded`: a fingerprint holds the default itself, or leaves the option out where it has its default.
SAME, ABSENT = "same", "absent"


def ignore(message: str) -> None:
    """Discard a message: the default of every `report` parameter."""


@dataclass(frozen=True)
class OptionInfo:
    """Properties of a field beyond its name, type and default."""

    flags: tuple[str, ...] = ()  # names on the command line: short ones, as "-n", and another long one than the field's
    help: str = ""  # one line, for --help and the manual
    metavar: str | None = None  # None: from the type
    min: float | None = None  # inclusive
    max: float | None = None  # inclusive
    above: float | None = None  # exclusive lower bound
    below: float | None = None  # exclusive upper bound
    output: str | None = None  # the field names an output: the suffix of a file, "" for a folder
    once: bool = True  # of an output: written once, together with the result, and not during the work
    affects_result: bool = True  # a batch makes results anew where such a field has another value
    show_default: bool | str = True  # a text: shown in place of the default
    former_names: tuple[str, ...] = ()  # under which stored JSON is still read
    command_line: bool = True  # False: only from Python and JSON
    group: str | None = None  # label of options that belong together; its meaning is the verb's
    recorded: Any = SAME  # what fingerprints hold for the default, as earlier versions did; ABSENT: nothing
    off: str | None = None  # another flag, which says that a switch is off


def option(
    default: Any = MISSING,
    *flags: str,
    help: str = "",
    metavar: str | None = None,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    below: float | None = None,
    output: str | None = None,
    once: bool = True,
    affects_result: bool | None = None,
    show_default: bool | str = True,
    former_names: tuple[str, ...] = (),
    command_line: bool = True,
    group: str | None = None,
    recorded: Any = SAME,
    off: str | None = None,
) -> Any:
    """Return a dataclass field with an `OptionInfo`; without a default the option is required.

    A field that names an output does not change the result, unless `affects_result` is True.
    """
    info = OptionInfo(
        flags,
        help,
        metavar,
        min,
        max,
        above,
        below,
        output,
        once,
        output is None if affects_result is None else affects_result,
        show_default,
        former_names,
        command_line,
        group,
        recorded,
        off,
    )
    return dataclasses.field(default=default, metadata={"option": info})


@dataclass(frozen=True)
class Options:
    """Base class of options and settings: values are checked when an instance is made."""

    def __post_init__(self) -> None:
        """Raise a GatlasError that names the field whose value is of the wrong type or out of range."""
        for name, field in option_fields(type(self)).items():
            value = getattr(self, name)
            if fault := _type_fault(value, field.type) or _range_fault(value, field.info):
                raise GatlasError(f"{name} {fault}, got {value}")
        self.validate()

    @classmethod
    def describe(cls) -> str:
        """Return the help text of the verb whose options these are: the docstring of the class."""
        return inspect.cleandoc(cls.__doc__ or "")

    def validate(self) -> None:
        """Raise a GatlasError where fields contradict each other; subclasses override this."""

    def require(self, holds: bool, name: str, rule: str, advice: str = "") -> None:
        """Raise a GatlasError that names the field, the rule and the value unless the rule holds."""
        if not holds:
            raise GatlasError(f"{name} {rule}, got {getattr(self, name)}{advice}")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-able values, by name."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls: type[Class], stored: Mapping[str, Any], where: str, *, complete: bool = False) -> Class:
        """Return the options that `to_json` wrote, also under former names; absent fields have their defaults.

        Unknown names, wrong values and, with `complete`, absent fields are a GatlasError that begins with `where`.
        """
        known = option_fields(cls)
        former = {old: name for name, field in known.items() for old in field.info.former_names}
        values = {former.get(name, name): value for name, value in stored.items()}
        if odd := sorted(set(values) - set(known)):
            raise GatlasError(f"{where}: has {', '.join(odd)}, which this gatlas does not know: upgrade gatlas")
        if complete and (absent := sorted(set(known) - set(values))):
            raise GatlasError(f"{where}: has no {', '.join(absent)}: it was written by another version of gatlas")
        try:
            return cls(**{name: _from_json(value) for name, value in values.items()})
        except (TypeError, GatlasError) as error:
            raise GatlasError(f"{where}: damaged: {error}") from None


@dataclass(frozen=True)
class OptionField:
    """A field of an options class with its resolved type."""

    name: str
    type: Any
    default: Any  # dataclasses.MISSING where the option is required
    info: OptionInfo

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a Literal type, or ()."""
        return next((get_args(part) for part in (self.type, *get_args(self.type)) if get_origin(part) is Literal), ())

    @property
    def flag(self) -> str:
        """The long name on the command line: that of the field, where `flags` has no other."""
        long = (flag for flag in self.info.flags if flag.startswith("--"))
        return next(long, "--" + self.name.replace("_", "-"))


def option_fields(options: type[Options]) -> dict[str, OptionField]:
    """Return the fields of an options class by name, in order."""
    key: Any = options
    return _resolved_fields(key)


@functools.cache
def _resolved_fields(options: Any) -> dict[str, OptionField]:
    hints = get_type_hints(options)
    return {
        field.name: OptionField(
            field.name, hints[field.name], field.default, field.metadata.get("option", OptionInfo())
        )
        for field in dataclasses.fields(options)
    }


def result_fields(options: Options) -> dict[str, Any]:
    """Return the values of the options of the command line that change the result, by name.

    Defaults are what earlier versions recorded, so that what they made still counts as made.
    """
    values = {}
    for field in option_fields(type(options)).values():
        if not (field.info.affects_result and field.info.command_line):
            continue
        value, recorded = getattr(options, field.name), field.info.recorded
        if recorded is SAME:
            values[field.name] = value
        elif value != field.default:
            values[field.name] = [value] if value == recorded else value  # a list: it was chosen
        elif recorded is not ABSENT:
            values[field.name] = recorded
    return values


def output_fields(options: Options) -> dict[str, OptionField]:
    """Return the fields that name an output and have a value, by name."""
    fields = option_fields(type(options))
    return {name: field for name, field in fields.items() if field.info.output is not None and getattr(options, name)}


def settings_table(options: type[Options], *, without: Sequence[str] = ()) -> dict[str, str]:
    """Return "key=default" -> help of each field, for the manual."""
    return {
        f"{name}={show_value(field.default)}": field.info.help
        for name, field in option_fields(options).items()
        if name not in without
    }


def show_value(value: Any) -> str:
    """Return a value as it is typed after `--set KEY=`."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(show_value, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def parse_settings(words: Sequence[str], *classes: type[Options]) -> list[dict[str, Any]]:
    """Return the values of `KEY=VALUE` words, a dict for each of the classes, which share no key.

    Values are read by the field's type: numbers (1_000 and 1e-4 too), true/false, text, one of a Literal, none for an
    optional one, and a,b,c for tuples. A word without "=", an unknown key, a key twice and a value of another type are
    a GatlasError.
    """
    result: list[dict[str, Any]] = [{} for _ in classes]
    owner: dict[str, int] = {}
    for number, each in enumerate(classes):
        for name in option_fields(each):
            if owner.setdefault(name, number) != number:
                raise ValueError(f"{classes[owner[name]].__name__} and {each.__name__} share the key {name!r}")
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise GatlasError(f"--set {word}: needs KEY=VALUE")
        if key not in owner:
            near = difflib.get_close_matches(key, sorted(owner), n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"the keys are {', '.join(sorted(owner))}"
            raise GatlasError(f"--set {key}: there is no such key; {hint}")
        values = result[owner[key]]
        if key in values:
            raise GatlasError(f"--set {key}: given twice")
        try:
            values[key] = _parse(text, option_fields(classes[owner[key]])[key].type)
        except ValueError as error:
            raise GatlasError(f"--set {word}: {error}") from None
    return result


def _parse(text: str, kind: Any) -> Any:
    """Return the value of a text by a field's type; a ValueError names the expected type."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if text.lower() == "none" and type(None) in parts:
            return None
        for part in (part for part in parts if part is not type(None)):
            try:
                return _parse(text, part)
            except ValueError as error:
                reason = error
        raise reason
    if origin is Literal:
        if text not in parts:
            raise ValueError(f"must be one of {', '.join(map(str, parts))}")
        return text
    if origin is tuple:
        words = text.strip("()[]").split(",") if text.strip("()[] ") else []
        if parts[-1] is Ellipsis:
            return tuple(_parse(word.strip(), parts[0]) for word in words)
        if len(words) != len(parts):
            raise ValueError(f"must be {len(parts)} values with commas between them")
        return tuple(_parse(word.strip(), part) for word, part in zip(words, parts, strict=True))
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("must be true or false")
        return text.lower() == "true"
    if kind is int:
        return _number(text, int, "a whole number")
    if kind is float:
        value = _number(text, float, "a number")
        if math.isnan(value):
            raise ValueError("must be a number")
        return value
    if kind is str:
        return text
    raise ValueError(f"cannot be set on the command line: its type is {kind}")


def _number(text: str, kind: type, what: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"must be {what}") from None


def _from_json(value: Any) -> Any:
    return tuple(_from_json(each) for each in value) if isinstance(value, list) else value


def _type_fault(value: Any, kind: Any) -> str | None:
    """Return what is wrong with the type of a value, or None."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        faults = [_type_fault(value, part) for part in parts]
        return None if None in faults else next(fault for fault in faults if fault)
    if origin is Literal:
        return None if value in parts else f"must be {_either(parts)}"
    if origin is tuple:
        if not isinstance(value, tuple):
            return "must be a list of values"
        if parts[-1] is not Ellipsis and len(value) != len(parts):
            return f"must be {len(parts)} values"
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        return next(
            (fault for each, part in zip(value, kinds, strict=True) if (fault := _type_fault(each, part))), None
        )
    if kind is type(None):
        return None if value is None else "must be none"
    if kind is bool:
        return None if isinstance(value, bool) else "must be true or false"
    if kind is int:
        return None if isinstance(value, int) and not isinstance(value, bool) else "must be a whole number"
    if kind is float:
        right = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
        return None if right else "must be a number"
    if kind is str:
        return None if isinstance(value, str) else "must be text"
    return None


def _range_fault(value: Any, info: OptionInfo) -> str | None:
    """Return what is wrong with a number, or with one in a tuple, or None. Bounded floats must be finite."""
    if isinstance(value, tuple):
        return next((fault for each in value if (fault := _range_fault(each, info))), None)
    bounds = (info.min, info.max, info.above, info.below)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or bounds == (None,) * 4:
        return None
    low_holds = (info.min is None or value >= info.min) and (info.above is None or value > info.above)
    high_holds = (info.max is None or value <= info.max) and (info.below is None or value < info.below)
    if low_holds and high_holds and math.isfinite(value):
        return None
    low, high = "", ""
    if info.min is not None or info.above is not None:
        low = f"at least {info.min:g}" if info.min is not None else f"greater than {info.above:g}"
    if info.max is not None or info.below is not None:
        high = f"at most {info.max:g}" if info.max is not None else f"less than {info.below:g}"
    rules = [rule for rule in (low, high) if rule]
    if not high and math.isinf(value):
        rules.append("finite")
    return "must be " + " and ".join(rules)


def _either(choices: Sequence[Any]) -> str:
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}" if others else last
