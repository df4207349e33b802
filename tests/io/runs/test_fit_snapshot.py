"""Checkpoints of fits: what is stored is read back, and what is damaged is refused."""

import numpy as np
import pytest

from gatlas import io
from gatlas.errors import GatlasError

ARRAYS = {"means": np.arange(6, dtype=np.float32).reshape(2, 3), "order": np.arange(4)}
META = {"step": 3, "rng": {"state": 2**100}}


def test_arrays_and_meta_are_read_back_and_may_be_changed(tmp_path):
    assert io.load_checkpoint(tmp_path / "s.npz") is None
    io.save_checkpoint(tmp_path / "s.npz", ARRAYS, META)
    arrays, meta = io.load_checkpoint(tmp_path / "s.npz")
    assert meta == META
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        arrays[name][:] = 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    io.save_checkpoint(tmp_path / "s.npz", {"means": np.full((2, 3), value, np.float32)}, META)
    with pytest.raises(
        GatlasError, match=r"s\.npz: not a checkpoint of gatlas, or damaged: .*: remove it to start afresh"
    ):
        io.load_checkpoint(tmp_path / "s.npz")
