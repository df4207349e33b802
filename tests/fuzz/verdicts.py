"""Judgement of what a reader did: values not finite, messages that are no plain line, warnings of libraries."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gatlas.io.visible import visible

LONGEST = 10_000  # letters of a message
MOST_LINES = 3
_HIDDEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # that Python does not show


def not_finite(value: Any) -> str | None:
    """Return where a result holds NaN or infinity, or None. Results are searched to their arrays and numbers."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        place, each = waiting.pop()
        if isinstance(each, (str, bytes, int, type(None))) or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, (float, complex)):
            if not math.isfinite(abs(each)):
                return f"{place or 'the result'} is {each}"
        elif isinstance(each, np.ndarray) or hasattr(each, "detach"):
            if (fault := _array_fault(each)) is not None:
                return f"{place or 'the array'}{fault}"
        else:
            waiting += [(f"{place}.{name}" if place else str(name), part) for name, part in _parts(each)]
    return None


def _array_fault(array: Any) -> str | None:
    if hasattr(array, "detach"):
        if array.device.type == "meta" or not (array.is_floating_point() or array.is_complex()):
            return None
        return None if bool(array.isfinite().all()) else " has values that are NaN or infinite"
    if array.dtype.kind == "O":
        return " is an array of objects"
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        return " has values that are NaN or infinite"
    return None


def _parts(value: Any) -> Sequence[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if hasattr(value, "state_dict"):
        return list(value.state_dict().items())
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(enumerate(value))
    if type(value).__module__.startswith("gatlas."):
        return list(vars(value).items()) if hasattr(value, "__dict__") else []
    return []


def unplain(message: str) -> str | None:
    """Return what is wrong with a message for people, or None: it must be short, and every line of it printable."""
    message = visible(message)
    if not message.strip():
        return "the message is empty"
    if len(message) > LONGEST:
        return f"the message has {len(message)} letters"
    lines = message.split("\n")
    if len(lines) > MOST_LINES:
        return f"the message has {len(lines)} lines"
    if "Traceback" in message:
        return "the message holds a traceback"
    for line in lines:
        bad = [letter for letter in line if unicodedata.category(letter) in ("Cc", "Zl", "Zp")]
        if bad:
            return f"the message holds {bad[0]!r}"
    return None


def nameless(message: str, names: Sequence[str]) -> str | None:
    """Return what is wrong where a message names none of the files."""
    return None if "/" in message or any(name in message for name in names) else "the message names no file"


def warning_fault(caught: Sequence[warnings.WarningMessage]) -> str | None:
    """Return the first warning that is not ours, or that is no plain line."""
    for each in caught:
        if issubclass(each.category, _HIDDEN):
            continue
        if each.category is not UserWarning:
            return f"{each.category.__name__}: {str(each.message)[:200]} ({each.filename}:{each.lineno})"
        if (fault := unplain(str(each.message))) is not None:
            return f"a warning: {fault}"
    return None
