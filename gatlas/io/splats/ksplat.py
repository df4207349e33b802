"""GaussianSplats3D's .ksplat: sections of records, whose positions are whole numbers around the center of a bucket.

Layout after mkkellogg's `SplatBuffer`, versions 0.1 and later; y points down.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.sh import rgb_to_dc, with_degree
from gatlas.io.splats.decoded import SplatReading, checked_gaussians

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from gatlas.io.streams import Blob
    from gatlas.types import Gaussians

_HEADER, _SECTION = 4096, 1024  # bytes of the header, and of that of each section
_COEFFICIENTS = (0, 9, 24, 45)  # numbers beyond degree 0, by degree
_NUMBERS = ("<f4", "<f2", "<f2")  # of scales and quaternions, by compression level
_HARMONICS = ("<f4", "<f2", "u1")
_RANGE = 32767  # of positions, on either side of the center


class _Section(NamedTuple):
    used: int
    most: int
    bucket_capacity: int
    buckets: int
    block_size: float
    bucket_bytes: int
    quantization: int
    full: int
    partial: int
    degree: int

    @classmethod
    def parse(cls, blob: Blob, at: int) -> _Section:
        count, most, capacity, buckets, block, size = struct.unpack_from("<IIIIfH", blob.data, at)
        (quantization,) = struct.unpack_from("<I", blob.data, at + 24)
        full, partial, degree = struct.unpack_from("<IIH", blob.data, at + 32)
        if degree >= len(_COEFFICIENTS) or count > most:
            raise GatlasError(f"{blob.name}: damaged: a section has {count:,} Gaussians of {most:,}, degree {degree}")
        return cls(count, most, capacity, buckets, block, size, quantization or _RANGE, full, partial, degree)

    @property
    def head(self) -> int:
        """Bytes before the records: sizes of the partial buckets, and centers."""
        return 4 * self.partial + self.bucket_bytes * self.buckets


def decode_ksplat(blob: Blob, **asked: Any) -> Gaussians:
    """The Gaussians of a .ksplat file, float32, in the object's own frame. Damage is a GatlasError.

    `asked` are the fields of `SplatReading`.
    """
    if len(blob.data) < _HEADER or blob.data[0] != 0 or blob.data[1] < 1:
        raise GatlasError(f"{blob.name}: truncated, or a KSPLAT of another version than 0.1")
    (sections,) = struct.unpack_from("<I", blob.data, 4)
    count, level = struct.unpack_from("<IH", blob.data, 16)
    if level > 2:
        raise GatlasError(f"{blob.name}: damaged: there is no compression level {level}")
    low, high = struct.unpack_from("<ff", blob.data, 36)
    at = _HEADER + sections * _SECTION
    if at > len(blob.data):
        raise GatlasError(f"{blob.name}: truncated: its {sections:,} sections are not all there")
    parts = []
    for number in range(sections):
        section = _Section.parse(blob, _HEADER + number * _SECTION)
        record = _record(level, section.degree)
        if section.head + section.most * record.itemsize > len(blob.data) - at:
            raise GatlasError(f"{blob.name}: truncated: section {number + 1} of {sections:,} is not all there")
        if section.used:
            parts.append(_read(blob, section, record, at, (low or -1.5, high or 1.5)))
        at += section.head + section.most * record.itemsize
    found = sum(len(part[0]) for part in parts)
    if found != count:
        raise GatlasError(f"{blob.name}: damaged: its header promises {count:,} Gaussians, its sections hold {found:,}")
    if not parts:
        raise GatlasError(f"{blob.name}: it holds no Gaussians")
    degree = max(round(part[4].shape[1] ** 0.5) - 1 for part in parts)
    means, quats, log_scales, opacities = (np.concatenate([part[i] for part in parts]) for i in range(4))
    sh = np.concatenate([with_degree(part[4], degree) for part in parts])
    return checked_gaussians(blob, means, quats, log_scales, opacities, sh, SplatReading(**asked))


def _record(level: int, degree: int) -> np.dtype:
    position, number = ("<f4", "<u2", "<u2")[level], _NUMBERS[level]
    fields = [("mean", position, 3), ("scale", number, 3), ("quat", number, 4), ("rgba", "u1", 4)]
    return np.dtype([*fields, ("sh", _HARMONICS[level], _COEFFICIENTS[degree])])


@np.errstate(all="ignore")  # damaged numbers are found in what comes of them
def _read(
    blob: Blob, section: _Section, record: np.dtype, at: int, harmonics: tuple[float, float]
) -> tuple[np.ndarray, ...]:
    """Return positions, quaternions, log-scales, opacities and coefficients of a section."""
    records = np.frombuffer(blob.data, record, section.used, at + section.head)
    means = records["mean"].astype(np.float64)
    if record["mean"].base.kind == "u":
        step = section.block_size / 2 / section.quantization
        means = (means - section.quantization) * step + _centers(blob, section, at)[_buckets(blob, section, at)]
    sh = np.zeros((section.used, 1 + _COEFFICIENTS[section.degree] // 3, 3))
    sh[:, 0] = rgb_to_dc(records["rgba"][:, :3] / 255.0)
    stored = records["sh"].astype(np.float64)
    if record["sh"].base.kind == "u":
        stored = harmonics[0] + stored / 255 * (harmonics[1] - harmonics[0])
    first = 0
    for degree in range(1, section.degree + 1):  # each band alone: all of red, then green, then blue
        width = 2 * degree + 1
        band = stored[:, 3 * first : 3 * (first + width)].reshape(-1, 3, width)
        sh[:, 1 + first : 1 + first + width] = band.transpose(0, 2, 1)
        first += width
    scales = records["scale"].astype(np.float64)
    log_scales = np.where(scales == 0, -10.0, np.log(scales))  # smaller than float16 holds
    return means, records["quat"].astype(np.float64), log_scales, records["rgba"][:, 3] / 255.0, sh


def _centers(blob: Blob, section: _Section, at: int) -> Float[np.ndarray, "b 3"]:
    if section.bucket_bytes < 12:
        raise GatlasError(f"{blob.name}: damaged: its buckets have {section.bucket_bytes} bytes")
    shape, strides = (section.buckets, 3), (section.bucket_bytes, 4)
    return np.ndarray(shape, "<f4", blob.data, at + 4 * section.partial, strides).astype(np.float64)


def _buckets(blob: Blob, section: _Section, at: int) -> Int[np.ndarray, " n"]:
    """Return the bucket of each Gaussian: full ones first, then those whose sizes the section lists."""
    partial = np.frombuffer(blob.data, "<u4", section.partial, at).astype(np.int64)
    full = min(section.full, section.used)
    ends = np.cumsum(np.concatenate([np.full(full, max(section.bucket_capacity, 1), dtype=np.int64), partial]))
    buckets = np.searchsorted(ends, np.arange(section.used), side="right")
    if buckets.max() >= min(section.buckets, len(ends)):
        raise GatlasError(f"{blob.name}: damaged: its buckets do not hold {section.used:,} Gaussians")
    return buckets
