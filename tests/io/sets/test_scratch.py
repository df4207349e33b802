"""A scratch folder is one process's at a time, and what is moved out of it replaces only what it may."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from gatlas.errors import GatlasError
from gatlas.io.sets.scratch import append_line, held_scratch, read_lines, replacing, write_lines


def test_one_label_is_held_once_at_a_time(tmp_path):
    with held_scratch(tmp_path, "0-of-2", "busy"):
        with pytest.raises(GatlasError, match="busy"), held_scratch(tmp_path, "0-of-2", "busy"):
            pass
        with held_scratch(tmp_path, "1-of-2", "busy"):
            pass


def test_what_a_killed_process_left_is_removed_by_the_next_with_its_label_and_by_no_other(tmp_path):
    (tmp_path / ".gatlas-batch-0-of-2.lock").touch()
    left = folder_of(tmp_path / ".gatlas-batch-0-of-2.tmp", half=b"half")
    with held_scratch(tmp_path, "1-of-2", "busy"):
        assert contents(left) == {"half": b"half"}
    with held_scratch(tmp_path, "0-of-2", "busy") as scratch:
        assert not list(scratch.iterdir())
    assert not list(tmp_path.glob(".gatlas*"))


def test_processes_that_begin_and_end_at_once_never_hold_one_label_together(tmp_path):
    holders, together = [], []

    def hold(_):
        for _ in range(200):
            with suppress(GatlasError), held_scratch(tmp_path, "0-of-1", "busy"):
                holders.append(1)
                together.append(len(holders))
                holders.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hold, range(4)))
    assert set(together) == {1}
    assert not list(tmp_path.glob(".gatlas*"))


# Replacing


def folder_of(folder, **files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_replaces_an_older_one(tmp_path):
    place, made = folder_of(tmp_path / "a", old=b"old"), folder_of(tmp_path / "scratch/a", new=b"new")
    with replacing(place, made, owned={"old"}):
        assert not place.exists()  # an older folder never counts as the new result
    assert contents(place) == {"new": b"new"}
    assert not list((tmp_path / "scratch").iterdir())


def test_a_folder_that_holds_an_unowned_file_is_not_replaced(tmp_path):
    place = folder_of(tmp_path / "a", old=b"old", notes=b"precious")
    made = folder_of(tmp_path / "scratch/a", new=b"new")
    with (
        pytest.raises(GatlasError, match=r"a/notes: .* move it elsewhere first$"),
        replacing(place, made, owned=["old"]),
    ):
        pytest.fail("the block is not entered")
    assert contents(place) == {"old": b"old", "notes": b"precious"}


def test_a_link_in_a_folder_is_an_unowned_file_too(tmp_path):
    place, made = folder_of(tmp_path / "a"), folder_of(tmp_path / "scratch/a")
    (place / "link").symlink_to(tmp_path)
    with pytest.raises(GatlasError, match="a/link"), replacing(place, made):
        pass


def test_an_older_folder_is_back_where_the_block_fails(tmp_path):
    place, made = folder_of(tmp_path / "a", old=b"old"), folder_of(tmp_path / "scratch/a", new=b"new")
    with pytest.raises(OSError, match="No space"), replacing(place, made, owned={"old"}):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert contents(place) == {"old": b"old"}


def test_no_folder_is_replaced_by_a_file(tmp_path):
    place, made = folder_of(tmp_path / "a.npz", precious=b"work"), tmp_path / "new"
    made.write_bytes(b"atlas")
    with pytest.raises(GatlasError, match="is a folder"), replacing(place, made, owned={"precious"}):
        pass
    assert contents(place) == {"precious": b"work"}


def test_a_folder_behind_a_link_is_replaced_there(tmp_path):
    big, made = folder_of(tmp_path / "big", old=b"old"), folder_of(tmp_path / "scratch/a", new=b"new")
    (tmp_path / "a").symlink_to(big)
    with replacing(tmp_path / "a", made, owned={"old"}):
        pass
    assert (tmp_path / "a").is_symlink()
    assert contents(big) == {"new": b"new"}


def test_a_place_may_lie_on_another_file_system(tmp_path, monkeypatch):
    rename = os.replace

    def replace(source, target):
        if ("there" in str(target)) != ("there" in str(source)):
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(source), None, str(target))
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    scratch = tmp_path / "scratch"
    for content in (b"old", b"new"):
        folder_of(scratch / "views", one=content)
        (scratch / "a.json").write_bytes(content)
        for name, owned in (("views", {"one"}), ("a.json", ())):
            with replacing(tmp_path / "there" / name, scratch / name, owned=owned):
                pass
    assert (tmp_path / "there/a.json").read_bytes() == b"new"
    assert contents(tmp_path / "there/views") == {"one": b"new"}
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["a.json", "views"]
    assert not list(scratch.iterdir())


# Lines


@pytest.mark.parametrize(
    "change",
    [
        {"verb": ["fit"]}, {"status": {}}, {"end": "10"}, {"end": -1}, {"end": True}, {"ended": None}, {"ended": []},
        {"files": ["a"]}, {"files": {"a": 3}}, {"files": {"a": {"b": "c"}}}, {"contents": "abc"},
        {"contents": {"a": None}},
        {"captions": {"a": 1}}, {"kept": "x"}, {"kept": {"end": "x"}}, {"bytes": [1]}, {"id": ["a"]},
    ],
)  # fmt: skip
def test_a_line_with_entries_of_other_types_is_no_line(tmp_path, change):
    good = {
        "id": "a", "status": "ok", "verb": "fit", "end": 10, "ended": 1.5, "files": {"x": None, "y": {"z": 3}},
        "contents": {"p": 1}, "captions": [".txt"], "psnr": float("inf"), "kept": {"status": "ok", "end": 3},
    }  # fmt: skip
    path = tmp_path / "lines.jsonl"
    write_lines(path, [good, {**good, **change}, {"id": "b"}])
    assert list(read_lines(path)) == [good, {"id": "b"}]


def test_lines_without_end_are_no_lines(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text("[" * 100_000 + '\n{"id": "a"}\n{"id": "b", "x": ' + "9" * 10_000 + "}\n")
    assert list(read_lines(path)) == [{"id": "a"}]


def test_a_torn_line_is_no_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    append_line(path, {"id": "a"})
    with path.open("a") as file:
        file.write('[1]\n{"id": 3}\n{"id": "b", "sta')
    assert list(read_lines(path)) == [{"id": "a"}]
    assert json.loads(path.read_text().splitlines()[0]) == {"id": "a"}
    assert list(read_lines(tmp_path / "none.jsonl")) == []
