"""A process that is killed at any moment loses nothing and leaves nothing half; the same command then completes it."""

import os
import random
import shutil

import pytest

from tests.robustness.kills import kill_often
from tests.robustness.scenarios import SCENARIOS

MOMENTS = int(os.environ.get("GATLAS_KILLS", "6"))  # per scenario

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_kills_at_random_moments_lose_nothing(inputs, scenario):
    folder = inputs / scenario.replace(" ", "")
    folder.mkdir()
    kills, _, wrong = kill_often(folder, scenario, MOMENTS, random.Random(scenario))
    assert not wrong
    assert kills == MOMENTS
    shutil.rmtree(folder)
