"""Damage to JSON documents: values of other kinds and sizes, in documents that still parse."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

from tests.fuzz.damage_bytes import Damage
from tests.fuzz.damage_text import ESCAPE, NAMES

_RAW = "\ue000raw{}\ue001"  # stands for text that json.dumps would not write
_TEXTS = (
    "1e400", "-1e400", "1" + "0" * 400, "9" * 5000, "-0", "1.0", "1e2", "[" * 300 + "]" * 300,
    "[" * 100_000 + "]" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000, '"\\ud800"', '"\\u0000"', "01", "'a'", "nul",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 0.5, -0.5, 1e-320, 1e20, 1e38, 1e39, 1e155, 1e308, -1e308, math.nan, math.inf,
    -math.inf, 255, 65536, 100_000, 10**6, 2**31 - 1, 2**31, 2**32, 2**53, 2**63, 2**64, -(2**63), 10**30, 10**309,
    *NAMES, ESCAPE, [], {}, [1], ["a"], [[1]], [None], [math.nan], {"a": 1}, {"": {}}, [[], []], [1e308] * 3, "1",
    "true", [0] * 5000, {str(i): i for i in range(3000)},
)  # fmt: skip


def other_value(data: bytes, rng: Random) -> bytes:
    """One value, at any depth, is another."""
    return _edited(data, rng, lambda holder, key: holder.__setitem__(key, _value(rng)))


def scaled_number(data: bytes, rng: Random) -> bytes:
    """One number is larger, smaller, negated, or of the other kind."""

    def change(holder: Any, key: Any) -> None:
        value = holder[key]
        if type(value) in (int, float) and abs(value) < 1e300:
            try:
                holder[key] = rng.choice(
                    (-value, value + 1, value - 1, value * 1e6, value * 1e-6, float(value), 2 * value)
                )
            except OverflowError:
                holder[key] = 0
        else:
            holder[key] = [value]

    return _edited(data, rng, change, numbers=True)


def lost_key(data: bytes, rng: Random) -> bytes:
    return _edited(data, rng, lambda holder, key: holder.pop(key))


def other_key(data: bytes, rng: Random) -> bytes:
    """A name is another, or an item stands twice."""

    def change(holder: Any, key: Any) -> None:
        if isinstance(holder, dict):
            holder[rng.choice((*NAMES, str(key) + "x", str(key).upper()))] = holder.pop(key)
        else:
            holder += [holder[key]] * rng.choice((1, 1, 300))

    return _edited(data, rng, change)


def moved_value(data: bytes, rng: Random) -> bytes:
    """A value of the document in another place of it."""
    document = _parsed(data)
    places = _places(document)
    if not places:
        return data
    (one, key), (other, name) = rng.choice(places), rng.choice(places)
    one[key] = json.loads(json.dumps(other[name]))
    return _written(document)


def several_values(data: bytes, rng: Random) -> bytes:
    for _ in range(rng.randrange(2, 6)):
        data = rng.choice((other_value, scaled_number, lost_key))(data, rng)
    return data


def whole(data: bytes, rng: Random) -> bytes:
    """Another document altogether."""
    return _written(_value(rng))


def doubled_key(data: bytes, rng: Random) -> bytes:
    """A name that stands twice, the second with another value."""
    place = data.find(b"{")
    document = _parsed(data)
    if place < 0 or not isinstance(document, dict) or not document:
        return data
    key = rng.choice(list(document))
    end = data.rfind(b"}")
    return data[:end] + b", " + json.dumps(key).encode() + b": " + _written(_value(rng)) + data[end:]


def value_text(rng: Random) -> str:
    """A hostile JSON value, as text."""
    return _written(_value(rng)).decode("utf-8", "surrogatepass")


def _value(rng: Random) -> Any:
    if rng.random() < 0.15:
        return _RAW.format(rng.randrange(len(_TEXTS)))
    return rng.choice(_VALUES)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return None


def _written(document: Any) -> bytes:
    try:
        text = json.dumps(document)
    except (RecursionError, ValueError):
        text = "[" * 2000
    if "\\ue000" in text:
        for number, raw in enumerate(_TEXTS):
            text = text.replace(json.dumps(_RAW.format(number)), raw)
    return text.encode("utf-8", "surrogatepass")


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every list and map with every key of it."""
    found, waiting = [], [document]
    while waiting and len(found) < 20_000:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])
    return found


def _edited(data: bytes, rng: Random, change: Any, numbers: bool = False) -> bytes:
    document = _parsed(data)
    places = _places(document)
    if numbers:
        places = [place for place in places if type(place[0][place[1]]) in (int, float)] or places
    if not places:
        return whole(data, rng)
    if rng.random() < 0.5:  # those of few: names and settings, not one of ten thousand numbers
        names = [place for place in places if isinstance(place[0], dict)]
        places = names or places
    change(*rng.choice(places))
    return _written(document)


JSON: tuple[Damage, ...] = (
    other_value, other_value, other_value, scaled_number, lost_key, other_key, moved_value, several_values, whole,
    doubled_key,
)  # fmt: skip


def json_lines(data: bytes, rng: Random) -> bytes:
    """One line of JSON lines."""
    rows = data.split(b"\n")
    filled = [i for i, row in enumerate(rows) if row.strip()]
    if not filled:
        return data
    i = rng.choice(filled)
    rows[i] = rng.choice(JSON)(rows[i], rng)
    return b"\n".join(rows)
