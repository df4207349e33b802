"""No batch writes over what it reads, and none reads what it wrote."""

import re

import pytest

from gatlas.batch.places import refuse_captions, refuse_overwriting, without_members, without_products
from gatlas.batch.work import Task
from gatlas.errors import GatlasError
from gatlas.io import Member, ShardWriter, list_items


def task(key, source, output):
    return Task(key, source, str(source), output)


@pytest.mark.parametrize("output", ["a.ply", "b.ply", "sub/../b.ply"])
def test_a_result_in_the_place_of_an_input_is_refused(tmp_path, output):
    tasks = [task("a", tmp_path / "a.ply", tmp_path / output), task("b", tmp_path / "b.ply", tmp_path / "out/b.ply")]
    with pytest.raises(GatlasError, match="is an input, and a result would be written over it"):
        refuse_overwriting(tasks)


def test_an_input_that_links_to_the_place_of_a_result_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.ply").write_bytes(b"splat")
    (tmp_path / "a.ply").symlink_to("out/a.ply")
    with pytest.raises(GatlasError, match="is an input"):
        refuse_overwriting([task("a", tmp_path / "a.ply", tmp_path / "out/a.ply")])


def test_a_folder_that_holds_an_input_or_another_result_is_no_result(tmp_path):
    deep = task("a/b", tmp_path / "a/b.ply", tmp_path / "out/a/b")
    with pytest.raises(GatlasError, match="lies in it"):
        refuse_overwriting([task("a", tmp_path / "a.ply", tmp_path / "a"), deep])
    with pytest.raises(GatlasError, match="lies in it"):
        refuse_overwriting([task("a", tmp_path / "a.ply", tmp_path / "out/a"), deep])
    refuse_overwriting([task("c", tmp_path / "a.ply", tmp_path / "out/c"), deep])


def test_results_in_the_folder_that_is_read_are_no_inputs_of_the_next_run(tmp_path):
    first = task("a", tmp_path / "a.ply", tmp_path / "out/a.ply")
    second = task("out/a", tmp_path / "out/a.ply", tmp_path / "out/out/a.ply")
    known = {"a": {"status": "ok", "verb": "prune", "input": first.name}}
    assert without_products([first, second], known, "prune") == [first]
    assert without_products([first, second], known, "fit") == [first, second]
    assert without_products([first, second], {}, "prune") == [first, second]


def test_a_tar_that_is_written_is_not_read(tmp_path):
    tasks = [
        Task(shard, Member(tmp_path / f"out-{shard}.tar", "a", ".ply", 0, 0), shard, None) for shard in ("00000", "old")
    ]
    pattern = re.compile(re.escape(str(tmp_path.resolve() / "out-")) + r"\d{5}\.tar")
    assert without_members(tasks, pattern, [str(tmp_path)]) == tasks[1:]
    with pytest.raises(GatlasError, match=r"out-00000\.tar: is an input"):
        without_members(tasks, pattern, [str(tmp_path / "out-00000.tar")])


def test_a_caption_that_would_go_where_another_output_goes_is_refused(tmp_path):
    with ShardWriter(tmp_path / "set.tar") as shard:
        for name in ("a.ply", "a.json", "b.ply"):
            shard.add(name[0], name[1:], b"content")
    items = list_items([str(tmp_path / "set.tar")], ".ply")
    tasks = [Task(item.key, item.source, item.name, tmp_path / f"out/{item.key}.npz") for item in items]
    refuse_captions(tasks, lambda task: [f"{tmp_path}/checks/{task.key}.json"])
    refuse_captions(tasks, lambda task: [f"{tmp_path}/out/b.json"])  # b has no caption
    with pytest.raises(GatlasError, match=r"out/a\.json: the \.json beside .*set\.tar:a\.ply goes there"):
        refuse_captions(tasks, lambda task: [f"{tmp_path}/checks/../out/{task.key}.json"])
    with pytest.raises(GatlasError, match="goes there"):
        refuse_captions([tasks[0]._replace(output=tmp_path / "out/a.json")], lambda task: [])
