"""Damage to archives whose checksums still hold: NPY headers in NPZ files, records of zips, headers of tars, gzip."""

from __future__ import annotations

import ast
import gzip
import io
import json
import struct
import tarfile
import warnings
import zipfile
import zlib
from functools import lru_cache
from random import Random

from tests.fuzz.damage_bytes import BYTES, INTEGERS, LONGEST, Damage
from tests.fuzz.damage_json import JSON
from tests.fuzz.damage_text import NAMES, NUMBERS

_DTYPES = (
    "'<f4'", "'<f8'", "'>f4'", "'<f2'", "'<f16'", "'<c16'", "'<i8'", "'|i1'", "'<u2'", "'|b1'", "'|O'", "'object'",
    "'<U4'", "'<U0'", "'|S3'", "'|V8'", "'<M8[s]'", "'<m8[D]'", "[('a', '<f4'), ('b', '<i4')]", "('<f4', (3,))",
    "'<f9'", "''", "3", "None", "'<f4,<f4'", "{}", "'|V0'", "'<U999999999'", "'(3,)f4'", "[]", "'q' * 9",
)  # fmt: skip
_SHAPES = (
    "()", "(0,)", "(1,)", "(-1,)", "(4294967296,)", "(9223372036854775807,)", "(18446744073709551616,)", "(3, -2)",
    "(65536, 65536, 65536)", "(1.5,)", "('a',)", "(True,)", "5", "[3]", "(None,)", "(0, 4294967296)",
    f"({'1, ' * 70})", f"({'9' * 4400},)", f"({'(' * 100}{')' * 100},)",
)  # fmt: skip
_HEADERS = (
    b"",
    b"{",
    b"(",
    b"'''",
    b"{'descr': '<f4'}",
    b"[1, 2]",
    b"\xff\xfe",
    b"{" * 5000,
    b"{'descr': ",
    b"\n" * 200,
)
_HEADERS = (*_HEADERS, b"1" * 9000, b"{'shape': (), 'descr': '<f4', 'fortran_order': 3}", b"import os", b"0" * 200_000)
BOMB = 3 << 29  # bytes that a megabyte unpacks to
_BLOCK = 1 << 20


def npy(data: bytes, rng: Random) -> bytes:
    """An array whose header, or one value of it, is another."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        return rng.choice(BYTES)(data, rng)
    size = struct.unpack_from("<H", data, 8)[0] if data[6] == 1 else struct.unpack_from("<I", data, 8)[0]
    start = 10 if data[6] == 1 else 12
    header, content = data[start : start + size], data[start + size :]
    kind = rng.randrange(8)
    if kind < 4:
        return _npy_of(_header(header, rng), content, rng)
    if kind == 4:
        return _npy_of(rng.choice(_HEADERS), content, rng)
    if kind == 5 and b"U" in header and content:
        return _string(content, rng)
    damaged = rng.choice(BYTES)(content, rng) if kind < 7 else _values(header, content, rng)
    return data[: start + size] + damaged


def _header(header: bytes, rng: Random) -> bytes:
    try:
        fields = {key: repr(value) for key, value in ast.literal_eval(header.decode("latin-1").strip()).items()}
    except (ValueError, SyntaxError, AttributeError, MemoryError, RecursionError):
        return rng.choice(_HEADERS)
    match rng.randrange(6):
        case 0:
            fields["descr"] = rng.choice(_DTYPES)
        case 1 | 2:
            fields["shape"] = rng.choice(_SHAPES)
        case 3:
            fields["fortran_order"] = rng.choice(("True", "1", "None", "'x'", "[]"))
        case 4:
            fields.pop(rng.choice(list(fields)), None)
        case _:
            fields["descr"], fields["shape"] = rng.choice(_DTYPES), rng.choice(_SHAPES)
    return ("{" + ", ".join(f"'{key}': {value}" for key, value in fields.items()) + "}").encode()


def _npy_of(header: bytes, content: bytes, rng: Random) -> bytes:
    version = rng.choice((1, 1, 1, 1, 2, 3, 4, 255))
    header = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    if version != 1 or len(header) > 65535:
        return b"\x93NUMPY" + bytes([max(version, 2), 0]) + struct.pack("<I", len(header)) + header + content
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def _string(content: bytes, rng: Random) -> bytes:
    """A string array, such as the JSON of a meta, with another text."""
    text = content.decode("utf-32-le", "replace").rstrip("\0").encode("utf-8", "replace")
    changed = rng.choice(JSON)(text, rng).decode("utf-8", "replace")[:300_000]
    raw = changed.encode("utf-32-le")
    header = f"{{'descr': '<U{max(len(changed), 1)}', 'fortran_order': False, 'shape': (), }}"
    return _npy_of(header.encode(), raw or bytes(4), rng)


def _values(header: bytes, content: bytes, rng: Random) -> bytes:
    """One value of the array's own kind, or all of them."""
    code = "f" if b"f4" in header else "d" if b"f8" in header else "q" if b"i8" in header else "H"
    size = struct.calcsize(code)
    count = len(content) // size
    if not count:
        return content
    if code in "fd":
        value = rng.choice((float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e30, 1e38, -1e38, 1e-40, 200.0))
    else:
        value = rng.choice((0, 1, -1, 2**31, 2**62, -(2**63))) if code == "q" else rng.choice((0, 1, 63, 64, 65535))
    field = struct.pack("<" + code, value)
    if rng.random() < 0.2:
        return field * count
    start = rng.randrange(count) * size
    return content[:start] + field + content[start + size :]


def zip_members(data: bytes, rng: Random) -> bytes:
    """The members of a zip edited, and packed again so that every checksum holds."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = [info for info in archive.infolist() if info.file_size <= LONGEST]  # no bomb of an earlier damage
            members = [(info.filename, archive.read(info)) for info in infos]
    except Exception:
        return rng.choice(BYTES)(data, rng)
    if not members:
        return data
    i = rng.randrange(len(members))
    name, content = members[i]
    match rng.randrange(12):
        case 0:
            del members[i]
        case 1:
            members[i] = (rng.choice([each for each, _ in members] + [f"{each}.npy" for each in NAMES[:12]]), content)
        case 2:
            members.append((rng.choice(("extra.npy", name, "../out", "/etc/x", "a" * 4000)), content))
        case 3:
            members[i] = (name, rng.choice(members)[1])
        case 4:
            members[i] = (name, rng.choice((b"", b"x", b"not an array", content[:10], b"\x93NUMPY\x01\x00")))
        case 5 if name.endswith(".pkl"):
            members[i] = (name, rng.choice(BYTES)(content, rng))
        case _:
            members[i] = (name, npy(content, rng) if name.endswith(".npy") else rng.choice(BYTES)(content, rng))
    method = rng.choice((zipfile.ZIP_STORED,) * 5 + (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    return _zipped(members, method)


def _zipped(members: list[tuple[str, bytes]], method: int) -> bytes:
    payload = io.BytesIO()
    with zipfile.ZipFile(payload, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two of one name
        for name, content in members:
            member = zipfile.ZipInfo(name[:60_000] or "x", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = method
            archive.writestr(member, content)
    return payload.getvalue()


def zip_records(data: bytes, rng: Random) -> bytes:
    """A field of a zip's own records: version, flags, method, sizes, names, offsets, counts."""
    marks = {b"PK\x03\x04": (4, 6, 8, 14, 18, 22, 26, 28), b"PK\x01\x02": (4, 6, 8, 10, 16, 20, 24, 28, 30, 32, 42)}
    marks[b"PK\x05\x06"] = (4, 6, 8, 10, 12, 16, 20)
    mark = rng.choice(list(marks))
    starts = (
        [i for i in range(len(data) - 4) if data[i] == 0x50 and data[i : i + 4] == mark] if len(data) < 1 << 18 else []
    )
    if not starts:
        return rng.choice(BYTES)(data, rng)
    place = rng.choice(starts) + rng.choice(marks[mark])
    values = (*INTEGERS[:14], 1, 8, 9, 12, 14, 93, 95, 99, 0x800, 0x41, 0x20, 255)
    size = rng.choice((2, 2, 4))
    value = rng.choice(values) % 2 ** (8 * size)
    changed = data[:place] + value.to_bytes(size, "little") + data[place + size :]
    if mark != b"PK\x05\x06" and rng.random() < 0.4:  # the same in the other record, so that both agree
        other = b"PK\x01\x02" if mark == b"PK\x03\x04" else b"PK\x03\x04"
        at = changed.find(other)
        shift = 2 if other == b"PK\x01\x02" else 0
        if at >= 0:
            at += (4, 6, 8)[rng.randrange(3)] + shift
            changed = changed[:at] + value.to_bytes(size, "little") + changed[at + size :]
    return changed


def zip_bomb(data: bytes, rng: Random) -> bytes:
    """A member that unpacks to more than memory should hold."""
    if rng.random() < 0.97:  # each costs the reader a second
        return zip_members(data, rng)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except Exception:
        return data
    packed, crc = _zeros(BOMB)
    name = rng.choice(names).encode() if names else b"x"
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 33, crc, len(packed), BOMB, len(name), 0) + name
    central = struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 33, crc, len(packed), BOMB, len(name), 0, 0, 0, 0, 0, 0
    )
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(central) + len(name), len(local) + len(packed), 0)
    return local + packed + central + name + end


@lru_cache(maxsize=2)
def _zeros(size: int) -> tuple[bytes, int]:
    """A raw deflate stream of so many zeros, and their checksum. Its blocks are all the same."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    crc, zeros = 0, bytes(_BLOCK)
    for _ in range(size // _BLOCK):
        crc = zlib.crc32(zeros, crc)
    return block * (size // _BLOCK) + packer.flush(), crc


def gzipped(data: bytes, rng: Random) -> bytes:
    """The content of a gzip file damaged and packed again; now and then a bomb."""
    if rng.random() < 0.01:
        packed, crc = _zeros(BOMB)
        return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + packed + struct.pack("<II", crc, BOMB)
    try:
        content = gzip.GzipFile(fileobj=io.BytesIO(data)).read(LONGEST)
    except (OSError, EOFError, zlib.error):
        return rng.choice(BYTES)(data, rng)
    return gzip.compress(rng.choice((*BYTES, tar_header))(content, rng), 1, mtime=0)


_TAR_FIELDS = {"name": (0, 100), "mode": (100, 8), "uid": (108, 8), "size": (124, 12), "mtime": (136, 12)}
_TAR_FIELDS |= {"type": (156, 1), "link": (157, 100), "magic": (257, 8), "prefix": (345, 155)}
_SIZES = (b"77777777777", b"-1", b"", b"99999999999", b"00000000001", b"abc", b"\x80" + b"\xff" * 11, b"\xff" * 12)
_SIZES = (
    *_SIZES,
    b"\x80" + bytes(7) + b"\x01" + bytes(3),
    b"\xff" + bytes(11),
    b"\x80" + bytes(10) + b"\x07",
    b"1" * 12,
)
_TYPES = (
    b"0",
    b"\0",
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
    b"7",
    b"x",
    b"g",
    b"L",
    b"K",
    b"S",
    b"V",
    b"M",
    b"D",
    b"X",
    b"Z",
)
_PAX = ("path", "size", "linkpath", "mtime", "uid", "hdrcharset", "GNU.sparse.map", "GNU.sparse.size", "SCHILY.xattr.a")
_PAX = (*_PAX, "GNU.sparse.name", "GNU.sparse.major", "GNU.sparse.numblocks", "GNU.sparse.realsize")


def tar_header(data: bytes, rng: Random) -> bytes:
    """A field of a tar header, with the checksum that it then has."""
    starts = [i for i in range(0, len(data) - 511, 512) if data[i + 257 : i + 262] == b"ustar"]
    if not starts:
        return rng.choice(BYTES)(data, rng)
    start = rng.choice(starts)
    header = bytearray(data[start : start + 512])
    for _ in range(rng.choice((1, 1, 2))):
        field = rng.choice(("name", "size", "size", "type", "type", *_TAR_FIELDS))
        offset, width = _TAR_FIELDS[field]
        if field == "type":
            value = rng.choice(_TYPES)
        elif field in ("name", "link", "prefix"):
            value = rng.choice((*NAMES, "./", "./.", "a/..", "._x", "dir/")).encode("utf-8", "surrogatepass")
        else:
            value = rng.choice(_SIZES)
        header[offset : offset + width] = value[:width].ljust(width, b"\0")
    return data[:start] + _summed(header) + data[start + 512 :]


def tar_records(data: bytes, rng: Random) -> bytes:
    """A block is lost, doubled or repeated, or an extended header with strange records stands before a member."""
    blocks = [data[i : i + 512] for i in range(0, len(data), 512)]
    i = rng.randrange(len(blocks)) if blocks else 0
    match rng.randrange(5):
        case 0 if blocks:
            del blocks[i]
        case 1 if blocks:
            blocks.insert(i, blocks[i])
        case 2:
            blocks[i:i] = _extended(rng) * rng.choice((1, 1, 1, 1500))
        case _:
            headers = [k for k, each in enumerate(blocks) if each[257:262] == b"ustar"]
            place = rng.choice(headers) if headers else 0
            blocks[place:place] = _extended(rng)
    return b"".join(blocks)


def _extended(rng: Random) -> list[bytes]:
    """The blocks of an extended header: PAX records, or a long name."""
    if rng.random() < 0.3:
        kind, content = rng.choice((b"L", b"K")), rng.choice(NAMES).encode("utf-8", "surrogatepass") + b"\0"
    else:
        kind = rng.choice((b"x", b"x", b"g"))
        content = b"".join(_record(rng) for _ in range(rng.choice((1, 1, 2, 400))))
    size = rng.choice((len(content),) * 8 + (0, 2**30, len(content) + 600))
    header = bytearray(tarfile.TarInfo("././@x").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"%011o\0" % size
    header[156:157] = kind
    content += bytes(-len(content) % 512)
    return [_summed(header), *(content[i : i + 512] for i in range(0, len(content), 512))]


def _record(rng: Random) -> bytes:
    key = rng.choice(_PAX)
    value = rng.choice((*NUMBERS, *NAMES, "0,1,2", "BINARY", "1" * 20_000))
    text = f" {key}={value}\n".encode("utf-8", "surrogatepass")
    size = len(text) + len(str(len(text) + len(str(len(text)))))
    if rng.random() < 0.3:
        return rng.choice(("0", "-5", "99999999999", "9" * 5000, "1" * 100, "", "3", "\u0661")).encode() + text
    return str(size).encode() + text


def _summed(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


NPZ: tuple[Damage, ...] = (zip_members,) * 6 + (zip_records, zip_records, zip_bomb)
TORCH: tuple[Damage, ...] = (zip_members, zip_members, zip_members, zip_records, zip_bomb)
TAR: tuple[Damage, ...] = (tar_header, tar_header, tar_header, tar_records, tar_records)


def safetensors(data: bytes, rng: Random) -> bytes:
    """The header of a safetensors file, with the length that it then has, or its numbers."""
    if len(data) < 8:
        return data
    size = int.from_bytes(data[:8], "little")
    header, content = data[8 : 8 + size], data[8 + size :]
    match rng.randrange(5):
        case 0:
            return rng.choice((*INTEGERS, size + 1, size - 1)).to_bytes(8, "little", signed=False) + data[8:]
        case 1:
            return data[: 8 + size] + rng.choice(BYTES)(content, rng)
        case 2:
            return _moved_tensor(header, content, rng)
        case _:
            changed = rng.choice(JSON)(header, rng)
            return len(changed).to_bytes(8, "little") + changed + content


def _moved_tensor(header: bytes, content: bytes, rng: Random) -> bytes:
    """A tensor under another name, of another type or of another shape with as many bytes."""
    try:
        table = json.loads(header)
        name = rng.choice([key for key in table if key != "__metadata__"])
        entry = table[name]
        match rng.randrange(3):
            case 0:
                table[rng.choice((*NAMES, name + ".x"))] = table.pop(name)
            case 1:
                entry["dtype"] = {"F32": "I32", "I64": "F64", "F16": "BF16", "U8": "BOOL"}.get(entry["dtype"], "F16")
            case _:
                entry["shape"] = rng.choice((entry["shape"][::-1], [1, *entry["shape"]], []))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        return content
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + content
