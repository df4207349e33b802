"""Niantic's .spz, versions 2 and 3: bytes by attribute, in a gzip.

Layout after the format's own README. Its axes are RUB (x right, y up, z back); other splat files, and so those that are
wanted as stored, are RDF: y and z point the other way. Scanning apps and most readers keep to it. Programs that turn a
PLY into an SPZ by the format's own library and leave its axes unspecified, as its `ply_to_spz`, splat-transform and
SuperSplat do, write the PLY's RDF. No field tells the two apart, so the writer is guessed from the gzip: see `_y_down`.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.frames import half_turn, turned
from gatlas.io.splats.decoded import SplatReading, checked_gaussians, smallest_three
from gatlas.io.splats.up_axis import Y_DOWN, axis

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, UInt8

    from gatlas.io.streams import Blob
    from gatlas.types import Gaussians

MAGIC = b"NGSP"
_HEADER = struct.Struct("<4sIIBBBB")
_COEFFICIENTS = (1, 4, 9, 16)  # of degree 0 to 3
_COLOR_SCALE = 0.15  # of a degree-0 coefficient
_ANTIALIASED = 1  # flag
_HAS_EXTENSIONS = 2
_CONVERT = (
    "to convert it, run: npx @playcanvas/splat-transform INPUT.spz OUTPUT.ply "
    "(which keeps the axes: if the object stands on its head, give --up y with the PLY)"
)
_MOST_EXTENSIONS = 1 << 20  # bytes of records behind the Gaussians
_SURE = 1 << 28  # bytes that a gzip may promise whatever its size
_MOST_RATIO = 200  # of what a larger one holds to its own size; a gzip of zeros would fill the memory
_SH_RANGE_EXTENSION = 0xADBE0001  # coefficients are stored between bounds of its own
_AXES_EXTENSION = 0xADBE0003  # one uint32: the coordinate system of what is stored
_RUB, _ROTATED = 4, 8  # numbers of coordinate systems: RUB, and how many of them point y up or down
# Head of a gzip of zlib's default level on Linux and in WebAssembly, where the last byte names the operating system.
_ZLIB_ON_UNIX = b"\x1f\x8b\x08\0\0\0\0\0\0\x03"


def decode_spz(blob: Blob, **asked: Any) -> Gaussians:
    """The Gaussians of an SPZ file, float32, in the object's own frame. Damage and other versions are a GatlasError.

    `asked` are the fields of `SplatReading`; `as_stored` gives the axes that the file's PLY would have.
    """
    reading = SplatReading(**asked)
    header, content = _inflate(blob)
    total = header.total
    if len(content) < total:
        raise GatlasError(
            f"{blob.name}: truncated: {header.points:,} Gaussians are {total:,} bytes, there are {len(content):,}"
        )
    version, count, fraction, flags, rest = header.version, header.points, header.fraction, header.flags, header.rest
    extensions = _extensions(content[total:]) if flags & _HAS_EXTENSIONS else {}
    if rest and _SH_RANGE_EXTENSION in extensions:
        raise GatlasError(
            f"{blob.name}: its spherical harmonics have bounds of their own, which gatlas does not read: {_CONVERT}"
        )
    columns, at = [], _HEADER.size
    for width in header.widths:
        columns.append(np.frombuffer(content, np.uint8, count * width, at).reshape(count, width))
        at += count * width
    positions, alphas, colors, scales, rotations, coefficients = columns
    sh = np.empty((count, 1 + rest, 3))
    sh[:, 0] = (colors / 255.0 - 0.5) / _COLOR_SCALE
    sh[:, 1:] = (coefficients.reshape(count, rest, 3) - 128.0) / 128.0
    quats = _first_three(rotations) if version == 2 else _smallest_three(rotations)
    means, stated = _fixed_point(positions, fraction), Y_DOWN
    to_rub = _rotation_to_rub(extensions.get(_AXES_EXTENSION, b""))
    if reading.up not in (None, "y"):
        stated = axis(reading.up)
    elif reading.up is None and to_rub is None and _y_down(blob, version, reading):
        pass
    else:
        if reading.up is None and to_rub is not None:
            means, quats, sh = turned(means, quats, sh, to_rub)
        means, quats, sh = half_turn(means, quats, sh, "x")  # from RUB to RDF
        reading = replace(reading, up=None)
    log_scales, opacities, aa = scales / 16.0 - 10.0, alphas[:, 0] / 255.0, bool(flags & _ANTIALIASED)
    return checked_gaussians(blob, means, quats, log_scales, opacities, sh, reading, stated=stated, antialiased=aa)


def _y_down(blob: Blob, version: int, reading: SplatReading) -> bool:
    """Return True for a file of a program that converts PLYs without turning them; a line says what was taken.

    Such programs have written version 3 by the format's own library, compiled for Linux or WebAssembly. Phones, whose
    zlib names another system, write RUB, as do those that follow the README in other languages.
    """
    y_down = version >= 3 and blob.data.startswith(_ZLIB_ON_UNIX)
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
        return (9, 1, 3, 3, 3 if self.version == 2 else 4, 3 * self.rest)

    @property
    def total(self) -> int:
        """Bytes of the header and the columns."""
        return _HEADER.size + self.points * sum(self.widths)

    @classmethod
    def parse(cls, blob: Blob, content: bytes) -> _Header:
        if len(content) < _HEADER.size:
            raise GatlasError(f"{blob.name}: truncated: {len(content)} bytes are no SPZ header")
        magic, version, count, degree, fraction, flags, _ = _HEADER.unpack_from(content)
        if magic != MAGIC or version not in (2, 3):
            raise GatlasError(f"{blob.name}: is SPZ of version {version}, gatlas reads 2 and 3: {_CONVERT}")
        if degree >= len(_COEFFICIENTS) or fraction > 23:
            raise GatlasError(
                f"{blob.name}: damaged, or of a degree above 3: degree {degree}, {fraction} fractional bits"
            )
        return cls(version, count, _COEFFICIENTS[degree] - 1, fraction, flags)


def _inflate(blob: Blob) -> tuple[_Header, bytes]:
    """The header and the bytes of a file, no more of them than the header promises, and its extensions."""
    if blob.data.startswith(MAGIC):
        return _Header.parse(blob, blob.data), blob.data
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(blob.data, _HEADER.size)
        header = _Header.parse(blob, content)
        if header.total > max(_SURE, _MOST_RATIO * len(blob.data)):
            raise GatlasError(
                f"{blob.name}: damaged: a gzip of {len(blob.data):,} bytes cannot hold {header.points:,} Gaussians"
            )
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


def _first_three(stored: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 4"]:
    """Version 2: x, y, z as bytes, w the rest of a unit quaternion."""
    return smallest_three(stored / 127.5 - 1.0, np.zeros(len(stored), dtype=np.int64))


def _smallest_three(stored: UInt8[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Version 3: the index of the largest of x, y, z, w, then of the others a sign and 9 bits, up to 1/sqrt(2)."""
    words = np.ascontiguousarray(stored).view("<u4")[:, 0].astype(np.int64)
    fields = np.stack([words >> 20, words >> 10, words], axis=1)
    small = (fields & 511) / 511.0 * np.sqrt(0.5) * np.where(fields & 512, -1.0, 1.0)
    return smallest_three(small, words >> 30)[:, [3, 0, 1, 2]]
