"""The quick reader of NPZ files against numpy's own."""

import io
import zipfile

import numpy as np
import pytest

from gatlas.io.npz_members import read_members

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


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_reads(save):
    data = payload(save, **ARRAYS)
    read = read_members(data, [*ARRAYS, "missing"])
    assert list(read) == list(ARRAYS)
    with np.load(io.BytesIO(data)) as archive:
        for name in ARRAYS:
            np.testing.assert_array_equal(read[name], archive[name])
            assert read[name].dtype == archive[name].dtype


def test_a_flipped_bit_anywhere_in_the_values_is_damage():
    data = payload(plain=ARRAYS["plain"])
    at = data.index(ARRAYS["plain"].tobytes())
    for offset in (0, 50, 95):
        damaged = bytearray(data)
        damaged[at + offset] ^= 1
        with pytest.raises(zipfile.BadZipFile, match="checksum"):
            read_members(bytes(damaged), ["plain"])


def test_a_header_that_promises_more_than_there_is_is_damage():
    member = io.BytesIO()
    np.save(member, np.zeros(4))
    short = io.BytesIO()
    with zipfile.ZipFile(short, "w") as archive:
        archive.writestr("a.npy", member.getvalue()[:-8])
    with pytest.raises(ValueError, match="shorter than its header says"):
        read_members(short.getvalue(), ["a"])


def test_objects_are_never_unpickled():
    data = payload(a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_members(data, ["a"])
