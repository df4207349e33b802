"""Damage to pictures and glTF binaries whose lengths and checksums still hold."""

from __future__ import annotations

import struct
import zlib
from random import Random

from tests.fuzz.damage_bytes import BYTES, INTEGERS, Damage
from tests.fuzz.damage_json import JSON

_SIDES = (0, 1, 2, 3, 63, 1000, 8192, 13_000, 16_384, 30_000, 65_535, 65_536, 2**20, 2**28, 2**31 - 1, 2**32 - 1)


def png(data: bytes, rng: Random) -> bytes:
    """A PNG with another header, or with chunks that are damaged, lost, doubled or strangers; checksums hold."""
    chunks = _chunks(data)
    if not chunks:
        return rng.choice(BYTES)(data, rng)
    i = rng.randrange(len(chunks))
    match rng.randrange(8):
        case 0 | 1 | 2:
            kind, content = chunks[0]
            width, height, *rest = struct.unpack(">2I5B", content) if len(content) == 13 else (1, 1, 8, 2, 0, 0, 0)
            if rng.random() < 0.6:
                width, height = rng.choice((*_SIDES, width)), rng.choice((*_SIDES, height))
            else:
                rest[rng.randrange(5)] = rng.choice((0, 1, 2, 3, 4, 6, 7, 8, 16, 255))
            chunks[0] = kind, struct.pack(">2I5B", width, height, *rest)
        case 3:
            del chunks[i]
        case 4:
            chunks.insert(rng.randrange(len(chunks) + 1), chunks[i])
        case 5:
            chunks.insert(rng.randrange(1, len(chunks) + 1), _stranger(rng))
        case 6:
            chunks[i] = _repacked(chunks[i], rng)
        case _:
            kind, content = chunks[i]
            chunks[i] = kind, rng.choice(BYTES)(content, rng)[: 1 << 20]
    return data[:8] + b"".join(map(_chunk, chunks))


def _repacked(chunk: tuple[bytes, bytes], rng: Random) -> tuple[bytes, bytes]:
    kind, content = chunk
    try:
        return kind, zlib.compress(rng.choice(BYTES)(zlib.decompress(content), rng), 1)
    except zlib.error:
        return kind, rng.choice(BYTES)(content, rng)


def _stranger(rng: Random) -> tuple[bytes, bytes]:
    text = b"k\0" + rng.choice((b"\x1b[31m", b"v" * 70_000, b""))
    bomb = b"k\0\0" + zlib.compress(bytes(80 << 20), 1) if rng.random() < 0.05 else b"k\0\0" + zlib.compress(b"x" * 99)
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + rng.choice((b"\0\x06", b"\0\x63", b"\xff\xff")) + bytes(6)
    kinds = {b"tEXt": text, b"zTXt": bomb, b"iCCP": bomb, b"iTXt": text, b"eXIf": exif, b"gAMA": rng.randbytes(4)}
    kinds |= {b"tRNS": rng.randbytes(rng.choice((1, 2, 6, 300))), b"PLTE": rng.randbytes(rng.choice((3, 4, 900)))}
    kinds |= {b"acTL": struct.pack(">2I", rng.choice((0, 1, 2**31)), 0), b"fcTL": rng.randbytes(26)}
    return rng.choice(list(kinds.items()))


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while data[:4] == b"\x89PNG" and at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + size > len(data):
            break
        found.append((kind, data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def _chunk(chunk: tuple[bytes, bytes]) -> bytes:
    kind, content = chunk
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def jpeg(data: bytes, rng: Random) -> bytes:
    """A JPEG that states another size, another number of components, or a strange EXIF."""
    if rng.random() < 0.3:
        exif = b"Exif\0\0" + rng.choice((b"II*\0", b"MM\0*", b"XX")) + rng.randbytes(rng.randrange(60))
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    at = next((i for i in range(len(data) - 9) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC1, 0xC2)), None)
    if at is None or rng.random() < 0.3:
        return rng.choice(BYTES)(data, rng)
    if rng.random() < 0.3:
        place = at + rng.choice((4, 9, 1))
        return data[:place] + bytes([rng.choice((0, 1, 2, 3, 4, 8, 12, 16, 255))]) + data[place + 1 :]
    size = struct.pack(">2H", rng.choice(_SIDES) % 65536, rng.choice(_SIDES) % 65536)
    return data[: at + 5] + size + data[at + 9 :]


def webp(data: bytes, rng: Random) -> bytes:
    """A WebP whose first chunk states other sizes, with the lengths that follow."""
    changed = bytearray(data)
    if len(changed) > 30 and rng.random() < 0.7:
        place = rng.choice((16, 20, 21, 23, 24, 25, 26, 27, 28))
        changed[place] = rng.choice((0, 1, 0x10, 0x2F, 0x7F, 0xFF, rng.randrange(256)))
    changed = bytearray(rng.choice(BYTES)(bytes(changed), rng)) if rng.random() < 0.5 else changed
    if len(changed) >= 8:
        changed[4:8] = struct.pack("<I", max(len(changed) - 8, 0))
    return bytes(changed)


def glb(data: bytes, rng: Random) -> bytes:
    """The JSON or the numbers of a GLB, with lengths that hold, or a length that does not."""
    if len(data) < 20:
        return data
    size = struct.unpack_from("<I", data, 12)[0]
    text, rest = data[20 : 20 + size], data[20 + size :]
    match rng.randrange(6):
        case 0:
            place = rng.choice((4, 8, 12, 16))
            return data[:place] + struct.pack("<I", rng.choice(INTEGERS) % 2**32) + data[place + 4 :]
        case 1:
            rest = rest[:8] + rng.choice(BYTES)(rest[8:], rng)
        case 2:
            rest = (
                rest + struct.pack("<II", rng.choice((0, 4, 2**31)), rng.choice((0x004E4942, 0, 0x4E4F534A))) + bytes(4)
            )
        case _:
            text = rng.choice(JSON)(text, rng)
    text += b" " * (-len(text) % 4)
    return data[:8] + struct.pack("<III", 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest


PNG: tuple[Damage, ...] = (png,)
JPEG: tuple[Damage, ...] = (jpeg,)
WEBP: tuple[Damage, ...] = (webp,)
GLB: tuple[Damage, ...] = (glb,)
