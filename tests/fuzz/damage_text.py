"""Damage to texts: words, lines and encodings; to PLY headers and to their bodies."""

from __future__ import annotations

import re
from random import Random

from tests.fuzz.damage_bytes import Damage

ESCAPE = "\x1b[31mred\x07"
NAMES = (
    "", ".", "..", "/", "/etc/passwd", "../../../etc/passwd", "x" * 4000, "a/" * 600, "nul\0byte", ESCAPE, "two\nlines",
    "\u202egnp.exe", "~", "-", "con", "a:b", "\\\\host\\share", "%s%n", "{}", "*", " ",
)  # fmt: skip
NUMBERS = (
    "nan", "inf", "-inf", "NaN", "Infinity", "1e400", "-1e400", "1e-400", "1e38", "1e39", "1e308", "0", "-0", "-1", "1",
    "255", "256", "65536", "2147483647", "2147483648", "4294967296", "9007199254740992", "9223372036854775808",
    "18446744073709551616", "1" + "0" * 400, "9" * 5000, "0x10", "1_000", "\u0661", "1.5.2", "1e", "--1", "1/0", "1,5",
)  # fmt: skip
_ELEMENTS = ("vertex", "face", "edge", "chunk", "sh", "material", "tristrips", "x" * 4000, ESCAPE)
_TYPES = ("char", "uchar", "short", "ushort", "int", "uint", "float", "double", "float64", "int64", "string", "list")
_TYPES = (*_TYPES, "list uchar int", "list float int", "list uint double", "list char short")
_FORMATS = ("ascii 1.0", "binary_little_endian 1.0", "binary_big_endian 1.0", "ascii 2.0", "binary 1.0", "")


def word(data: bytes, rng: Random) -> bytes:
    """One word is another."""
    found = list(re.finditer(rb"[^\s,]+", data[:200_000]))
    if not found:
        return data
    place = rng.choice(found)
    return data[: place.start()] + _bytes(rng.choice((*NUMBERS, *NUMBERS, *NAMES)), rng) + data[place.end() :]


def same_number(data: bytes, rng: Random) -> bytes:
    """Every number of a kind is another: all first columns, all zeros."""
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?", data[:200_000]))
    if not found:
        return data
    number, other = rng.choice(found)[0], _bytes(rng.choice(NUMBERS), rng)
    return re.sub(rb"(?<![\d.-])" + re.escape(number) + rb"(?![\d.])", lambda _: other, data)[: 1 << 21]


def lines(data: bytes, rng: Random) -> bytes:
    """A line is lost, doubled, moved, joined to the next, repeated without end, or a stranger."""
    rows = data.split(b"\n")
    i, j = rng.randrange(len(rows)), rng.randrange(len(rows))
    match rng.randrange(7):
        case 0:
            del rows[i]
        case 1:
            rows.insert(j, rows[i])
        case 2:
            rows[i], rows[j] = rows[j], rows[i]
        case 3:
            rows[i : i + 2] = [b" ".join(rows[i : i + 2])]
        case 4:
            rows[i] = rows[i] * rng.choice((3, 500))
        case 5:
            rows.insert(i, _bytes(" ".join(rng.choices((*NUMBERS, *NAMES), k=rng.randrange(1, 5))), rng))
        case _:
            words = rows[i].split()
            rng.shuffle(words)
            rows[i] = b" ".join(words[: rng.randrange(len(words) + 1)])
    return b"\n".join(rows)[: 1 << 21]


def encoding(data: bytes, rng: Random) -> bytes:
    """Line ends, marks and encodings of other systems."""
    match rng.randrange(5):
        case 0:
            return data.replace(b"\n", b"\r\n")
        case 1:
            return data.replace(b"\n", b"\r")
        case 2:
            return b"\xef\xbb\xbf" + data
        case 3:
            return data.decode("latin-1").encode(rng.choice(("utf-16", "utf-16-be", "utf-32")))
        case _:
            place = rng.randrange(len(data) + 1)
            return (
                data[:place]
                + rng.choice((b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\0", b"\x85", b"\x0c"))
                + data[place:]
            )


def ply_header(data: bytes, rng: Random) -> bytes:
    """A line of a PLY's header means something else."""
    end = data.find(b"end_header")
    rows = data[: max(end, 0)].decode("latin-1").split("\n")[:-1]
    if len(rows) < 2:
        return data
    body = data[end:]
    i = rng.randrange(1, len(rows))
    words = rows[i].split()
    match rng.randrange(6):
        case 0 if words[:1] == ["element"] and len(words) > 1:
            rows[i] = f"element {words[1]} {rng.choice(NUMBERS)}"
        case 1:
            rows[i] = f"element {rng.choice(_ELEMENTS)} {rng.choice(NUMBERS)}"
        case 2:
            rows[i] = f"property {rng.choice(_TYPES)} {words[-1] if words else 'x'}"
        case 3:
            rows[1] = f"format {rng.choice(_FORMATS)}"
        case 4:
            rows.insert(
                i, rng.choice((f"comment {rng.choice(NAMES)}", f"obj_info {ESCAPE}", "property list uchar int q"))
            )
        case _:
            del rows[i]
    return "\n".join([*rows, ""]).encode("latin-1", "replace") + body


def _bytes(text: str, rng: Random) -> bytes:
    return text.encode("utf-8", "surrogatepass")


TEXT: tuple[Damage, ...] = (word, word, word, same_number, lines, lines, encoding)
