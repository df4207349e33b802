"""Safetensors, written and read one tensor at a time."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from gatlas.io.models.tensors import StoredTensors, write_tensors

KINDS = [
    torch.uint64, torch.int64, torch.float64, torch.float32, torch.uint32, torch.int32, torch.bfloat16, torch.float16,
    torch.uint16, torch.int16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8, torch.bool,
    torch.complex64,
]  # fmt: skip


def some_tensors():
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 100, (3, 5), generator=generator)
    tensors = {f"kind {str(kind)[6:]}": values.to(kind) for kind in reversed(KINDS)}
    return tensors | {
        'a"\\\nπ': torch.rand(4, generator=generator),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
        "turned": torch.rand(3, 4, 5, generator=generator).permute(2, 0, 1),
        "part": torch.rand(6, 4, generator=generator)[::2, 1:],
    }


def test_the_bytes_are_those_of_the_library(tmp_path):
    tensors = some_tensors()
    write_tensors(tmp_path / "ours", tensors)
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(plain, tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    write_tensors(tmp_path / "none", {})
    assert load_file(tmp_path / "none") == {}


def test_tensors_are_fetched_into_one_buffer(tmp_path):
    """Of the largest one's size: no more than that is on the host at a time."""
    shapes = {f"weight {number}": torch.empty(50, number + 1, device="meta") for number in range(5)}
    buffers = []

    def fetch(name, into):
        into.fill_(float(name[-1]))
        buffers.append(into.untyped_storage())

    write_tensors(tmp_path / "file", shapes, fetch=fetch)
    assert {(buffer.data_ptr(), buffer.nbytes()) for buffer in buffers} == {(buffers[0].data_ptr(), 50 * 5 * 4)}
    stored = load_file(tmp_path / "file")
    assert len(stored) == len(buffers) == 5
    for name, tensor in stored.items():
        assert torch.equal(tensor, torch.full(shapes[name].shape, float(name[-1])))


def test_stored_tensors_are_those_that_were_written(tmp_path, monkeypatch):
    tensors = {name: value for name, value in some_tensors().items() if "float8" not in name}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "file")
    stored = StoredTensors(tmp_path / "file")
    assert stored.keys() == tensors.keys()
    assert len(stored) == len(tensors)
    assert "none" not in stored
    for name, tensor in stored.items():
        assert tensor.dtype == tensors[name].dtype
        assert torch.equal(tensor, tensors[name])


def test_a_tensor_stays_readable_when_the_file_is_mapped_anew(tmp_path):
    """A tensor that is larger than what stays mapped has the others mapped anew."""
    size = (1 << 24) + 1  # 64 MiB of float32, and a little
    tensors = {"a": torch.full((size,), 3.0), "b": torch.arange(4.0), "c": torch.arange(5.0)}
    save_file(tensors, tmp_path / "file")
    stored = StoredTensors(tmp_path / "file")
    found = {name: stored[name] for name in ("b", "a", "c")}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_numbers_that_the_format_has_not_are_refused(tmp_path):
    with pytest.raises(ValueError, match="x is complex128"):
        write_tensors(tmp_path / "file", {"x": torch.zeros(1, dtype=torch.complex128)})
    assert not (tmp_path / "file").exists()
