"""Every object belongs to exactly one shard, whatever the number of shards."""

import pytest

from gatlas.batch.shards import parse_shard, slurm_task, take_shard
from gatlas.errors import GatlasError


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 50])
def test_the_union_of_the_shards_is_the_list(shards):
    items = list(range(20))
    taken = [item for index in range(shards) for item in take_shard(items, index, shards)]
    assert sorted(taken) == items


def array(task, first, last, step, count):
    numbers = {"ID": task, "MIN": first, "MAX": last, "STEP": step, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(number) for name, number in numbers.items()}


@pytest.mark.parametrize(("first", "last", "step"), [(0, 3, 1), (1, 10, 3), (5, 5, 1), (0, 15, 4), (2, 9, 5)])
def test_a_slurm_array_has_every_shard_once(first, last, step):
    tasks = range(first, last + 1, step)
    shards = [slurm_task(array(task, first, last, step, len(tasks))).shard() for task in tasks]
    assert shards == [(index, len(tasks)) for index in range(len(tasks))]


def test_outside_an_array_there_is_no_shard():
    assert slurm_task({}) is None


@pytest.mark.parametrize("numbers", [(7, 3, 9, 1, 3), (4, 3, 9, 2, 4), (9, 3, 9, 6, 3)])
def test_an_array_that_is_no_range_has_no_shards(numbers):
    assert slurm_task(array(*numbers)).shard() is None


@pytest.mark.parametrize("task", [5, -1])
def test_a_task_outside_its_array_is_refused(task):
    with pytest.raises(GatlasError, match=rf"^Slurm's array variables say task {task} of 0-1: give --shard I/N$"):
        slurm_task(array(task, 0, 1, 1, 2))


def test_incomplete_variables_are_refused():
    with pytest.raises(GatlasError, match="incomplete"):
        slurm_task({"SLURM_ARRAY_TASK_ID": "3"})


def test_a_shard_is_read():
    assert parse_shard("0/4") == (0, 4)
    assert parse_shard("3/4") == (3, 4)


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "-1/4", "1/0", "1/2/3", ""])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(GatlasError, match="must be I/N"):
        parse_shard(text)
