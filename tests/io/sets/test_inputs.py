"""What the words of a command line mean, as files."""

import contextlib
import errno
import os
import warnings

import pytest

from gatlas.errors import GatlasError
from gatlas.io.sets.inputs import captions_of, list_items, names_many, read_item
from gatlas.io.sets.shards import ShardWriter


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(*names):
    for name in names:
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        with open(name, "wb") as file:
            file.write(name.encode())


def shard(name, *keys, suffix=".npz"):
    with ShardWriter(name) as writer:
        for key in keys:
            writer.add(key, suffix, key.encode())
            writer.add(key, ".txt", b"a caption")


def refusing(listing, name):
    """What lists folders, as it answers one who may not read those of a name."""

    def listed(folder):
        if os.path.basename(str(folder).rstrip("/")) == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listing(folder)

    return listed


def keys(*inputs, **options):
    return [item.key for item in list_items(inputs, **options)]


def test_files_keep_the_order_of_the_command_line():
    touch("b.npz", "a.npz", "chair.v2.npz")
    assert keys("b.npz", "a.npz", "chair.v2.npz") == ["b", "a", "chair.v2"]


def test_a_folder_is_searched_to_the_bottom_and_sorted():
    touch("set/z.npz", "set/cats/tom.npz", "set/a.npz", "set/notes.txt", "set/.gatlas-1.npz", "set/.git/x.npz")
    assert keys("set") == ["a", "cats/tom", "z"]
    assert keys("set/") == ["a", "cats/tom", "z"]
    assert keys("set", suffix=".txt") == ["notes"]


def test_links_to_folders_are_followed_but_not_round_in_circles():
    touch("elsewhere/a.npz", "set/b.npz")
    os.symlink("../elsewhere", "set/more")
    os.symlink(".", "set/round")
    os.symlink("../set", "elsewhere/back")
    assert keys("set") == ["b", "more/a"]


def test_a_pattern_that_the_shell_left_is_expanded():
    touch("set/b.npz", "set/a.npz", "set/c.txt", "other/a.npz")
    assert keys("set/*.npz") == ["a", "b"]
    assert len(keys("**/*.npz")) == 3
    assert keys("set/*") == ["a", "b"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself():
    touch("a[1].npz", "a1.npz")
    assert keys("a[1].npz") == ["a[1]"]


def test_shards_give_their_members():
    shard("set.tar", "b", "cats/a")
    items = list_items(["set.tar"])
    assert [item.key for item in items] == ["b", "cats/a"]
    assert items[0].name == "set.tar:b.npz"
    blob = read_item(items[1])
    assert (blob.data, blob.stem, blob.name) == (b"cats/a", "cats/a", "set.tar:cats/a.npz")
    assert keys("set.tar", suffix=".txt") == ["b", "cats/a"]


def test_a_folder_of_shards_and_a_range_of_shards():
    for i in range(12):
        shard(f"set-{i:03d}.tar", f"object{i}")
    assert keys(".") == [f"object{i}" for i in range(12)]
    assert keys("set-{008..011}.tar") == ["object8", "object9", "object10", "object11"]
    with pytest.raises(GatlasError, match=r"set-012\.tar: there is no such file"):
        list_items(["set-{010..012}.tar"])
    with pytest.raises(GatlasError, match="runs backwards"):
        list_items(["set-{3..1}.tar"])


def test_a_shard_is_known_by_its_content_where_its_name_does_not_tell():
    shard("set.tar", "a")
    os.rename("set.tar", "downloaded")
    assert keys("downloaded") == ["a"]


def test_an_object_with_a_dot_in_its_name_has_one_key_in_a_folder_and_in_a_shard():
    touch("set/chair.v2.npz")
    os.system("tar cf set.tar -C set .")
    assert keys("set") == keys("set.tar") == ["chair.v2"]


def test_a_file_that_is_named_is_taken_whatever_its_suffix_is():
    touch("atlas", "splat.ply")
    assert keys("atlas", "splat.ply") == ["atlas", "splat"]


def test_a_suffix_counts_in_capitals_too():
    touch("set/a.npz", "set/B.NPZ", "set/notes.txt")
    os.system("tar cf more.TAR --transform s/B/C/ -C set a.npz B.NPZ")
    assert keys("set") == keys("set/*") == ["B", "a"]
    assert keys("set/B.NPZ") == ["B"]
    assert keys("more.TAR") == ["a", "C"]
    assert (names_many("set.TGZ"), names_many("more.TAR")) == (False, True)
    os.rename("more.TAR", "set/more.TAR")
    os.rename("set/a.npz", "a.npz")
    assert keys("set") == ["B", "a", "C"]


def test_a_pipe_is_taken_where_it_is_named_and_left_out_of_folders_and_patterns():
    touch("set/a.npz")
    os.mkfifo("set/b.npz")
    os.symlink("b.npz", "set/d.npz")
    assert keys("set") == keys("set/*") == ["a"]
    assert keys("set/b.npz") == ["b"]


def test_a_link_that_leads_nowhere_is_an_item_so_that_it_fails_by_its_name():
    touch("set/a.npz")
    os.symlink("gone", "set/b.npz")
    os.symlink("gone", "set/more")
    os.symlink("c.npz", "set/c.npz")
    os.symlink("round", "set/round")
    assert keys("set") == ["a", "b", "c"]


@pytest.mark.parametrize("word", ["set", "set/*", "set/**/*.npz", "set/*/x.npz"])
def test_a_folder_that_cannot_be_read_is_named(word, monkeypatch):
    touch("set/a.npz", "set/hidden/x.npz")
    monkeypatch.setattr(os, "scandir", refusing(os.scandir, "hidden"))
    with pytest.raises(GatlasError, match=r"^set/hidden/?: Permission denied$"):
        list_items([word])


@pytest.mark.parametrize(("name", "found"), [("b.npz", ["b"]), ("more", None)])
def test_a_link_to_what_may_not_be_looked_at_is_named_unless_it_fails_by_itself(name, found, monkeypatch):
    """Root may look at everything, so an entry that refuses stands in for the link."""

    class Refusing:
        path = f"set/{name}"

        def is_file(self, *, follow_symlinks):
            return False

        def is_dir(self):
            raise PermissionError(errno.EACCES, "Permission denied", self.path)

    entry = Refusing()
    entry.name = name
    os.mkdir("set")
    monkeypatch.setattr(os, "scandir", lambda folder: contextlib.nullcontext([entry]))
    if found is not None:
        assert keys("set") == found
    else:
        with pytest.raises(GatlasError, match=r"^set/more: Permission denied$"):
            list_items(["set"])


def test_photos_in_a_folder_that_cannot_be_read_are_an_error_that_names_it(monkeypatch):
    touch("set/one/transforms.json")
    monkeypatch.setattr(os, "scandir", refusing(os.scandir, "set"))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir, "set"))
    with pytest.raises(GatlasError, match=r"^set: Permission denied$"):
        list_items(["set"], photos=True)


def test_a_file_that_is_named_twice_is_taken_once_with_a_warning():
    touch("set/a.npz", "set/b.npz")
    with pytest.warns(UserWarning, match="files that are named twice are taken once: 1 left out"):
        assert keys("set/b.npz", "set") == ["b", "a"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert keys("set") == ["a", "b"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nowhere.npz", r"^nowhere\.npz: there is no such file$"),
        ("no*.npz", r"^no\*\.npz: matches no file$"),
        ("empty", r"^empty: there are no \.npz files in it$"),
        ("captions.tar", r"^captions\.tar: there are no \.npz files in it$"),
        ("", "the name of an input is empty"),
        ("set.tar.gz", "decompress it first"),
    ],
)
def test_a_word_that_gives_nothing_is_an_error(word, message):
    os.mkdir("empty")
    shard("captions.tar", "a", suffix=".json")
    os.system("gzip -c captions.tar > set.tar.gz")
    with pytest.raises(GatlasError, match=message):
        list_items([word])


def test_the_captions_of_an_object_are_those_of_its_whole_name():
    touch("set/chair.ply", "set/chair.txt", "set/chair.v2.ply", "set/chair.v2.txt", "set/chair.v2.json", "set/lamp.ply")
    touch("set/Sofa.PLY", "set/Sofa.TXT")
    os.system("tar cf set.tar -C set .")
    found = {item.key: captions_of(item.source) for item in list_items(["set.tar"], ".ply")}
    assert found == {
        "chair": {".txt": b"set/chair.txt"},
        "Sofa": {".txt": b"set/Sofa.TXT"},
        "chair.v2": {".txt": b"set/chair.v2.txt", ".json": b"set/chair.v2.json"},
        "lamp": {},
    }
