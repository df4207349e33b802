"""Every reader on damaged inputs: each is read whole or refused in one line, within a gigabyte and five seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.readers import READERS

COUNT = int(os.environ.get("GATLAS_FUZZ_COUNT", 20_000))  # inputs, over all readers
SEED = int(os.environ.get("GATLAS_FUZZ_SEED", 0))


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.parametrize("name", READERS)
def test_damaged_inputs_are_read_whole_or_refused_in_a_line(name, tmp_path):
    """In a process of its own: children are forked from one without threads. See tests/fuzz for what is a failure."""
    count = COUNT * READERS[name].share // sum(reader.share for reader in READERS.values())
    failures = os.environ.get("GATLAS_FUZZ_FAILURES") or tmp_path
    words = ["--reader", name, "--seed", SEED, "--count", max(count, 1), "--failures", failures]
    command = [sys.executable, "-m", "tests.fuzz", *map(str, words)]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{name} " in run.stdout
