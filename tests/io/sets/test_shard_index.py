"""The headers of a shard are read once, and an index that is not the shard's is not believed."""

import multiprocessing
import os
from pathlib import Path

import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.sets import shard_index as indexes
from gatlas.io.sets.captions import captions_beside
from gatlas.io.sets.inputs import captions_of_shard, list_columns, list_items
from gatlas.io.sets.shard_index import FEWEST, MOST_OF_TEXT, index_path, keep_index, shard_index
from gatlas.io.sets.shards import ShardWriter, list_members, read_member

COUNT = FEWEST


def write_shard(path, count=COUNT, text="a {} chair"):
    with ShardWriter(path, force=True) as shard:
        for number in range(count):
            shard.add(f"sub/o{number:03d}", ".v2.npz" if number == 3 else ".npz", b"atlas %d" % number)
            shard.add(f"sub/o{number:03d}", ".txt", text.format(number).encode())
    keep_index(path)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATLAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(indexes, "KEPT", {})
    indexes.warn_once.cache_clear()


@pytest.fixture
def scans(monkeypatch):
    """The shards whose headers are read from now on."""
    read = []
    monkeypatch.setattr(indexes, "list_members", lambda path: read.append(str(path)) or list_members(path))
    return read


def test_a_shard_that_is_indexed_when_it_is_made_gives_what_its_headers_give(scans):
    write_shard("x.tar")
    scans.clear()
    assert shard_index("x.tar").members == list_members("x.tar")
    assert [item.key for item in list_items(["x.tar"])][:4] == ["sub/o000", "sub/o001", "sub/o002", "sub/o003.v2"]
    assert [io.read_item(item).data for item in list_items(["x.tar"])] == [b"atlas %d" % i for i in range(COUNT)]
    assert captions_of_shard("x.tar")["sub/o001"][".txt"] == list_members("x.tar")[3]
    assert scans == []


def test_captions_come_from_the_index_and_are_those_of_the_shard(scans, monkeypatch):
    write_shard("x.tar", text="a {} chair, " + "long " * (MOST_OF_TEXT // 5))
    write_shard("short.tar")
    scans.clear()
    assert captions_beside(list_columns(["short.tar"]))[7] == ("a 7 chair",)
    index = shard_index("x.tar")
    assert not index.texts
    assert all(index.read(each) == read_member(each) for each in (*index.members, *shard_index("short.tar").members))
    assert scans == []


def test_a_tar_of_another_program_is_indexed_on_first_use(scans):
    write_shard("x.tar")
    index_path("x.tar").unlink()
    scans.clear()
    for _ in range(3):
        assert len(list_items(["x.tar"])) == COUNT
    assert scans == ["x.tar"]
    assert list_items(["*.tar"]) == list_items(["x.tar"])


def test_a_few_members_are_read_without_an_index(scans):
    write_shard("x.tar", FEWEST // 2 - 1)
    assert not index_path("x.tar").exists()
    assert len(list_items(["x.tar"])) == FEWEST // 2 - 1
    write_shard("y.tar", 3)
    assert len(list_items(["y.tar"])) == 3
    assert not [path for path in Path("cache").rglob("*") if path.suffix == ".index"]


def test_a_shard_that_changed_is_read_again(scans):
    write_shard("x.tar")
    kept = index_path("x.tar").read_bytes()
    write_shard("x.tar", COUNT + 1)
    index_path("x.tar").write_bytes(kept)
    scans.clear()
    assert len(list_items(["x.tar"])) == COUNT + 1
    os.utime("x.tar", ns=(0, 0))
    assert len(list_items(["x.tar"])) == COUNT + 1
    assert scans == ["x.tar", "x.tar"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:50],
        lambda text: text[:-8],
        lambda text: text[:-4],
        lambda text: b"{}\n",
        lambda text: b"[1]\n",
        lambda text: text.replace(b'"keys":["sub/o000"', b'"keys":["../o000"'),
        lambda text: text.replace(b'"keys":["sub/o000"', b'"keys":["/b/o000"'),
        lambda text: text.replace(b'"keys":["sub/o000"', b'"keys":[7'),
        lambda text: text.replace(b'"keys":["sub/o000",', b'"keys":['),
        lambda text: text.replace(b'"a 7 chair"', b"[1]"),
        lambda text: text[:-8] + b"\xff" * 8,
        lambda text: text[:-8] + b"\0\0\0\0\0\0\0\x01",
    ],
)
def test_a_damaged_index_is_not_believed(damage, scans):
    write_shard("x.tar")
    place = index_path("x.tar")
    damaged = damage(place.read_bytes())
    assert damaged != place.read_bytes()
    place.write_bytes(damaged)
    scans.clear()
    assert shard_index("x.tar").members == list_members("x.tar")
    assert scans == ["x.tar"]
    assert shard_index("x.tar").texts
    assert scans == ["x.tar"]  # it was written anew


def test_in_a_folder_that_cannot_be_written_the_index_lies_in_the_cache_which_is_said_once(scans, monkeypatch):
    Path("set").mkdir()
    for name in ("set/a.tar", "set/b.tar"):
        write_shard(name)
        index_path(name).unlink()
    written = indexes.write_index
    monkeypatch.setattr(
        indexes, "write_index", lambda place, *rest, **how: place.parent.name != "set" and written(place, *rest, **how)
    )
    scans.clear()
    with pytest.warns(UserWarning, match=r"^set: cannot be written: the indexes of its shards are kept in ") as warned:
        list_items(["set"])
    list_items(["set"])
    assert len(warned) == 1
    assert scans == ["set/a.tar", "set/b.tar"]


def test_where_nothing_can_be_written_the_index_is_in_memory(scans, monkeypatch):
    write_shard("x.tar")
    index_path("x.tar").unlink()
    monkeypatch.setattr(indexes, "write_index", lambda *_, **__: False)
    scans.clear()
    with pytest.warns(UserWarning, match=r"neither it nor .* can be written"):
        list_items(["x.tar"])
    list_items(["x.tar"])
    assert scans == ["x.tar"]


def _list_and_note(name):
    def noted(path):
        with open("scanned", "a") as file:
            file.write(f"{path}\n")
        return list_members(path)

    indexes.list_members = noted
    return len(list_items([name]))


def test_of_processes_that_ask_at_once_one_reads_the_headers():
    write_shard("x.tar")
    index_path("x.tar").unlink()
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(_list_and_note, ["x.tar"] * 8) == [COUNT] * 8
    assert Path("scanned").read_text() == "x.tar\n"


def test_what_is_wrong_with_a_shard_is_said_of_it():
    Path("x.tar").write_bytes(write_shard("y.tar") and Path("y.tar").read_bytes()[:-2048])
    with pytest.raises(GatlasError, match=r"^x\.tar: truncated"):
        list_items(["x.tar"])
    with pytest.raises(GatlasError, match=r"^none\.tar: "):
        shard_index("none.tar")
