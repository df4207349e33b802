"""Results of a batch: whole or not there, found again after a stop, and one process at a time."""

import errno
import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from gatlas.errors import GatlasError
from gatlas.io.sets.results import FolderResults, TarResults


def made(results, name, content):
    path = results.scratch_path(name)
    path.write_bytes(content)
    return path


def test_a_result_is_recorded_and_moved_to_its_place(tmp_path):
    with FolderResults(tmp_path / "out", 0, 1) as results:
        results.store({"id": "a", "status": "ok"}, made(results, "a.npz", b"atlas"), tmp_path / "out/sub/a.npz", {})
    assert (tmp_path / "out/sub/a.npz").read_bytes() == b"atlas"
    known = FolderResults(tmp_path / "out", 0, 1).known()
    assert known["a"]["bytes"] == 5
    assert results.holds(known["a"], tmp_path / "out/sub/a.npz")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest-0-of-1.jsonl", "sub"]


def test_a_result_that_was_changed_is_not_held(tmp_path):
    with FolderResults(tmp_path, 0, 1) as results:
        results.store({"id": "a", "status": "ok"}, made(results, "a.npz", b"atlas"), tmp_path / "a.npz", {})
        line = results.known()["a"]
        (tmp_path / "a.npz").write_bytes(b"altas")
        assert not results.holds(line, tmp_path / "a.npz")
        (tmp_path / "a.npz").unlink()
        assert not results.holds(line, tmp_path / "a.npz")


def test_a_copy_of_the_folder_is_known_by_its_content(tmp_path):
    import hashlib

    digest = hashlib.sha256(b"atlas").hexdigest()
    with FolderResults(tmp_path, 0, 1) as results:
        line = {"id": "a", "status": "ok", "output_sha256": digest}
        results.store(line, made(results, "a.npz", b"atlas"), tmp_path / "a.npz", {})
        os.utime(tmp_path / "a.npz", ns=(0, 0))
        assert results.holds(results.known()["a"], tmp_path / "a.npz")


def test_the_newest_line_of_all_shards_counts(tmp_path):
    old = {"id": "a", "status": "failed", "ended": 1.0}
    new = {"id": "a", "status": "ok", "ended": 2.0}
    (tmp_path / "manifest-0-of-2.jsonl").write_text(json.dumps(new) + "\n")
    (tmp_path / "manifest-0-of-1.jsonl").write_text(json.dumps(old) + "\n")
    assert FolderResults(tmp_path, 0, 1).known()["a"]["status"] == "ok"


def test_a_torn_line_is_no_line_and_is_gone_after_the_next_start(tmp_path):
    manifest = tmp_path / "manifest-0-of-1.jsonl"
    manifest.write_text('{"id": "a", "status": "ok"}\n{"id": "b", "sta')
    with FolderResults(tmp_path, 0, 1) as results:
        assert results.known().keys() == {"a"}
        results.record({"id": "c", "status": "ok"})
    assert [json.loads(line)["id"] for line in manifest.read_text().splitlines()] == ["a", "c"]


def test_the_manifest_has_one_line_an_object_after_many_tries(tmp_path):
    for status in ("failed", "failed", "ok"):
        with FolderResults(tmp_path, 0, 1) as results:
            results.record({"id": "a", "status": status})
    with FolderResults(tmp_path, 0, 1):
        pass
    assert [json.loads(line)["status"] for line in results.manifest.read_text().splitlines()] == ["ok"]


def test_one_shard_runs_once_at_a_time(tmp_path):
    with FolderResults(tmp_path, 0, 2):
        with pytest.raises(GatlasError, match="another process is at work"), FolderResults(tmp_path, 0, 2):
            pass
        with FolderResults(tmp_path, 1, 2):
            pass


def test_what_killed_processes_left_is_removed_and_what_living_ones_make_is_kept(tmp_path):
    for label in ("3-of-9", "0-of-2"):
        (tmp_path / f".gatlas-batch-{label}.lock").write_text(os.uname().nodename)
        (tmp_path / f".gatlas-batch-{label}.tmp").mkdir()
        (tmp_path / f".gatlas-batch-{label}.tmp" / "half.npz").write_bytes(b"half")
    with FolderResults(tmp_path, 1, 2) as other:
        kept = made(other, "x.npz", b"in work")
        with FolderResults(tmp_path, 0, 2):
            assert not list(tmp_path.glob(".gatlas-batch-3-of-9*"))
            assert kept.exists()
            assert not (tmp_path / ".gatlas-batch-0-of-2.tmp" / "half.npz").exists()
    assert not list(tmp_path.glob(".gatlas*"))


def test_the_scratch_folder_of_another_machine_is_left_alone(tmp_path):
    (tmp_path / ".gatlas-batch-3-of-9.lock").write_text(os.uname().nodename + "-2")
    (tmp_path / ".gatlas-batch-3-of-9.tmp").mkdir()
    with FolderResults(tmp_path, 0, 2):
        pass
    assert (tmp_path / ".gatlas-batch-3-of-9.tmp").exists()
    with FolderResults(tmp_path, 3, 9):  # whoever goes on with it takes it over
        pass
    assert not list(tmp_path.glob(".gatlas*"))


def test_many_processes_that_begin_at_once_do_not_hinder_each_other(tmp_path):
    def begin(index):
        for _ in range(20):
            with FolderResults(tmp_path, index, 4) as results:
                made(results, ".npz", b"in work")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(begin, range(4))) == [None] * 4
    assert not list(tmp_path.glob(".gatlas*"))


class Killed(BaseException):
    """What ends a process at once."""


def store_and_be_killed_behind_the_line(monkeypatch, results, output, new):
    record = results.record

    def record_and_die(line):
        record(line)
        raise Killed

    monkeypatch.setattr(results, "record", record_and_die)
    with pytest.raises(Killed):
        results.store({"id": "a", "status": "ok"}, new, output, {})


def test_an_older_folder_never_counts_as_the_new_result(tmp_path, monkeypatch):
    place = tmp_path / "out/a"
    place.mkdir(parents=True)
    (place / "old.png").write_bytes(b"old")
    with FolderResults(tmp_path / "out", 0, 1) as results:
        new = results.scratch_path("")
        new.mkdir()
        store_and_be_killed_behind_the_line(monkeypatch, results, place, new)
    assert not results.holds(results.known()["a"], place)


def test_a_folder_replaces_an_older_one(tmp_path):
    for name in ("old.png", "new.png"):
        with FolderResults(tmp_path, 0, 1) as results:
            folder = results.scratch_path("")
            folder.mkdir()
            (folder / name).write_bytes(b"picture")
            earlier = results.known().get("a", {})
            results.store({"id": "a", "status": "ok"}, folder, tmp_path / "a", {}, earlier=earlier)
    assert results.holds(results.known()["a"], tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["new.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "manifest-0-of-1.jsonl"]


def test_a_result_is_not_in_its_place_before_its_captions(tmp_path):
    with FolderResults(tmp_path, 0, 1) as results:
        new = made(results, "a.npz", b"atlas")
        (tmp_path / "a.txt").mkdir()  # which cannot be written to
        with pytest.raises(GatlasError, match=r"a\.txt"):
            results.store({"id": "a", "status": "ok"}, new, tmp_path / "a.npz", {".txt": b"words"})
        assert not (tmp_path / "a.npz").exists()
        (tmp_path / "a.txt").rmdir()
        results.store({"id": "a", "status": "ok"}, new, tmp_path / "a.npz", {".txt": b"words"})
    assert (tmp_path / "a.txt").read_bytes() == b"words"
    assert results.known()["a"]["captions"] == [".txt"]


def test_a_tar_grows_and_is_gone_on_with_behind_its_last_whole_object(tmp_path):
    tar = tmp_path / "x.tar"
    with TarResults(tar, ".npz") as results:
        results.go_on(0)
        results.store({"id": "a", "status": "ok"}, made(results, "a.npz", b"first"), None, {".txt": b"words"})
        with results.partial.open("ab") as file:
            file.write(b"torn by a kill")
    with TarResults(tar, ".npz") as results:
        known = results.known()
        assert known.keys() == {"a"}
        results.go_on(known["a"]["end"])
        results.store({"id": "b", "status": "ok"}, made(results, "b.npz", b"second"), None, {})
        results.finish()
    assert not results.partial.exists()
    with tarfile.open(tar) as archive:
        assert {member.name: archive.extractfile(member).read() for member in archive} == {
            "a.npz": b"first",
            "a.txt": b"words",
            "b.npz": b"second",
        }
    assert tar.stat().st_size % 10240 == 0


def test_a_finished_tar_can_be_added_to(tmp_path):
    tar = tmp_path / "x.tar"
    for name in ("a", "b"):
        with TarResults(tar, ".npz") as results:
            results.go_on(max((line["end"] for line in results.known().values()), default=0))
            results.store({"id": name, "status": "ok"}, made(results, "r", name.encode()), None, {})
            results.finish()
    with tarfile.open(tar) as archive:
        assert archive.getnames() == ["a.npz", "b.npz"]


def folder_of(results, **files):
    folder = results.scratch_path("")
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_that_lost_a_picture_is_not_held(tmp_path):
    with FolderResults(tmp_path, 0, 1) as results:
        results.store({"id": "a", "status": "ok"}, folder_of(results, one=b"1", two=b"22"), tmp_path / "a", {})
        line = results.known()["a"]
        assert results.holds(line, tmp_path / "a")
        (tmp_path / "a/two").write_bytes(b"2")
        assert not results.holds(line, tmp_path / "a")


def test_a_strangers_file_in_a_folder_that_is_replaced_is_kept(tmp_path):
    with FolderResults(tmp_path, 0, 1) as results:
        results.store({"id": "a", "status": "ok"}, folder_of(results, one=b"1", two=b"2"), tmp_path / "a", {})
        (tmp_path / "a/notes").write_bytes(b"precious")
        earlier = results.known()["a"]
        line = {"id": "a", "status": "ok"}
        results.store(line, folder_of(results, one=b"new"), tmp_path / "a", {}, earlier=earlier)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == {
        "one": b"new",
        "notes": b"precious",
    }


def test_an_older_folder_is_back_where_the_new_one_cannot_be_recorded(tmp_path, monkeypatch):
    with FolderResults(tmp_path, 0, 1) as results:
        results.store({"id": "a", "status": "ok"}, folder_of(results, one=b"old"), tmp_path / "a", {})
        new = folder_of(results, one=b"new")

        def fail(line):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(results, "record", fail)
        with pytest.raises(GatlasError, match="No space"):
            results.store({"id": "a", "status": "ok"}, new, tmp_path / "a", {})
    assert (tmp_path / "a/one").read_bytes() == b"old"


def test_no_folder_is_replaced_by_a_file(tmp_path):
    (tmp_path / "a.npz").mkdir()
    (tmp_path / "a.npz/precious").write_bytes(b"work")
    with FolderResults(tmp_path, 0, 1) as results, pytest.raises(GatlasError, match="is a folder"):
        results.store({"id": "a", "status": "ok"}, made(results, "a.npz", b"atlas"), tmp_path / "a.npz", {})
    assert (tmp_path / "a.npz/precious").read_bytes() == b"work"


def test_what_stands_beside_a_result_may_lie_on_another_file_system(tmp_path, monkeypatch):
    rename = os.replace

    def replace(source, target):
        if "there" in str(target) and ".gatlas-batch" in str(source):
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(source), None, str(target))
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with FolderResults(tmp_path / "out", 0, 1) as results:
        for content in (b"old", b"new"):
            beside = {
                tmp_path / "there/a.json": made(results, "a.json", content),
                tmp_path / "there/views": folder_of(results, one=content),
            }
            earlier = results.known().get("a", {})
            new = made(results, "a.npz", content)
            results.store({"id": "a", "status": "ok"}, new, tmp_path / "out/a.npz", {}, beside, earlier)
    assert (tmp_path / "there/a.json").read_bytes() == b"new"
    assert (tmp_path / "there/views/one").read_bytes() == b"new"
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["a.json", "views"]


def test_a_tar_that_was_killed_before_its_report_was_in_its_place_does_that_object_again(tmp_path, monkeypatch):
    report = tmp_path / "a.json"
    with TarResults(tmp_path / "x.tar", ".npz") as results:
        results.go_on(0)
        monkeypatch.setattr(results, "put", lambda *_: (_ for _ in ()).throw(Killed))
        beside = {report: made(results, "a.json", b"{}")}
        new = made(results, "a.npz", b"atlas")
        with pytest.raises(Killed):
            results.store({"id": "a", "status": "ok"}, new, None, {}, beside)
    assert TarResults(tmp_path / "x.tar", ".npz").known() == {}


def test_two_verbs_in_one_folder_know_their_own_results(tmp_path):
    for verb in ("prune", "encode"):
        with FolderResults(tmp_path, 0, 1, verb) as results:
            results.record({"id": "a", "status": "ok", "verb": verb})
    for verb in ("prune", "encode"):
        with FolderResults(tmp_path, 0, 1, verb) as results:
            assert results.known()["a"]["verb"] == verb


def test_a_kill_while_a_folder_is_replaced_loses_no_strangers_file(tmp_path, monkeypatch):
    place = tmp_path / "out/a"
    with FolderResults(tmp_path / "out", 0, 1) as results:
        results.store({"id": "a", "status": "ok"}, folder_of(results, one=b"old"), place, {})
        (place / "notes").write_bytes(b"precious")
        earlier, new = results.known()["a"], folder_of(results, one=b"new")
        kept = []

        def record_and_die(line):
            kept.extend(path.read_bytes() for path in new.iterdir() if path.name == "notes")
            raise Killed

        monkeypatch.setattr(results, "record", record_and_die)
        with pytest.raises(Killed):
            results.store({"id": "a", "status": "ok"}, new, place, {}, earlier=earlier)
    assert kept == [b"precious"]
    assert {path.name for path in place.iterdir()} == {"one", "notes"}


def test_a_folder_behind_a_link_is_made_anew_there(tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").symlink_to(tmp_path / "big")
    for content in (b"old", b"new"):
        with FolderResults(tmp_path / "out", 0, 1) as results:
            earlier = results.known().get("a", {})
            results.store(
                {"id": "a", "status": "ok"}, folder_of(results, one=content), tmp_path / "out/a", {}, earlier=earlier
            )
    assert (tmp_path / "out/a").is_symlink()
    assert (tmp_path / "big/one").read_bytes() == b"new"
