"""Damage to any bytes: flipped, lost, repeated, and numbers that programs stumble over."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

Damage = Callable[[bytes, Random], bytes]

LONGEST = 4 << 20  # bytes; a damaged input does not grow beyond
INTEGERS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40)
INTEGERS = (*INTEGERS, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
FLOATS = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, -1.0, 1e-310, 1e-40, 1e30, 1e38, 1e39, 1e300, -1e300)
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def flip_bits(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if changed:
            changed[_place(changed, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_bytes(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    if changed:
        start = _place(changed, rng)
        for i in range(start, min(start + rng.choice((1, 1, 2, 4, 32)), len(changed))):
            changed[i] = rng.choice((0, 0xFF, 0x7F, 0x80, 0x20, rng.randrange(256)))
    return bytes(changed)


def insert(data: bytes, rng: Random) -> bytes:
    start = _place(data, rng)
    return data[:start] + rng.randbytes(rng.choice((1, 2, 4, 60))) + data[start:]


def delete(data: bytes, rng: Random) -> bytes:
    start = _place(data, rng)
    return data[:start] + data[start + rng.choice((1, 2, 4, 100)) :]


def duplicate(data: bytes, rng: Random) -> bytes:
    start = _place(data, rng)
    size = rng.choice((1, 4, 16, 512, 4096))
    piece = data[start : start + size]
    return data[:start] + piece * rng.choice((2, 2, 2, 3, 200)) + data[start + size :]


def truncate(data: bytes, rng: Random) -> bytes:
    return data[: rng.choice((_place(data, rng), max(len(data) - rng.randrange(1, 9), 0), rng.randrange(16)))]


def append(data: bytes, rng: Random) -> bytes:
    return data + rng.choice((b"\0", b"\n", bytes(512), rng.randbytes(40), data[:4000]))


def exchange(data: bytes, rng: Random) -> bytes:
    """Two pieces in each other's place."""
    first, second = sorted((_place(data, rng), _place(data, rng)))
    size = rng.choice((1, 4, 8, 64))
    if first + size > second:
        return data
    return (
        data[:first]
        + data[second : second + size]
        + data[first + size : second]
        + data[first : first + size]
        + data[second + size :]
    )


def integer(data: bytes, rng: Random) -> bytes:
    """An integer at an offset that is a multiple of its size, most often one of a header."""
    size = rng.choice((1, 2, 4, 4, 8))
    value = rng.choice((*INTEGERS, rng.getrandbits(8 * size), len(data), len(data) + 1)) % 2 ** (8 * size)
    return _overwritten(data, struct.pack(rng.choice("<>") + _CODES[size], value), rng)


def nudged_integer(data: bytes, rng: Random) -> bytes:
    """One more or one less in a field."""
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    start = _place(data, rng) // size * size
    if start + size > len(data):
        return data
    value = int.from_bytes(data[start : start + size], order) + rng.choice((-1, 1, 2, -2))
    return data[:start] + (value % 2 ** (8 * size)).to_bytes(size, order) + data[start + size :]


def real(data: bytes, rng: Random) -> bytes:
    """NaN, infinity or a number that overflows later."""
    value, code = rng.choice(FLOATS), rng.choice("fd")
    if code == "f" and abs(value) > 3e38 and value == value:
        value = float("inf")
    return _overwritten(data, struct.pack(rng.choice(("<", "<", ">")) + code, value), rng)


def _overwritten(data: bytes, field: bytes, rng: Random) -> bytes:
    start = _place(data, rng) // len(field) * len(field)
    return data if start + len(field) > len(data) else data[:start] + field + data[start + len(field) :]


def _place(data: bytes | bytearray, rng: Random) -> int:
    """An offset; half of them in the first 200 bytes, where headers are."""
    if not data:
        return 0
    return rng.randrange(min(len(data), 200) if rng.random() < 0.5 else len(data))


BYTES: tuple[Damage, ...] = (
    flip_bits, set_bytes, insert, delete, duplicate, truncate, append, exchange, integer, integer, nudged_integer, real,
)  # fmt: skip
