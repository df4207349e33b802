"""Pruning to a level of detail takes the level as it is."""

from dataclasses import replace

import numpy as np
import pytest

from gatlas.prune import PruneOptions, prune
from tests.prune.test_ranking import shell_and_core

FIELDS = ("means", "quats", "scales", "opacities", "sh")


@pytest.fixture
def levels():
    gaussians = shell_and_core(40, 10)
    return replace(gaussians, origin=replace(gaussians.origin, levels=(10, 30, 50)))


def test_a_level_is_the_first_gaussians_and_keeps_the_smaller_levels(levels):
    taken = prune(levels, PruneOptions(count=30))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(taken, name), getattr(levels, name)[:30])
    assert taken.origin == replace(levels.origin, levels=(10, 30))
    assert prune(levels, PruneOptions(count=10)).origin.levels == (10,)


@pytest.mark.parametrize("other", [{"count": 29}, {"score": "opacity"}, {"min_opacity": 0.5}])
def test_other_numbers_and_scores_rank_and_leave_no_levels(levels, other):
    options = PruneOptions(**{"count": 30, "views": 2, "resolution": 16, **other})
    without = replace(levels, origin=replace(levels.origin, levels=()))
    ranked, expected = prune(levels, options), prune(without, options)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(ranked, name), getattr(expected, name))
    assert ranked.origin.levels == ()


def test_finetuning_leaves_no_levels(levels):
    options = PruneOptions(count=30, finetune=1, views=2, resolution=16)
    assert prune(levels, options).origin.levels == ()


def test_a_level_that_is_none_is_refused(levels):
    with pytest.raises(ValueError, match="count must be one of the levels"):
        levels.level(29)
