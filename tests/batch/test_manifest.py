"""Results of a batch: whole or not there, found again after a stop, and one process at a time."""

import errno
import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from gatlas.batch.manifest import FolderResults, Made, TarResults
from gatlas.batch.work import Task
from gatlas.errors import GatlasError
from gatlas.io.sets.scratch import new_path


def file_in(scratch, content):
    path = new_path(scratch)
    path.write_bytes(content)
    return path


def folder_in(scratch, **files):
    folder = new_path(scratch)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def store(results, path, output=None, captions=None, sidecars=None, key="a", earlier=None, **line):
    task = Task(key, Path(f"{key}.ply"), f"{key}.ply", output)
    line = {"id": key, "status": "ok", **line}
    results.store(Made(task, line, path, captions or {}, sidecars or {}, earlier or {}))


def test_a_result_is_recorded_and_moved_to_its_place(tmp_path):
    results = FolderResults(tmp_path / "out", 0, 1)
    with results.opened() as scratch:
        store(results, file_in(scratch, b"atlas"), tmp_path / "out/sub/a.npz")
    assert (tmp_path / "out/sub/a.npz").read_bytes() == b"atlas"
    known = FolderResults(tmp_path / "out", 0, 1).known()
    assert known["a"]["bytes"] == 5
    assert results.holds(known["a"], tmp_path / "out/sub/a.npz")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest-0-of-1.jsonl", "sub"]


def test_a_result_that_was_changed_is_not_held(tmp_path):
    results = FolderResults(tmp_path, 0, 1)
    with results.opened() as scratch:
        store(results, file_in(scratch, b"atlas"), tmp_path / "a.npz")
    line = results.known()["a"]
    (tmp_path / "a.npz").write_bytes(b"altas")
    assert not results.holds(line, tmp_path / "a.npz")
    (tmp_path / "a.npz").unlink()
    assert not results.holds(line, tmp_path / "a.npz")


def test_a_copy_of_the_folder_is_known_by_its_content(tmp_path):
    digest = hashlib.sha256(b"atlas").hexdigest()
    results = FolderResults(tmp_path, 0, 1)
    with results.opened() as scratch:
        store(results, file_in(scratch, b"atlas"), tmp_path / "a.npz", output_sha256=digest)
    os.utime(tmp_path / "a.npz", ns=(0, 0))
    assert results.holds(results.known()["a"], tmp_path / "a.npz")


def test_the_newest_line_of_all_shards_counts(tmp_path):
    old = {"id": "a", "status": "failed", "ended": 1.0}
    new = {"id": "a", "status": "ok", "ended": 2.0}
    (tmp_path / "manifest-0-of-2.jsonl").write_text(json.dumps(new) + "\n")
    (tmp_path / "manifest-0-of-1.jsonl").write_text(json.dumps(old) + "\n")
    assert FolderResults(tmp_path, 0, 1).known()["a"]["status"] == "ok"


def test_a_torn_line_is_gone_after_the_next_start(tmp_path):
    manifest = tmp_path / "manifest-0-of-1.jsonl"
    manifest.write_text('{"id": "a", "status": "ok"}\n{"id": "b", "sta')
    results = FolderResults(tmp_path, 0, 1)
    with results.opened():
        assert results.known().keys() == {"a"}
        results.record({"id": "c", "status": "ok"})
    assert [json.loads(line)["id"] for line in manifest.read_text().splitlines()] == ["a", "c"]


def test_the_manifest_has_one_line_per_object_after_many_attempts(tmp_path):
    results = FolderResults(tmp_path, 0, 1)
    for status in ("failed", "failed", "ok"):
        with results.opened():
            results.record({"id": "a", "status": status})
    with results.opened():
        pass
    assert [json.loads(line)["status"] for line in results.manifest.read_text().splitlines()] == ["ok"]


def test_one_shard_runs_once_at_a_time(tmp_path):
    with FolderResults(tmp_path, 0, 2).opened():
        with pytest.raises(GatlasError, match="another process is at work"), FolderResults(tmp_path, 0, 2).opened():
            pass
        with FolderResults(tmp_path, 1, 2).opened():
            pass


class Killed(BaseException):
    """What ends a process at once."""


def test_an_older_folder_never_counts_as_the_new_result(tmp_path, monkeypatch):
    results, place = FolderResults(tmp_path / "out", 0, 1), tmp_path / "out/a"
    with results.opened() as scratch:
        store(results, folder_in(scratch, one=b"old"), place)
        earlier, record = results.known()["a"], results.record

        def record_and_die(line):
            record(line)
            raise Killed

        monkeypatch.setattr(results, "record", record_and_die)
        with pytest.raises(Killed):
            store(results, folder_in(scratch, two=b"new"), place, earlier=earlier)
    assert not results.holds(results.known()["a"], place)


def test_a_folder_replaces_an_older_one(tmp_path):
    results = FolderResults(tmp_path, 0, 1)
    for name in ("old.png", "new.png"):
        with results.opened() as scratch:
            store(results, folder_in(scratch, **{name: b"picture"}), tmp_path / "a", earlier=results.known().get("a"))
    assert results.holds(results.known()["a"], tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["new.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "manifest-0-of-1.jsonl"]


def test_a_folder_with_an_unowned_file_is_not_replaced_and_nothing_is_recorded(tmp_path):
    results = FolderResults(tmp_path, 0, 1)
    with results.opened() as scratch:
        store(results, folder_in(scratch, one=b"1", two=b"2"), tmp_path / "a")
        (tmp_path / "a/notes").write_bytes(b"precious")
        earlier = results.known()["a"]
        with pytest.raises(GatlasError, match="a/notes: a new result would replace its folder"):
            store(results, folder_in(scratch, one=b"new"), tmp_path / "a", earlier=earlier)
        assert results.known()["a"] == earlier
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["notes", "one", "two"]


def test_an_older_folder_is_back_where_the_new_one_cannot_be_recorded(tmp_path, monkeypatch):
    results = FolderResults(tmp_path, 0, 1)
    with results.opened() as scratch:
        store(results, folder_in(scratch, one=b"old"), tmp_path / "a")
        earlier = results.known()["a"]

        def fail(line):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(results, "record", fail)
        with pytest.raises(GatlasError, match="No space"):
            store(results, folder_in(scratch, one=b"new"), tmp_path / "a", earlier=earlier)
    assert (tmp_path / "a/one").read_bytes() == b"old"


def test_a_result_is_not_in_its_place_before_its_captions(tmp_path):
    results = FolderResults(tmp_path, 0, 1)
    with results.opened() as scratch:
        new = file_in(scratch, b"atlas")
        (tmp_path / "a.txt").mkdir()  # which cannot be written to
        with pytest.raises(GatlasError, match=r"a\.txt"):
            store(results, new, tmp_path / "a.npz", {".txt": b"words"})
        assert not (tmp_path / "a.npz").exists()
        (tmp_path / "a.txt").rmdir()
        store(results, new, tmp_path / "a.npz", {".txt": b"words"})
    assert (tmp_path / "a.txt").read_bytes() == b"words"
    assert results.known()["a"]["captions"] == [".txt"]


def test_a_folder_that_lost_a_picture_is_not_held(tmp_path):
    results = FolderResults(tmp_path, 0, 1)
    with results.opened() as scratch:
        store(results, folder_in(scratch, one=b"1", two=b"22"), tmp_path / "a")
    line = results.known()["a"]
    assert results.holds(line, tmp_path / "a")
    (tmp_path / "a/two").write_bytes(b"2")
    assert not results.holds(line, tmp_path / "a")


def test_two_verbs_in_one_folder_know_their_own_results(tmp_path):
    for verb in ("prune", "encode"):
        results = FolderResults(tmp_path, 0, 1, verb)
        with results.opened():
            results.record({"id": "a", "status": "ok", "verb": verb})
    for verb in ("prune", "encode"):
        assert FolderResults(tmp_path, 0, 1, verb).known()["a"]["verb"] == verb


# Tars


def test_a_tar_grows_and_is_resumed_after_its_last_whole_object(tmp_path):
    tar = tmp_path / "x.tar"
    results = TarResults(tar, ".npz")
    with results.opened() as scratch:
        results.resume(0)
        store(results, file_in(scratch, b"first"), captions={".txt": b"words"})
        with results.growing.partial.open("ab") as file:
            file.write(b"torn by a kill")
    results = TarResults(tar, ".npz")
    with results.opened() as scratch:
        known = results.known()
        assert known.keys() == {"a"}
        results.resume(known["a"]["end"])
        store(results, file_in(scratch, b"second"), key="b")
        results.growing.finish()
    assert not results.growing.partial.exists()
    with tarfile.open(tar) as archive:
        assert {member.name: archive.extractfile(member).read() for member in archive} == {
            "a.npz": b"first",
            "a.txt": b"words",
            "b.npz": b"second",
        }
    assert tar.stat().st_size % 10240 == 0


def test_a_finished_tar_can_be_added_to(tmp_path):
    for name in ("a", "b"):
        results = TarResults(tmp_path / "x.tar", ".npz")
        with results.opened() as scratch:
            results.resume(max((line["end"] for line in results.known().values()), default=0))
            store(results, file_in(scratch, name.encode()), key=name)
            results.growing.finish()
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert archive.getnames() == ["a.npz", "b.npz"]


def test_a_tar_that_was_killed_before_its_report_was_in_its_place_does_that_object_again(tmp_path, monkeypatch):
    results = TarResults(tmp_path / "x.tar", ".npz")
    with results.opened() as scratch:
        results.resume(0)

        def die(made):
            raise Killed

        monkeypatch.setattr(Made, "store_sidecars", die)
        with pytest.raises(Killed):
            store(results, file_in(scratch, b"atlas"), sidecars={tmp_path / "a.json": file_in(scratch, b"{}")})
    assert TarResults(tmp_path / "x.tar", ".npz").known() == {}
