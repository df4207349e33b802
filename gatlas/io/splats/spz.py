"""Niantic's .spz: columns of bytes by attribute, in a gzip (versions 1 to 3) or a zstd stream each (version 4).

Layout after the format's own README and library. Its axes are RUB (x right, y up, z back); other splat files, and so
those that are wanted as stored, are RDF: y and z point the other way. Scanning apps and most readers keep to it.
Programs that turn a PLY into an SPZ by the format's own library and leave its axes unspecified, as its `ply_to_spz`,
splat-transform and SuperSplat do, write the PLY's RDF. No field tells the two apart, so the writer is guessed: see
`_y_down`. What gatlas writes is RDF, which those programs show upright, and an extension names it.
"""

from __future__ import annotations

import gzip
import json
import math
import struct
import warnings
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.frames import half_turn, turned
from gatlas.io.json_reader import JsonError, parse_json
from gatlas.io.splats.decoded import SplatReading, checked_gaussians, smallest_three
from gatlas.io.splats.stored import (
    StoredColumns,
    origin_of_record,
    origin_record,
    pack_smallest_three,
    rounded,
    stored_columns,
)
from gatlas.io.splats.up_axis import Y_DOWN, axis
from gatlas.io.splats.zstd_streams import compress, decompress

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, UInt8

    from gatlas.io.streams import Blob
    from gatlas.types import Gaussians, Origin

MAGIC = b"NGSP"
VERSIONS = (1, 2, 3, 4)
_HEADER = struct.Struct("<4sIIBBBB")
_NEW_HEADER = struct.Struct("<4sIIBBBBI12x")  # of version 4: the number of streams, and where their table begins
_ENTRY = struct.Struct("<QQ")  # of the table: bytes of a stream compressed and not
_COEFFICIENTS = (1, 4, 9, 16, 25)  # of degree 0 to 4
_DEGREE = 3  # the highest that is kept
_COLOR_SCALE = 0.15  # of a degree-0 coefficient
_ANTIALIASED = 1  # flag
_HAS_EXTENSIONS = 2
_CONVERT = (
    "to convert it, run: npx @playcanvas/splat-transform INPUT.spz OUTPUT.ply "
    "(which keeps the axes: if the object stands on its head, give --up y with the PLY)"
)
_MOST_EXTENSIONS = 1 << 20  # bytes of records beside the Gaussians
_SURE = 1 << 28  # bytes that a file may promise whatever its size
_MOST_RATIO = 200  # of what a larger one holds to its own size; a gzip of zeros would fill the memory
_SH_RANGE_EXTENSION = 0xADBE0001  # coefficients are stored between bounds of its own
_AXES_EXTENSION = 0xADBE0003  # one uint32: the coordinate system of what is stored
_ORIGIN_EXTENSION = 0x47410001  # JSON of `origin_record`
_RDF, _RUB, _ROTATED = 6, 4, 8  # numbers of coordinate systems, and how many of them point y up or down
# Head of a gzip of zlib's default level on Linux and in WebAssembly, where the last byte names the operating system.
_ZLIB_ON_UNIX = b"\x1f\x8b\x08\0\0\0\0\0\0\x03"
_LEAST_FRACTION, _MOST_FRACTION = 12, 23  # bits behind the point of what is written


class SpzContent(NamedTuple):
    """The Gaussians of an SPZ file in its own axes, and what it says of them."""

    means: Float[np.ndarray, "n 3"]
    quats: Float[np.ndarray, "n 4"]  # wxyz
    log_scales: Float[np.ndarray, "n 3"]
    opacities: Float[np.ndarray, " n"]
    sh: Float[np.ndarray, "n k 3"]
    antialiased: bool
    version: int
    extensions: dict[int, bytes]


def decode_spz(blob: Blob, **asked: Any) -> Gaussians:
    """The Gaussians of an SPZ file, float32, in the object's own frame. Damage and other versions are a GatlasError.

    `asked` are the fields of `SplatReading`; `as_stored` gives the axes that the file's PLY would have.
    """
    reading = SplatReading(**asked)
    content = unpack_spz(blob, reading)
    means, quats, sh = content.means, content.quats, content.sh
    stated = Y_DOWN
    to_rub = _rotation_to_rub(content.extensions.get(_AXES_EXTENSION, b""))
    if reading.up not in (None, "y"):
        stated = axis(str(reading.up))
    elif reading.up is None and to_rub is None and _y_down(blob, content.version, reading):
        pass
    else:
        if reading.up is None and to_rub is not None:
            means, quats, sh = turned(means, quats, sh, to_rub)
        means, quats, sh = half_turn(means, quats, sh, "x")  # from RUB to RDF
        reading = replace(reading, up=None)
    columns = (means, quats, content.log_scales, content.opacities, sh)
    origin = _origin(blob, content)
    return checked_gaussians(blob, *columns, reading, stated=stated, origin=origin, antialiased=content.antialiased)


def _origin(blob: Blob, content: SpzContent) -> Origin | None:
    try:
        record = parse_json(content.extensions.get(_ORIGIN_EXTENSION, b"null").decode("utf-8", "replace"))
    except JsonError:
        return None
    origin = origin_of_record(record, blob.stem, len(content.means))
    return None if origin is None else replace(origin, antialiased=content.antialiased)


def unpack_spz(blob: Blob, reading: SplatReading) -> SpzContent:
    """Return the content of an SPZ file. Damage, and what cannot be read, is a GatlasError."""
    if blob.data.startswith(MAGIC) and blob.data[4:8] == b"\x04\0\0\0":
        header, content, extensions = _read_streams(blob)
    else:
        header, content = _inflate(blob)
        if len(content) < header.total:
            raise GatlasError(
                f"{blob.name}: truncated: {header.points:,} Gaussians are {header.total:,} bytes, "
                f"there are {len(content):,}"
            )
        extensions = _extensions(content[header.total :]) if header.flags & _HAS_EXTENSIONS else {}
    count, rest = header.points, header.rest
    if rest and _SH_RANGE_EXTENSION in extensions:
        raise GatlasError(
            f"{blob.name}: its spherical harmonics have bounds of their own, which gatlas does not read: {_CONVERT}"
        )
    columns, at = [], _HEADER.size
    for width in header.widths:
        columns.append(np.frombuffer(content, np.uint8, count * width, at).reshape(count, width))
        at += count * width
    positions, alphas, colors, scales, rotations, coefficients = columns
    most = _COEFFICIENTS[_DEGREE] - 1
    if rest > most:
        reading.report(f"{blob.name}: its spherical harmonics of degree 4 are left out: degree 3 is the highest")
    kept = min(rest, most)
    sh = np.empty((count, 1 + kept, 3))
    sh[:, 0] = (colors / 255.0 - 0.5) / _COLOR_SCALE
    sh[:, 1:] = (coefficients.reshape(count, rest, 3)[:, :kept] - 128.0) / 128.0
    means = _half_floats(positions) if header.version == 1 else _fixed_point(positions, header.fraction)
    quats = _smallest_three(rotations) if header.version >= 3 else _first_three(rotations)
    log_scales, opacities, aa = scales / 16.0 - 10.0, alphas[:, 0] / 255.0, bool(header.flags & _ANTIALIASED)
    return SpzContent(means, quats, log_scales, opacities, sh, aa, header.version, extensions)


def encode_spz(gaussians: Gaussians, *, spz_version: int = 4) -> bytes:
    """Return an SPZ file of version 4 or 3, y down as its extension says; the same Gaussians give the same bytes.

    Positions have 12 bits behind the point or as many more as the size of the Gaussians needs; other columns a byte.
    """
    stored = stored_columns(gaussians)
    coefficients = stored.sh.shape[1]
    fraction = _fraction_bits(stored.means, stored.log_scales)
    _warn_clamped(stored, fraction)
    whole = np.rint(stored.means.astype(np.float64) * 2.0**fraction).astype(np.int64)
    positions = (whole & 0xFFFFFF).astype("<u4").view(np.uint8).reshape(-1, 3, 4)[..., :3]
    columns = [
        positions,
        rounded(stored.opacities * 255, 255),
        rounded((stored.sh[:, 0].astype(np.float64) * _COLOR_SCALE + 0.5) * 255, 255),
        rounded((stored.log_scales + 10) * 16, 255),
        _packed_rotations(stored.quats),
        rounded(stored.sh[:, 1:].astype(np.float64) * 128 + 128, 255),
    ]
    streams = [np.ascontiguousarray(column, dtype=np.uint8).tobytes() for column in columns]
    streams = streams[: 5 if coefficients == 1 else 6]
    record = origin_record(gaussians.origin, len(stored.means))
    records = struct.pack("<III", _AXES_EXTENSION, 4, _RDF)
    payload = json.dumps(record, separators=(",", ":")).encode()
    records += struct.pack("<II", _ORIGIN_EXTENSION, len(payload)) + payload
    flags = _HAS_EXTENSIONS | (_ANTIALIASED if gaussians.origin.antialiased else 0)
    degree = _COEFFICIENTS.index(coefficients)
    if spz_version == 3:
        head = _HEADER.pack(MAGIC, 3, len(stored.means), degree, fraction, flags, 0)
        return gzip.compress(b"".join([head, *streams, records]), mtime=0)
    if spz_version != 4:
        raise ValueError(f"spz_version must be 3 or 4, got {spz_version}")
    table = _NEW_HEADER.size + len(records)
    head = _NEW_HEADER.pack(MAGIC, 4, len(stored.means), degree, fraction, flags, len(streams), table)
    packed = [compress(stream) for stream in streams]
    entries = [_ENTRY.pack(len(small), len(stream)) for small, stream in zip(packed, streams, strict=True)]
    return b"".join([head, records, *entries, *packed])


def _fraction_bits(means: Float[np.ndarray, "n 3"], log_scales: Float[np.ndarray, "n 3"]) -> int:
    """Return the bits behind the point: steps of at most 1/32 of a usual Gaussian, where 24 bits hold the positions."""
    wanted = math.ceil(math.log2(32) - float(np.median(log_scales.max(axis=1))) / math.log(2))
    largest = float(np.abs(means).max())
    held = _MOST_FRACTION if largest == 0 else math.floor(math.log2((2**23 - 1) / largest))
    if held < 0:
        raise GatlasError(
            f"not written: SPZ holds no position beyond 8,388,607, got {largest:,.0f}: write a .ply, or move it by "
            "gatlas convert --translate"
        )
    return min(max(_LEAST_FRACTION, wanted), held, _MOST_FRACTION)


def _warn_clamped(stored: StoredColumns, fraction: int) -> None:
    """Warn, in one line, where the format's ranges and steps change what is seen."""
    largest = stored.log_scales.max(axis=1)
    parts = {
        "sizes outside 0.000045 to 380": np.count_nonzero((largest < -10.05) | (largest > 6.0)),
        "harmonics outside -1 to 1": np.count_nonzero((np.abs(stored.sh[:, 1:]) > 1.01).any(axis=(1, 2))),
        "colors far outside 0 to 1": np.count_nonzero((np.abs(stored.sh[:, 0]) > 3.35).any(axis=1)),
        f"sizes near the step of positions, {0.5**fraction:.3g}": np.count_nonzero(
            largest < math.log(2 * 0.5**fraction)
        ),
    }
    found = [f"{count:,} have {fault}" for fault, count in parts.items() if count > 0.01 * len(largest)]
    if found:
        warnings.warn(
            f"SPZ rounds or clamps what is seen: of {len(largest):,} Gaussians {', '.join(found)}: "
            "a .ply or .sog holds them",
            stacklevel=4,
        )


def _packed_rotations(quats: Float[np.ndarray, "n 4"]) -> UInt8[np.ndarray, "n 4"]:
    """Return the words of `_smallest_three`."""
    small, largest = pack_smallest_three(quats[:, [1, 2, 3, 0]])
    fields = rounded(np.abs(small) / np.sqrt(0.5) * 511, 511) | np.where(small < 0, 512, 0)
    words = largest << 30 | fields[:, 0] << 20 | fields[:, 1] << 10 | fields[:, 2]
    return words.astype("<u4").view(np.uint8).reshape(-1, 4)


def _y_down(blob: Blob, version: int, reading: SplatReading) -> bool:
    """Return True for a file of a program that converts PLYs without turning them; a line says what was taken.

    Such programs have written version 3 by the format's own library, compiled for Linux or WebAssembly, and write
    version 4. Phones, whose zlib names another system, write RUB, as do those that follow the README in other
    languages.
    """
    y_down = version >= 4 or (version == 3 and blob.data.startswith(_ZLIB_ON_UNIX))
    taken = "y down, as programs write it that convert a PLY" if y_down else "y up, as the format defines it"
    reading.report(f"{blob.name}: read as {taken}; if it stands on its head, give --up {'y' if y_down else '-y'}")
    return y_down


class _Header(NamedTuple):
    version: int
    points: int
    rest: int  # coefficients of a color channel beyond degree 0
    fraction: int  # bits behind the point of positions
    flags: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes of a Gaussian in each column."""
        return (6 if self.version == 1 else 9, 1, 3, 3, 3 if self.version <= 2 else 4, 3 * self.rest)

    @property
    def total(self) -> int:
        """Bytes of the header and the columns."""
        return _HEADER.size + self.points * sum(self.widths)

    @classmethod
    def parse(cls, blob: Blob, content: bytes) -> _Header:
        if len(content) < _HEADER.size:
            raise GatlasError(f"{blob.name}: truncated: {len(content)} bytes are no SPZ header")
        magic, version, count, degree, fraction, flags, _ = _HEADER.unpack_from(content)
        if magic != MAGIC or version not in VERSIONS:
            raise GatlasError(f"{blob.name}: is SPZ of version {version}, gatlas reads 1 to 4: {_CONVERT}")
        if degree >= len(_COEFFICIENTS) or fraction > 23:
            raise GatlasError(
                f"{blob.name}: damaged, or of a degree above 4: degree {degree}, {fraction} fractional bits"
            )
        header = cls(version, count, _COEFFICIENTS[degree] - 1, fraction, flags)
        if header.total > max(_SURE, _MOST_RATIO * len(blob.data)):
            raise GatlasError(f"{blob.name}: damaged: {len(blob.data):,} bytes cannot hold {count:,} Gaussians")
        return header


def _read_streams(blob: Blob) -> tuple[_Header, bytes, dict[int, bytes]]:
    """The header, the header and columns as older versions have them, and the extensions of a file of version 4."""
    header = _Header.parse(blob, blob.data)
    if len(blob.data) < _NEW_HEADER.size:
        raise GatlasError(f"{blob.name}: truncated: {len(blob.data)} bytes are no header of SPZ 4")
    *_, number, table = _NEW_HEADER.unpack_from(blob.data)
    sizes = [header.points * width for width in header.widths if width]
    at = table + number * _ENTRY.size
    if number != len(sizes) or table < _NEW_HEADER.size or at > len(blob.data):
        raise GatlasError(f"{blob.name}: truncated or damaged: its table of {number} streams is not all there")
    columns = [blob.data[: _HEADER.size]]
    for index, size in enumerate(sizes):
        packed, plain = _ENTRY.unpack_from(blob.data, table + index * _ENTRY.size)
        if plain != size:
            raise GatlasError(f"{blob.name}: damaged: its stream {index} has {plain:,} bytes, and {size:,} are needed")
        if packed > len(blob.data) - at:
            raise GatlasError(f"{blob.name}: truncated: its stream {index} is not all there")
        try:
            columns.append(decompress(blob.data[at : at + packed], size))
        except ValueError as error:
            raise GatlasError(f"{blob.name}: damaged: its stream {index} cannot be read: {error}") from None
        at += packed
    extensions = _extensions(blob.data[_NEW_HEADER.size : table]) if header.flags & _HAS_EXTENSIONS else {}
    return header, b"".join(columns), extensions


def _inflate(blob: Blob) -> tuple[_Header, bytes]:
    """The header and the bytes of a file, no more of them than the header promises, and its extensions."""
    if blob.data.startswith(MAGIC):
        return _Header.parse(blob, blob.data), blob.data
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(blob.data, _HEADER.size)
        header = _Header.parse(blob, content)
        content += stream.decompress(stream.unconsumed_tail, header.total - len(content) + _MOST_EXTENSIONS)
    except zlib.error as error:
        raise GatlasError(f"{blob.name}: damaged: its gzip cannot be read ({error})") from None
    if not stream.eof:
        if stream.unconsumed_tail:
            more = f"more than its {header.points:,} Gaussians"
            raise GatlasError(f"{blob.name}: damaged: its gzip holds {more}")
        raise GatlasError(f"{blob.name}: truncated: its gzip ends too soon")
    return header, content


def _extensions(content: bytes) -> dict[int, bytes]:
    """The payloads of the records of type, length and payload, by type."""
    found, at = {}, 0
    while at + 8 <= min(len(content), _MOST_EXTENSIONS):
        kind, size = struct.unpack_from("<II", content, at)
        found[kind] = content[at + 8 : at + 8 + size]
        at += 8 + size
    return found


def _rotation_to_rub(payload: bytes) -> Float64[np.ndarray, "3 3"] | None:
    """The rotation, or reflection, from the coordinate system that a file names to RUB; None if it names none.

    The number minus one has a bit each for right, up and front, and one for systems with z along the vertical.
    """
    number = int.from_bytes(payload[:4], "little") if len(payload) >= 4 else 0
    if not 1 <= number <= 2 * _ROTATED:
        return None
    differing = ((number - 1) % _ROTATED) ^ (_RUB - 1)
    flips = np.diag([-1.0 if differing >> bit & 1 else 1.0 for bit in range(3)])
    z_vertical = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    return z_vertical @ flips if number > _ROTATED else flips


def _fixed_point(stored: UInt8[np.ndarray, "n 9"], fraction: int) -> Float[np.ndarray, "n 3"]:
    """24-bit signed numbers, little-endian, of which `fraction` bits follow the point."""
    triples = stored.reshape(-1, 3, 3).astype(np.int64)
    whole = triples[..., 0] | triples[..., 1] << 8 | triples[..., 2] << 16
    return np.where(whole >= 1 << 23, whole - (1 << 24), whole) / float(1 << fraction)


def _half_floats(stored: UInt8[np.ndarray, "n 6"]) -> Float[np.ndarray, "n 3"]:
    """Version 1: float16."""
    return np.ascontiguousarray(stored).view("<f2").astype(np.float64)


def _first_three(stored: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """Versions 1 and 2: x, y, z as bytes, w the rest of a unit quaternion."""
    return smallest_three(stored / 127.5 - 1.0, np.zeros(len(stored), dtype=np.int64))


def _smallest_three(stored: UInt8[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Versions 3 and 4: the index of the largest of x, y, z, w, then of the others a sign and 9 bits, to 1/sqrt(2)."""
    words = np.ascontiguousarray(stored).view("<u4")[:, 0].astype(np.int64)
    fields = np.stack([words >> 20, words >> 10, words], axis=1)
    small = (fields & 511) / 511.0 * np.sqrt(0.5) * np.where(fields & 512, -1.0, 1.0)
    return smallest_three(small, words >> 30)[:, [3, 0, 1, 2]]
