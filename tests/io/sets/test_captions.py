"""Captions: five formats, and those beside the atlases."""

import json
import os
import tarfile
from io import BytesIO

import pytest

from gatlas.errors import GatlasError
from gatlas.io.sets.captions import captions_beside, load_captions
from gatlas.io.sets.inputs import list_columns
from gatlas.io.streams import Blob

EXPECTED = {"a1": ("a red cube, shiny",), "dir/b2": ('a "blue" ball',)}


def blob(text):
    return Blob("captions", text.encode())


@pytest.mark.parametrize(
    "text",
    [
        'a1,"a red cube, shiny"\ndir/b2,"a ""blue"" ball"\n',
        'a1, "a red cube, shiny"\ndir/b2,  "a ""blue"" ball"\n',
        'extra,caption,uid\r\n1,"a red cube, shiny",a1\r\n2,"a ""blue"" ball",dir/b2\r\n',
        'uid;caption\na1;a red cube, shiny\ndir/b2;"a ""blue"" ball"\n',
        'key\ttext\na1\ta red cube, shiny\ndir/b2\t"a ""blue"" ball"\n',
        json.dumps(
            [
                {"obj_id": "a1", "3dtopia": "a red cube, shiny", "x": 1},
                {"obj_id": "dir/b2", "3dtopia": 'a "blue" ball'},
            ]
        ),
        json.dumps({identity: texts[0] for identity, texts in EXPECTED.items()}, indent=1),
        "\n".join(json.dumps({"id": identity, "text": list(texts)}) for identity, texts in EXPECTED.items()) + "\n\n",
    ],
    ids=["cap3d", "a blank before the quote", "csv", "semicolons", "tabs", "3dtopia", "gaussianverse", "jsonl"],
)
def test_every_format_gives_the_same_captions(text):
    assert load_captions(blob(text)) == EXPECTED
    assert load_captions(blob("\ufeff" + text)) == EXPECTED


def found_beside(path):
    items = list_columns([str(path)])
    return {items.keys[place]: texts for place, texts in captions_beside(items).items()}


def test_one_json_line_is_a_record_and_not_a_map():
    assert load_captions(blob('{"id": "a", "caption": "a hat"}\n')) == {"a": ("a hat",)}


def test_an_id_that_comes_twice_has_two_captions():
    assert load_captions(blob("a,one\nb,other\na,two\na,one\n")) == {"a": ("one", "two"), "b": ("other",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,one\nb,two,three\n", "line 2: must have 2 columns, has 3; a caption with a comma"),
        ('a,one\nb,"two\nlines"\nc\n', "line 4: must have 2 columns, has 1"),
        ("a;one\n", "line 1: must have 2 columns, has 1; divide the id and the caption by a comma"),
        ("a,one\nb,\n", "line 2: the caption of 'b' is empty"),
        (",one\n", "line 1: the id is empty"),
        ('{"id": "a", "text": "x"}\n{"id": "b", "text": \n', "line 2: damaged: not JSON"),
        ('{"id": "a", "text": "x"}\n{"id": "b"}\n', "line 2: has no field for a caption"),
        ('[{"obj_id": "a", "3dtopia": 5}]', "record 1: the caption must be a text"),
        ('{"a": "x", "b": 3}', "'b': the caption must be a text"),
        ('{"a": "x",', "captions: damaged: not JSON"),
        ("[" * 100_000, "captions: "),
        ("", "no captions"),
        ("[]", "no captions"),
        ('a,"open\n', "line 1: damaged CSV"),
    ],
)
def test_a_broken_file_is_one_line_that_says_where(text, message):
    with pytest.raises(GatlasError) as error:
        load_captions(Blob("captions", text.encode()))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(GatlasError, match="not a UTF-8 text"):
        load_captions(Blob("captions", b"\xff\xfe\x00a"))


def write_shard(path, *members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, BytesIO(data))


def test_a_caption_beside_its_atlas_in_a_shard_is_found(tmp_path):
    members = {
        "set/a.npz": b"x",
        "set/a.txt": b"a red cube\n",
        "b.npz": b"x",
        "b.json": b'{"caption": ["one", "two"], "x": 1}',
        "c.npz": b"x",
        "c.json": b'{"license": "by"}',
        "d.txt": b"nobody's",
    }
    write_shard(tmp_path / "s.tar", *members.items())
    assert found_beside(tmp_path / "s.tar") == {"set/a": ("a red cube",), "b": ("one", "two")}


def test_a_caption_in_a_shard_is_its_own_atlases_alone(tmp_path):
    write_shard(tmp_path / "0.tar", ("000.npz", b"x"), ("000.txt", b"a red cube"), ("001.npz", b"x"))
    write_shard(tmp_path / "1.tar", ("000.npz", b"y"), ("000.txt", b"a golden ring"), ("001.txt", b"nobody's"))
    items = list_columns([str(tmp_path / "0.tar"), str(tmp_path / "1.tar")])
    found = captions_beside(items)
    assert [found.get(place) for place in range(len(items))] == [("a red cube",), None, ("a golden ring",)]


def test_one_caption_for_two_atlases_of_a_shard_is_refused(tmp_path):
    write_shard(tmp_path / "0.tar", ("a.npz", b"x"), ("a.npz", b"y"), ("a.txt", b"a red cube"))
    with pytest.raises(GatlasError, match=r"0\.tar:a\.npz: the shard has two of this name and a caption for one"):
        captions_beside(list_columns([str(tmp_path / "0.tar")]))


def test_a_caption_beside_its_atlas_in_a_folder_is_found(tmp_path):
    for name in ("a.npz", "b.v2.npz", "c.npz", "d.npz"):
        (tmp_path / name).write_bytes(b"atlas")
    (tmp_path / "a.txt").write_text("a red cube\n")
    (tmp_path / "b.v2.json").write_text(json.dumps({"caption": ["one", "two"]}))
    (tmp_path / "c.json").write_text(json.dumps({"gap": 0}))  # a report
    (tmp_path / "d.json").write_text('{"step": 1}\n{"step": 2}\n')  # a log
    (tmp_path / "d.txt").touch()
    (tmp_path / "b.txt").write_text("of another")
    found = found_beside(tmp_path)
    assert found == {"a": ("a red cube",), "b.v2": ("one", "two")}


def test_links_beside_an_atlas_are_followed_to_texts_and_never_to_devices(tmp_path):
    """A caption is text, whatever it is a link to; a device or a pipe, which may never end, is none."""
    folder, elsewhere = tmp_path / "set", tmp_path / "words"
    folder.mkdir()
    elsewhere.write_text("a red cube")
    for name in "abcde":
        (folder / f"{name}.npz").write_bytes(b"atlas")
    (folder / "a.txt").symlink_to(elsewhere)
    (folder / "b.txt").symlink_to("../words")
    (folder / "c.txt").symlink_to("/dev/zero")
    os.mkfifo(folder / "d.txt")
    (folder / "e.txt").symlink_to("e.txt")  # to itself
    found = found_beside(folder)
    assert found == {"a": ("a red cube",), "b": ("a red cube",)}


@pytest.mark.parametrize("name", ["../a.txt", "/../a.txt", "x/../../a.txt"])
def test_captions_that_lie_outside_their_tar_are_refused(tmp_path, name):
    write_shard(tmp_path / "s.tar", ("a.npz", b"x"), (name, b"a red cube"))
    with pytest.raises(GatlasError, match="would lie outside the tar's own folder"):
        captions_beside(list_columns([str(tmp_path / "s.tar")]))


def test_a_caption_that_is_no_unicode_is_refused():
    with pytest.raises(GatlasError, match=r"^captions: 'a': the caption .* is not Unicode$"):
        load_captions(Blob("captions", b'{"a": "\\ud800"}'))
