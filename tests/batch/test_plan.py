"""What is done is not done again, and what another made is not overwritten."""

import pytest

from gatlas import io
from gatlas.batch.options import Batchable
from gatlas.batch.plan import make_plan, unowned_file
from gatlas.batch.work import BatchWork, Task
from gatlas.config import Options

WORK = BatchWork("encode", print, Options(), Batchable(".npz", (".ply",)))


@pytest.fixture
def task(tmp_path):
    source = tmp_path / "a.ply"
    source.write_bytes(b"splat")
    return Task("a", source, str(source), tmp_path / "a.npz")


def line(task, **changes):
    return {
        "id": "a",
        "status": "ok",
        "verb": "encode",
        "input": task.name,
        "options": WORK.fingerprint,
        "input_stamp": io.stamp(task.source),
        "input_sha256": io.sha256_of(task.source),
        **changes,
    }


def sorted_out(task, known, holds=True, **options):
    plan = make_plan([task], known, WORK, holds=lambda *_: holds, **options)
    return next(name for name, tasks in zip(plan._fields, plan, strict=True) if tasks)


def test_a_new_object_is_to_do(task):
    assert sorted_out(task, {}) == "todo"


def test_an_object_of_the_same_input_and_options_is_done(task):
    assert sorted_out(task, {"a": line(task)}) == "done"


def test_an_input_that_was_only_touched_is_still_the_same(task):
    known = {"a": line(task, input_stamp="5:0")}
    assert sorted_out(task, known) == "done"


def test_a_changed_input_is_done_again(task):
    known = {"a": line(task)}
    task.source.write_bytes(b"other splat")
    assert sorted_out(task, known) == "todo"


def test_a_result_of_other_options_is_not_made_anew_unasked(task):
    known = {"a": line(task, options="other")}
    assert sorted_out(task, known) == "other"
    assert sorted_out(task, known, force=True) == "todo"
    assert sorted_out(task, known, holds=False) == "todo"


def test_a_result_that_is_not_in_its_place_is_done_again(task):
    assert sorted_out(task, {"a": line(task)}, holds=False) == "todo"


def test_what_failed_fails_again_unless_it_is_asked_for(task):
    known = {"a": line(task, status="failed")}
    assert sorted_out(task, known) == "failed"
    assert sorted_out(task, known, retry_failed=True) == "todo"
    task.source.write_bytes(b"mended")
    assert sorted_out(task, known) == "todo"


def test_a_failure_of_the_machine_is_tried_again(task):
    assert sorted_out(task, {"a": line(task, status="failed", passing=True)}) == "todo"


def test_a_file_that_the_batch_did_not_make_is_kept(task):
    task.output.write_bytes(b"somebody's work")
    assert sorted_out(task, {}) == "unowned"
    assert sorted_out(task, {"a": line(task, status="failed")}) == "unowned"


@pytest.mark.parametrize("other", [{"verb": "prune"}, {"input": "b.ply", "input_stamp": "5:0", "input_sha256": "b"}])
def test_a_result_of_another_verb_or_input_is_kept(task, other):
    task.output.write_bytes(b"hours of work")
    known = {"a": line(task, options="other", **other)}
    assert sorted_out(task, known) == "unowned"


def test_a_result_that_stands_since_before_a_failure_is_still_ours(task):
    task.output.write_bytes(b"atlas")
    failed = line(task, status="failed", options="other", kept=line(task))
    assert sorted_out(task, {"a": failed}) == "done"
    task.source.write_bytes(b"other splat")
    assert sorted_out(task, {"a": failed}) == "todo"


def test_a_report_that_is_asked_for_and_not_there_is_made(task, tmp_path):
    report = tmp_path / "a.json"
    asked = task._replace(sidecars=(report,))
    assert sorted_out(asked, {"a": line(task)}) == "todo"
    known = {"a": line(task, files={str(report): None})}
    assert sorted_out(asked, known) == "todo"
    report.write_text("{}")
    assert sorted_out(asked, known) == "done"
    (tmp_path / "x").mkdir()
    assert sorted_out(asked._replace(sidecars=(tmp_path / "x/../a.json",)), known) == "done"
    assert sorted_out(asked, {"a": line(task, files={})}) == "unowned"


def test_an_input_by_another_name_is_the_same(task, tmp_path):
    task.output.write_bytes(b"atlas")
    known = {"a": line(task, input="elsewhere/a.ply")}
    assert sorted_out(task, known) == "done"
    other = {"a": line(task, input="elsewhere/a.ply", options="other")}
    assert sorted_out(task, other) == "other"


def test_lines_of_an_earlier_version_are_known(task, tmp_path):
    report = tmp_path / "a.json"
    report.write_text("{}")
    assert sorted_out(task._replace(sidecars=(report,)), {"a": line(task)}) == "done"
    folder = task._replace(output=tmp_path / "views")
    folder.output.mkdir()
    (folder.output / "0.png").write_bytes(b"picture")
    task.source.write_bytes(b"other splat")
    assert sorted_out(folder, {"a": line(task, input_stamp="5:0", input_sha256="x")}) == "todo"


def test_a_folder_with_an_unowned_file_in_it_is_kept(task):
    folder = task._replace(output=task.output.with_suffix(""))
    folder.output.mkdir()
    (folder.output / "0.png").write_bytes(b"picture")
    known = {"a": line(task, contents={"0.png": 7})}
    task.source.write_bytes(b"other splat")
    assert sorted_out(folder, known) == "todo"
    (folder.output / "notes.txt").write_bytes(b"precious")
    assert sorted_out(folder, known) == "unowned"
    assert unowned_file(folder, known["a"], "encode") == folder.output / "notes.txt"
    assert sorted_out(folder, {}) == "unowned"


@pytest.fixture
def captioned(tmp_path):
    """A task of an object that has a caption in its shard."""
    with io.ShardWriter(tmp_path / "set.tar") as shard:
        shard.add("a", ".ply", b"splat")
        shard.add("a", ".txt", b"a ball")
    (item,) = io.list_items([str(tmp_path / "set.tar")], ".ply")
    return Task("a", item.source, item.name, tmp_path / "a.npz")


def test_an_unowned_file_in_the_place_of_a_caption_is_kept(captioned, tmp_path):
    assert sorted_out(captioned, {}) == "todo"
    (tmp_path / "a.txt").write_bytes(b"precious")
    assert sorted_out(captioned, {}) == "unowned"
    assert unowned_file(captioned, {}, "encode") == tmp_path / "a.txt"
    other = line(captioned, input_stamp="5:0", input_sha256="other")
    assert sorted_out(captioned, {"a": other}) == "unowned"
    assert sorted_out(captioned, {"a": {**other, "captions": [".txt"]}}) == "todo"
    assert sorted_out(captioned, {}, force=True) == "todo"
    (tmp_path / "a.txt").write_bytes(b"a ball")  # nothing would be lost
    assert sorted_out(captioned, {}) == "todo"


def test_a_file_of_a_captions_name_beside_an_object_without_one_is_nothing_to_it(task, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"precious")
    assert sorted_out(task, {}) == "todo"


def test_force_does_everything(task):
    task.output.write_bytes(b"somebody's work")
    assert sorted_out(task, {"a": line(task)}, force=True) == "todo"
