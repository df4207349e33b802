"""The processes of one training."""

import subprocess
import sys

import pytest

from gatlas.errors import GatlasError
from gatlas.train.process_group import check_devices
from tests.helpers.waiting import LIMIT

TWICE = """
import torch
from gatlas.train.process_group import process_group

def print_gradient(factor):  # in a function: a network that outlives its process group may abort the process
    with process_group("cpu", "fp32", 2) as group:
        network = group.parallel(torch.nn.Linear(1, 1, bias=False), fsdp=False)
        network(torch.full((1, 1), factor * (group.rank + 1))).sum().backward()
        assert group.sync(stop=group.rank == 1).stop
        if group.is_first:
            print(float(network.module.weight.grad))

print_gradient(1.0)
print_gradient(10.0)
"""


def test_more_processes_than_cuda_devices_are_refused_by_all_of_them(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    check_devices()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(GatlasError, match=r"4 processes .* 2 CUDA devices: .*--nproc-per-node 2"):
        check_devices()


@pytest.mark.slow
def test_several_trainings_run_in_the_processes_of_one_torchrun(tmp_path):
    (tmp_path / "twice.py").write_text(TWICE)
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    run = subprocess.run(
        [sys.executable, *launch, "twice.py"], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT
    )
    assert (run.returncode, run.stdout.split()) == (0, ["1.5", "15.0"]), run.stderr
