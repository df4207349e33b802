"""Two runs at once on one output: all is in the end as after one, and who must not write says so in one line."""

import os
import random
import shutil
import time

import pytest

from tests.robustness.forked import Child
from tests.robustness.scenarios import SCENARIOS, reference, results

ROUNDS = int(os.environ.get("GATLAS_PAIRS", "3"))  # per scenario
BUSY = ("another process is at work on this", "another process trains in this folder", "exists", "has just started")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_runs_at_once_on_one_output_make_what_one_makes(inputs, scenario):
    folder, rng = inputs / scenario.replace(" ", ""), random.Random(scenario)
    folder.mkdir()
    began = time.perf_counter()
    made, _ = reference(folder, scenario)
    seconds = time.perf_counter() - began
    for number in range(ROUNDS):
        place = folder / f"both-{number}"
        place.mkdir()
        first = Child(SCENARIOS[scenario].words, place, beside=folder / "first")
        time.sleep(rng.uniform(0, seconds / 2))
        second = Child(SCENARIOS[scenario].words, place, beside=folder / "second")
        ends = [(child.wait(), child.said()) for child in (first, second)]
        for code, said in ends:
            assert code in (0, 1), said
            assert "Traceback" not in said
            if code:
                assert any(busy in said.splitlines()[-1] for busy in BUSY), said
        assert 0 in [code for code, _ in ends], ends
        assert results(place) == made
        shutil.rmtree(place)
