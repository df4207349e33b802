"""What a killed process left beside an output is removed by the next one that writes there, and nothing else is."""

import os
import subprocess
import sys

from gatlas.io import leftovers, outputs

HEX = "0123456789abcdef"


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def name_of(process, machine=None):
    mine = leftovers.scratch_name().split("-")[1]
    return f".gatlas-{machine or mine}-{process}-{HEX}.tmp"


def test_leftovers_of_dead_processes_of_this_machine_are_removed_and_no_others(tmp_path):
    dead, mine = dead_process(), os.getpid()
    kept = [name_of(mine), name_of(dead, "00000000"), name_of(os.getppid()), f".gatlas-{HEX}.tmp", f"x{name_of(dead)}"]
    for name in (*kept, name_of(dead)):
        (tmp_path / name).write_bytes(b"half")
    folder = tmp_path / name_of(dead).replace("0123", "4567")
    folder.mkdir()
    (folder / "half.png").touch()
    outputs.write(tmp_path / "x.bin", [b"whole"], force=False)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "x.bin"])


def test_the_scratch_of_a_process_at_work_is_its_own(tmp_path):
    with outputs.scratch_beside(tmp_path / "x") as scratch:
        assert leftovers.scratch_name() != scratch.name
        assert os.getpid() == int(scratch.name.split("-")[2])
