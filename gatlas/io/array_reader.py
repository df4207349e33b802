"""Arrays of NPZ and NPY files: bounded before memory is taken, never code, and all that is wrong one error.

The only code that reads a zip or an NPY header. Arrays that are stored uncompressed are views of the file's bytes:
`np.load` copies each array three times and parses each header as Python source, 2 ms for an atlas of 128 x 128, of
which reading the file takes 0.1. Here a header that was seen before is known. Checksums are verified all the same.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from gatlas.io.streams import Blob

DAMAGED = "truncated or damaged NPZ file"
MOST_OF_DIRECTORY = 1 << 20  # bytes: 10,000 members and more
MOST_OF_LARGE_DIRECTORY = 1 << 26  # bytes: of a file of torch with a million tensors
_TAIL = 1 << 17  # bytes of a zip with the end of its directory
FREE_BYTES = 1 << 28  # that compressed arrays may take, and beyond it MOST_GAIN times the bytes of the file
MOST_GAIN = 20
_HEADERS = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}  # signature and version -> bytes of the header's length
_KINDS = "biufcSU"
_UNREADABLE = 0x41  # flags of a zip's member: encrypted


def read_npz(
    blob: Blob, names: Sequence[str] | None = None, *, finite: bool = False, fault: str = DAMAGED, remedy: str = ""
) -> dict[str, np.ndarray]:
    """Return the named arrays (None: all), some of them read-only views of the file; missing ones are left out.

    Anything wrong is a GatlasError: "FILE: `fault`: why`remedy`". So are arrays of objects and, with `finite`, values
    that are NaN or infinite.
    """
    with _one_line(blob.name, fault, remedy):
        arrays = _read_members(blob.data, names)
        if finite:
            for name, array in arrays.items():
                _check_finite(name, array)
        return arrays


def read_npy(blob: Blob, *, fault: str = "truncated or damaged NPY file", remedy: str = "") -> np.ndarray:
    """Return the array of an NPY file, a read-only view of it. Errors as for `read_npz`."""
    with _one_line(blob.name, fault, remedy):
        return _array(memoryview(blob.data))


def read_members(
    blob: Blob, names: Sequence[str], *, fault: str = "truncated or damaged zip file", remedy: str = ""
) -> dict[str, bytes]:
    """Return members of a zip as bytes by name; missing ones are left out. Errors as for `read_npz`."""
    with _one_line(blob.name, fault, remedy), _opened(blob.data) as archive:
        infos = {name: archive.NameToInfo[name] for name in names if name in archive.NameToInfo}
        _check_gain(infos.values(), blob.data)
        return {name: bytes(_content(archive, info, blob.data)) for name, info in infos.items()}


def zip_names(data: bytes) -> set[str] | None:
    """Return the names in a zip; None for one that cannot be read."""
    try:
        with _opened(data) as archive:
            return set(archive.namelist())
    except MemoryError:
        raise
    except Exception:  # on damaged bytes zipfile fails in any way
        return None


def is_stored_zip(file: BinaryIO) -> bool:
    """Return True for a zip whose members are stored as they are, as torch writes them; its reader has no bounds."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(size - _TAIL, 0))
    try:
        if _directory_size(file.read()) > MOST_OF_LARGE_DIRECTORY:
            return False
        with zipfile.ZipFile(file) as archive:
            return all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
    except MemoryError:
        raise
    except Exception:  # on damaged bytes zipfile fails in any way
        return False


@contextmanager
def _one_line(name: str, fault: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # on damaged bytes zipfile, its decompressors and numpy fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise GatlasError(f"{name}: {fault}: {reason}{remedy}") from None


def _opened(data: bytes) -> zipfile.ZipFile:
    if _directory_size(data) > MOST_OF_DIRECTORY:
        raise ValueError(f"its list of members has {_directory_size(data):,} bytes")
    return zipfile.ZipFile(io.BytesIO(data))


def _directory_size(data: bytes) -> int:
    """Return the bytes of a zip's list of members, as its end says: zipfile makes an object of every 46 of them."""
    end = len(data) - 22
    if not (data.startswith(b"PK\x05\x06", max(end, 0)) and data.endswith(b"\x00\x00")):
        end = data.rfind(b"PK\x05\x06", max(end - 65535, 0))  # a comment follows
    if end < 0:
        return 0
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    if data.startswith(b"PK\x06\x07", max(end - 20, 0)):  # of more than 4 GB
        size = int.from_bytes(data[max(end - 36, 0) : max(end - 28, 0)], "little")
    return size


def _read_members(data: bytes, names: Sequence[str] | None) -> dict[str, np.ndarray]:
    with _opened(data) as archive:
        there = archive.NameToInfo
        if names is None:
            names = [name.removesuffix(".npy") for name in there if name.endswith(".npy")]
        infos = {name: info for name in names if (info := there.get(f"{name}.npy")) is not None}
        _check_gain(infos.values(), data)
        return {name: _array(_content(archive, info, data)) for name, info in infos.items()}


def _check_gain(infos: Iterable[zipfile.ZipInfo], data: bytes) -> None:
    taken = sum(info.file_size for info in infos if info.compress_type != zipfile.ZIP_STORED)
    if taken > max(FREE_BYTES, MOST_GAIN * len(data)):
        raise ValueError(f"{len(data):,} bytes would become {taken:,} in memory: store it uncompressed")


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> memoryview:
    if info.flag_bits & _UNREADABLE:
        raise ValueError(f"{info.filename!r} is encrypted")
    if info.compress_type == zipfile.ZIP_DEFLATED:
        with archive.open(info) as file:  # of known size: without one the decompressor's output has no bound
            return memoryview(file.read(info.file_size))
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename!r} is compressed by method {info.compress_type}; deflate alone is read")
    local = data[info.header_offset : info.header_offset + 30]
    if len(local) < 30 or not local.startswith(b"PK\x03\x04"):
        raise ValueError(f"bad header of {info.filename!r}")
    start = info.header_offset + 30 + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    content = memoryview(data)[start : start + info.file_size]
    if len(content) < info.file_size or zlib.crc32(content) != info.CRC:
        raise ValueError(f"bad checksum of {info.filename!r}")
    return content


def _array(content: memoryview) -> np.ndarray:
    """The array of an NPY file, a view of its bytes."""
    signature = bytes(content[:8])
    width = _HEADERS.get(signature)
    if width is None:
        raise ValueError("an array is not in NPY format 1 or 2")
    start = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    if start > len(content):
        raise ValueError("an array breaks off in its header")
    shape, fortran, dtype = _header(signature, bytes(content[8:start]))
    count = math.prod(shape)
    if len(content) < start + count * dtype.itemsize:
        raise ValueError("an array is shorter than its header says")
    flat = np.frombuffer(content, dtype, count, start) if count else np.empty(0, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


@lru_cache(maxsize=64)
def _header(signature: bytes, header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether the order is Fortran's, and dtype."""
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[signature[6]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the Python source that a header is
            shape, fortran, dtype = read(io.BytesIO(header))
    except (Exception, MemoryError) as error:  # the parser's, of any kind; it has no more than some kilobytes
        raise ValueError(f"bad header of an array: {error}") from None
    if dtype.hasobject:
        raise ValueError("Object arrays may hold code and are not read")
    if dtype.kind not in _KINDS or not dtype.itemsize:
        raise ValueError(f"an array holds neither numbers nor texts: {dtype}"[:200])
    if any(size < 0 for size in shape):
        raise ValueError("bad header of an array: a negative size")
    return shape, bool(fortran), dtype


def _check_finite(name: str, array: np.ndarray) -> None:
    bad = np.count_nonzero(~np.isfinite(array)) if array.dtype.kind in "fc" else 0
    if bad:
        raise ValueError(f"array '{name}' has {bad:,} values that are NaN or infinite")
