"""Niantic's .spz, versions 2 and 3: bytes by attribute, in a gzip.

Layout after the format's own README. Its axes are RUB (x right, y up, z back); other splat files, and so those that are
wanted as stored, are RDF: y and z point the other way.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.frames import half_turn
from gatlas.io.splats.decoded import checked_gaussians, smallest_three

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from gatlas.io.streams import Blob
    from gatlas.types import Gaussians

MAGIC = b"NGSP"
_HEADER = struct.Struct("<4sIIBBBB")
_COEFFICIENTS = (1, 4, 9, 16)  # of degree 0 to 3
_COLOR_SCALE = 0.15  # of a degree-0 coefficient
_HAS_EXTENSIONS = 2
_MOST = 1 << 32  # bytes; a gzip of zeros would fill the memory
_SH_RANGE_EXTENSION = 0xADBE0001  # coefficients are stored between bounds of its own


def decode_spz(blob: Blob, *, as_stored: bool = False) -> Gaussians:
    """The Gaussians of an SPZ file, float32, in the object's own frame. Damage and other versions are a GatlasError.

    `as_stored` gives the axes that the file's PLY would have.
    """
    content = _inflate(blob)
    if len(content) < _HEADER.size:
        raise GatlasError(f"{blob.name}: truncated: {len(content)} bytes are no SPZ header")
    magic, version, count, degree, fraction, flags, _ = _HEADER.unpack_from(content)
    if magic != MAGIC or version not in (2, 3):
        raise GatlasError(
            f"{blob.name}: is SPZ of version {version}, gatlas reads 2 and 3: "
            "to convert it, run: npx @playcanvas/splat-transform INPUT.spz OUTPUT.ply"
        )
    if degree >= len(_COEFFICIENTS) or fraction > 23:
        raise GatlasError(f"{blob.name}: damaged, or of a degree above 3: degree {degree}, {fraction} fractional bits")
    rest = _COEFFICIENTS[degree] - 1
    widths = (9, 1, 3, 3, 3 if version == 2 else 4, 3 * rest)  # bytes per Gaussian
    total = _HEADER.size + count * sum(widths)
    if len(content) < total:
        raise GatlasError(
            f"{blob.name}: truncated: {count:,} Gaussians are {total:,} bytes, there are {len(content):,}"
        )
    if flags & _HAS_EXTENSIONS and rest:
        _check_extensions(blob, content[total:])
    columns, at = [], _HEADER.size
    for width in widths:
        columns.append(np.frombuffer(content, np.uint8, count * width, at).reshape(count, width))
        at += count * width
    positions, alphas, colors, scales, rotations, coefficients = columns
    sh = np.empty((count, 1 + rest, 3))
    sh[:, 0] = (colors / 255.0 - 0.5) / _COLOR_SCALE
    sh[:, 1:] = (coefficients.reshape(count, rest, 3) - 128.0) / 128.0
    quats = _first_three(rotations) if version == 2 else _smallest_three(rotations)
    means, quats, sh = half_turn(_fixed_point(positions, fraction), quats, sh, "x")  # from RUB to RDF
    return checked_gaussians(blob, means, quats, scales / 16.0 - 10.0, alphas[:, 0] / 255.0, sh, as_stored=as_stored)


def _inflate(blob: Blob) -> bytes:
    if blob.data.startswith(MAGIC):
        return blob.data
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(blob.data, _MOST)
    except zlib.error as error:
        raise GatlasError(f"{blob.name}: damaged: its gzip cannot be read ({error})") from None
    if len(content) == _MOST:
        raise GatlasError(f"{blob.name}: damaged: its gzip holds more than {_MOST:,} bytes")
    if not stream.eof:
        raise GatlasError(f"{blob.name}: truncated: its gzip ends too soon")
    return content


def _check_extensions(blob: Blob, content: bytes) -> None:
    """Records of type, length and payload; the one that changes what coefficients mean is refused."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from("<II", content, at)
        if kind == _SH_RANGE_EXTENSION:
            raise GatlasError(
                f"{blob.name}: its spherical harmonics have bounds of their own, which gatlas does not read: "
                "to convert it, run: npx @playcanvas/splat-transform INPUT.spz OUTPUT.ply"
            )
        at += 8 + size


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
