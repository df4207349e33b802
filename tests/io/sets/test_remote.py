"""Sets behind a scheme are read through copies, which are made once and again when the file changes."""

import sys
import warnings
from pathlib import Path

import pytest

from gatlas import io
from gatlas.errors import GatlasError
from gatlas.io.sets import remote
from gatlas.io.sets.inputs import list_items
from gatlas.io.sets.shards import ShardWriter

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """A store with a folder of atlases and two shards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATLAS_CACHE", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pipe({"/set/a.npz": b"atlas a", "/set/sub/b.npz": b"atlas b", "/set/notes.md": b"text"})
    for number in range(2):
        with ShardWriter(f"s-{number}.tar") as shard:
            shard.add(f"o{number}", ".npz", b"atlas %d" % number)
        system.pipe(f"/shards/s-{number}.tar", Path(f"s-{number}.tar").read_bytes())
    return system


def found(*inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {item.key: io.read_item(item).data for item in list_items(inputs)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("memory://set/a.npz", {"a": b"atlas a"}),
        ("memory://set", {"a": b"atlas a", "sub/b": b"atlas b"}),
        ("memory://shards/s-{0..1}.tar", {"o0": b"atlas 0", "o1": b"atlas 1"}),
        ("memory://shards/s-*.tar", {"o0": b"atlas 0", "o1": b"atlas 1"}),
    ],
)
def test_a_name_with_a_scheme_means_what_it_means_on_disk(given, expected):
    assert found(given) == expected


def test_a_file_is_copied_once_and_again_when_it_changed(store, monkeypatch):
    with pytest.warns(UserWarning, match=r"^memory://set/a\.npz: is copied into "):
        list_items(["memory://set/a.npz"])
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "_open", lambda *_, **__: pytest.fail("it was copied again"))
        assert found("memory://set/a.npz") == {"a": b"atlas a"}
    store.pipe("/set/a.npz", b"another atlas")
    assert found("memory://set/a.npz") == {"a": b"another atlas"}


def test_a_file_scheme_names_a_file(tmp_path):
    assert found(f"file://{tmp_path}/s-0.tar") == {"o0": b"atlas 0"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("memory://set/none.npz", r"^memory://set/none\.npz: there is no such file"),
        ("nowhere://x.tar", r"^nowhere://x\.tar: Protocol not known: nowhere"),
        ("memory://shards/s-{0..2}.tar", r"^memory://shards/s-2\.tar: there is no such file"),
    ],
)
def test_what_cannot_be_had_is_one_line(given, message):
    with pytest.raises(GatlasError, match=message):
        found(given)


def test_without_fsspec_its_name_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(GatlasError, match="names with a scheme need fsspec: pip install fsspec"):
        found("s3://bucket/x.tar")
    assert remote.is_remote("s3://bucket/x.tar")
    assert not remote.is_remote("C:/x.tar")
