"""The processes of one training."""

import pytest

from gatlas.errors import GatlasError
from gatlas.train.process_group import check_devices


def test_more_processes_than_cuda_devices_are_refused_by_all_of_them(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    check_devices()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(GatlasError, match=r"4 processes .* 2 CUDA devices: .*--nproc-per-node 2"):
        check_devices()
