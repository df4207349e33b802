"""The reader of NPZ and NPY files against numpy's own, and against files that mean harm."""

import io
import struct
import zipfile

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.io import array_reader
from gatlas.io.array_reader import read_npy, read_npz
from gatlas.io.streams import Blob

ARRAYS = {
    "plain": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(5, dtype=">i4"),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(7),
    "text": np.array("größe"),
}


def payload(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def npy(header, content=b"", version=1):
    """An NPY file with any text as its header."""
    text = header if isinstance(header, bytes) else repr(header).encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + content


def zipped(content, name="a.npy", method=zipfile.ZIP_STORED, copies=1):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for number in range(copies):
            archive.writestr(name if number == 0 else f"{number}{name}", content)
    return file.getvalue()


def load(data, names=("a",), **options):
    return read_npz(Blob("x.npz", data), names, **options)


def refused(data, match, **options):
    with pytest.raises(GatlasError, match=rf"^x\.npz: truncated or damaged NPZ file: .*{match}") as error:
        load(data, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_reads(save):
    data = payload(save, **ARRAYS)
    assert list(load(data, None)) == list(ARRAYS)
    read = load(data, [*ARRAYS, "missing"])
    assert list(read) == list(ARRAYS)
    with np.load(io.BytesIO(data)) as archive:
        for name in ARRAYS:
            np.testing.assert_array_equal(read[name], archive[name])
            assert read[name].dtype == archive[name].dtype


def test_a_long_header_of_version_2_is_read():
    header = {"descr": "<f4", "fortran_order": False, "shape": (2,)}
    data = npy(header, np.array([1, 2], "<f4").tobytes(), version=2)
    assert read_npy(Blob("x.npy", data)).tolist() == [1, 2]


def test_a_flipped_bit_anywhere_in_the_values_is_damage():
    data = payload(a=ARRAYS["plain"])
    at = data.index(ARRAYS["plain"].tobytes())
    for offset in (0, 50, 95):
        damaged = bytearray(data)
        damaged[at + offset] ^= 1
        refused(bytes(damaged), "checksum")


def test_a_header_that_promises_more_than_there_is_is_damage():
    member = io.BytesIO()
    np.save(member, np.zeros(4))
    refused(zipped(member.getvalue()[:-8]), "shorter than its header says")


def test_objects_are_never_unpickled():
    refused(payload(a=np.array([{}], dtype=object)), "Object arrays")


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (", "bad header"),  # numpy's tokenizer breaks off
        (b"(" * 9000, "bad header"),
        (b"\xff\xfe", "bad header"),
        ({"descr": "<f8", "fortran_order": False, "shape": (2.5,)}, "bad header"),
        ({"descr": 7, "fortran_order": False, "shape": (1,)}, "bad header"),
        ({"descr": "<f8", "fortran_order": False, "shape": (-1,)}, "negative size"),
        ({"descr": "<f8", "fortran_order": False, "shape": (1 << 32,)}, "shorter than its header says"),
        ({"descr": "<f8", "fortran_order": False, "shape": (1 << 200, 0)}, ""),
        ({"descr": ("<f8", (1 << 20, 1 << 20)), "fortran_order": False, "shape": (1,)}, ""),
        ({"descr": "|V0", "fortran_order": False, "shape": (1 << 60,)}, "neither numbers nor texts"),
        ({"descr": [("a", "<f8")], "fortran_order": False, "shape": (1,)}, "neither numbers nor texts"),
        ({"descr": "<M8[s]", "fortran_order": False, "shape": (1,)}, "neither numbers nor texts"),
        ({"descr": "<f8", "fortran_order": False, "shape": (1,) * 99}, ""),
    ],
)
def test_headers_that_mean_harm_are_refused_before_memory_is_taken(header, fault):
    refused(zipped(npy(header, bytes(8))), fault)
    with pytest.raises(GatlasError, match=r"^x\.npy: truncated or damaged NPY file: "):
        read_npy(Blob("x.npy", npy(header, bytes(8))))


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{", b"\x93NUMPY\x09\x00", b"hello"])
def test_what_is_no_array_is_refused(data):
    refused(zipped(data), "")


def test_what_is_encrypted_or_packed_in_another_way_is_refused():
    good = payload(a=np.zeros(3))
    encrypted = bytearray(good)
    encrypted[good.index(b"PK\x01\x02") + 8] |= 1
    refused(bytes(encrypted), "encrypted")
    version = bytearray(good)
    version[good.index(b"PK\x01\x02") + 6] = 255
    refused(bytes(version), "version")
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        refused(zipped(npy({}), method=method), "deflate alone is read")


def test_a_small_file_that_would_fill_the_memory_is_refused(monkeypatch):
    header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 14,)}
    bomb = zipped(npy(header, bytes(1 << 17)), method=zipfile.ZIP_DEFLATED, copies=5)
    assert len(load(bomb, None)) == 5
    monkeypatch.setattr(array_reader, "FREE_BYTES", 1 << 19)
    assert len(load(bomb, ["a"])) == 1
    refused(bomb, "in memory: store it uncompressed", names=None)


def test_a_size_that_its_directory_understates_is_not_exceeded():
    good = zipped(npy({"descr": "<f8", "fortran_order": False, "shape": (1,)}, bytes(1 << 20)), method=8)
    at = good.index(b"PK\x01\x02") + 24
    refused(good[:at] + struct.pack("<I", 200) + good[at + 4 :], "CRC")


@pytest.mark.parametrize("comment", [b"", b"words"])
@pytest.mark.parametrize("zip64", [False, True])
def test_a_directory_without_end_is_refused(comment, zip64):
    good = zipped(npy({"descr": "<f8", "fortran_order": False, "shape": (1,)}, bytes(8)))
    at, end = good.index(b"PK\x01\x02"), good.index(b"PK\x05\x06")
    count = 30_000
    size, where = (end - at) * count, struct.pack("<Q", at)
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQ", 44, 45, 45, 0, 0, count, count, size) + where
    far = record + b"PK\x06\x07" + struct.pack("<IQI", 0, at + size, 1) if zip64 else b""
    stated = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF) if zip64 else (count, count, size, at)
    last = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, *stated, len(comment)) + comment
    long = good[:at] + good[at:end] * count + far + last
    assert len(zipfile.ZipFile(io.BytesIO(long)).infolist()) == count
    refused(long, f"its list of members has {size:,} bytes")


def test_values_that_are_not_finite_are_refused_on_request():
    data = payload(a=np.array([1, np.nan, np.inf]), b=np.array(["x"]), c=np.arange(3))
    assert len(load(data, None)) == 3
    refused(data, "array 'a' has 2 values that are NaN or infinite", finite=True)
    assert len(load(data, ["b", "c"], finite=True)) == 2
