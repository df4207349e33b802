"""JSON from anywhere: bounded in depth and in values, every number finite, and all that is wrong with it one error.

The only code that calls the library's decoder.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from gatlas.io.streams import Blob

MOST_LEVELS = 200  # arrays and objects inside each other; what goes through a value recursively stays far from its end
MOST_VALUES = 20_000_000  # each takes up to 64 bytes in memory

# Up to the end where a string is not closed: so that no string is searched twice.
_STRING = re.compile(r'"[^"\\]*(?:\\.?[^"\\]*)*(?:"|\Z)', re.DOTALL)
_STEPS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")  # of the depth, as signed bytes
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
_BEYOND = "not JSON that gatlas reads"
_LARGE = re.compile(r"[eE]\+?\d{3}|\d{200}")  # in every number that does not fit a float


class JsonError(ValueError):
    """A fault of a JSON text, in one line."""


def read_json(blob: Blob, *, fault: str = "damaged", remedy: str = "") -> Any:
    """Return the value of a JSON file. Anything wrong is a GatlasError: "FILE: `fault`: not JSON: why`remedy`"."""
    try:
        return parse_json(blob.data)
    except JsonError as error:
        raise GatlasError(f"{blob.name}: {fault}: {error}{remedy}") from None


def read_json_object(blob: Blob, *, fault: str = "damaged", remedy: str = "") -> dict[str, Any]:
    """Return the object of a JSON file; another value is a GatlasError too."""
    value = read_json(blob, fault=fault, remedy=remedy)
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")
        raise GatlasError(f"{blob.name}: {fault}: must hold a JSON object, got {kind}{remedy}")
    return value


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Return the value of a JSON text; bytes are UTF-8, UTF-16 or UTF-32, with or without a mark. Errors: JsonError.

    `finite` refuses NaN and Infinity, which JSON does not have and other programs write nevertheless.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text))
        text = text.removeprefix("\ufeff")
        _check_size(text)
        if not finite:
            return json.loads(text)
        return (_EXACT if _LARGE.search(text) else _PLAIN).decode(text)
    except JsonError:
        raise
    except RecursionError:
        raise JsonError(f"{_BEYOND}: it is nested too deeply") from None
    except ValueError as error:  # of the syntax, or of the encoding
        raise JsonError(f"not JSON: {error}") from None


def _check_size(text: str) -> None:
    opened = text.count("[") + text.count("{")
    if opened + text.count(",") > MOST_VALUES:
        raise JsonError(f"{_BEYOND}: it has more than {MOST_VALUES:,} values: split it")
    if opened <= MOST_LEVELS:
        return
    import numpy as np

    bare = _STRING.sub('""', text).encode("ascii", "ignore")
    if np.frombuffer(bare.translate(_STEPS, _OTHERS), np.int8).cumsum(dtype=np.int32).max() > MOST_LEVELS:
        raise JsonError(f"{_BEYOND}: it is nested more than {MOST_LEVELS} levels deep")


def _constant(name: str) -> Any:
    raise JsonError(f"not JSON: it holds {name}, which is no number there")


def _whole(digits: str) -> int:
    try:
        value = int(digits)
        float(value)
    except (OverflowError, ValueError):  # ValueError: more digits than Python converts
        raise _too_large(digits) from None
    return value


def _real(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise _too_large(digits)
    return value


def _too_large(digits: str) -> JsonError:
    return JsonError(f"{_BEYOND}: the number {digits[:20]}{'…' if len(digits) > 20 else ''} is too large")


_PLAIN = json.JSONDecoder(parse_constant=_constant)
_EXACT = json.JSONDecoder(parse_constant=_constant, parse_int=_whole, parse_float=_real)
