"""KEY=VALUE words of the command line as fields of dataclasses."""

from __future__ import annotations

import difflib
import math
import types
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse_settings(words: Sequence[str], *classes: type) -> list[dict[str, Any]]:
    """The values of `KEY=VALUE` words, for each of the dataclasses a map of its own fields.

    A key belongs to the first class that has it. Values are read by the field's type: numbers (1_000 and 1e-4 too),
    true/false, text, one of a Literal, none for an optional one, and a,b,c for tuples. A word without "=", an unknown
    key, a key twice and a value of another type are a GatlasError.
    """
    result: list[dict[str, Any]] = [{} for _ in classes]
    hints = [{field.name: get_type_hints(each)[field.name] for field in fields(each)} for each in classes]
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise GatlasError(f"--set {word}: needs KEY=VALUE")
        number = next((number for number, names in enumerate(hints) if key in names), None)
        if number is None:
            known = sorted({name for names in hints for name in names})
            near = difflib.get_close_matches(key, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"the keys are {', '.join(known)}"
            raise GatlasError(f"--set {key}: there is no such key; {hint}")
        if key in result[number]:
            raise GatlasError(f"--set {key}: given twice")
        try:
            result[number][key] = _parse(text, hints[number][key])
        except ValueError as error:
            raise GatlasError(f"--set {word}: {error}") from None
    return result


def _parse(text: str, kind: Any) -> Any:
    """The value of a text by a field's type; a ValueError that says what was expected."""
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
