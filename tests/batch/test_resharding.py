"""A task that runs again alone is one of the shards that there were, and never all of them."""

import json

import pytest

from gatlas.batch.resharding import choose_shard
from gatlas.batch.shards import ArrayTask
from gatlas.errors import GatlasError


def in_range(task, first, last, step=1):
    return ArrayTask(task, first, last, step, (last - first) // step + 1)


@pytest.fixture(params=["folder", "tars"])
def place(request, tmp_path):
    """Write the manifests of shards into a place, as (shard, of, array) each, and choose the shard of a task there."""
    tars = request.param == "tars"
    output = str(tmp_path / ("so-{shard}.tar" if tars else "out"))
    (tmp_path / "out").mkdir()

    def choose(*earlier, task=None, asked=None, whole=False, force=False):
        for index, shards, array in earlier:
            name = f"so-{index:05d}.manifest.jsonl" if tars else f"out/manifest-{index}-of-{shards}.jsonl"
            share = {} if array is None else {"shard": f"{index}/{shards}", "array": array}
            (tmp_path / name).write_text(json.dumps({"id": "a", "status": "ok", **share}) + "\n")
        return choose_shard(output, None if tars else tmp_path / "out", asked, task, whole=whole, force=force)

    choose.tars = tars
    return choose


OF_FOUR = [(0, 4, "0-3:1"), (1, 4, "0-3:1"), (3, 4, "0-3:1")]


@pytest.mark.parametrize(
    ("task", "asked"),
    [
        (in_range(2, 2, 2), "2/4"),
        (in_range(0, 0, 0), "0/4"),
        (in_range(2, 2, 3), "2/4"),
        (in_range(3, 2, 3), "3/4"),
        (ArrayTask(2, 0, 2, 1, 2), "2/4"),
        (in_range(5, 5, 5), "I/4"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_a_part_of_an_earlier_array_is_refused_with_the_shard_to_give(place, task, asked, force):
    with pytest.raises(GatlasError, match=rf"was made as shards of 4, and this Slurm array .*: give --shard {asked}$"):
        place(*OF_FOUR, task=task, force=force)


@pytest.mark.parametrize(
    ("array", "first", "last", "step", "task", "index"), [("1-4:1", 1, 1, 1, 1, 0), ("0-9:3", 6, 6, 1, 6, 2)]
)
def test_the_shard_to_give_is_counted_as_in_the_array_that_was(place, array, first, last, step, task, index):
    with pytest.raises(GatlasError, match=f"give --shard {index}/4$"):
        place((0, 4, array), (3, 4, array), task=in_range(task, task, task))


def test_the_same_array_again_is_itself(place):
    for task in range(4):
        assert place(*OF_FOUR, task=in_range(task, 0, 3)) == (task, 4)


@pytest.mark.parametrize("asked", ["0/4", "2/4"])
def test_the_shard_that_was_asked_for_counts_whatever_the_array(place, asked):
    assert place(*OF_FOUR, task=None, asked=asked) == (int(asked[0]), 4)


def test_tars_of_another_number_of_shards_are_refused_and_a_folder_takes_them(place):
    if place.tars:
        with pytest.raises(GatlasError, match=r"was made as shards of 4, not of 8"):
            place(*OF_FOUR, asked="5/8")
        with pytest.raises(GatlasError, match=r"shards of 4, and this Slurm array has 8 tasks"):
            place(*OF_FOUR, task=in_range(5, 0, 7))
        assert place(*OF_FOUR, asked="5/8", force=True) == (5, 8)
    else:
        assert place(*OF_FOUR, asked="5/8") == (5, 8)
        assert place(*OF_FOUR, task=in_range(5, 0, 7)) == (5, 8)


def test_manifests_that_do_not_say_their_number_tell_it_by_theirs(place):
    earlier = [(0, 4, None), (3, 4, None)]
    with pytest.raises(GatlasError, match=r"give --shard 2/(N|4)$"):
        place(*earlier, task=in_range(2, 2, 2))


def test_one_task_alone_that_is_not_the_first_is_refused_where_nothing_says_of_how_many(place):
    with pytest.raises(GatlasError, match=r"the one task 2 does not say how many shards there are: give --shard 2/N"):
        place(task=in_range(2, 2, 2))
    assert place(task=in_range(0, 0, 0)) == (0, 1)
    assert place(task=in_range(3, 2, 5)) == (1, 4)


def test_an_array_with_gaps_has_no_shards(place):
    with pytest.raises(GatlasError, match=r"is no range a-b:step, so it has no shards: give --shard I/N$"):
        place(task=ArrayTask(7, 3, 9, 1, 3))


def test_an_input_of_its_own_is_no_share(place):
    assert place(*OF_FOUR, task=in_range(2, 2, 2), whole=True) == (0, 1)
