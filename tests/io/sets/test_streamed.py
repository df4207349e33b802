"""Objects of a stream, and the captions that lie beside them."""

import warnings

import pytest

from gatlas.io import Blob
from gatlas.io.sets.inputs import stream_objects


def blobs(*names):
    for name in names:
        folder, slash, last = name.rpartition("/")
        yield Blob(f"standard input:{name}", name.encode(), key=folder + slash + last.partition(".")[0])


def found(*names):
    return [
        (each.key, each.blob.data.decode(), sorted(each.captions)) for each in stream_objects(blobs(*names), (".ply",))
    ]


def test_captions_before_and_behind_an_object_belong_to_it():
    assert found("a.json", "a.ply", "a.txt", "a.png", "b.ply", "deep/a.ply", "deep/a.txt") == [
        ("a", "a.ply", [".json", ".txt"]),
        ("b", "b.ply", []),
        ("deep/a", "deep/a.ply", [".txt"]),
    ]


def test_names_with_dots_are_objects_of_their_own():
    assert found("chair.ply", "chair.txt", "chair.v2.PLY", "chair.v2.txt") == [
        ("chair", "chair.ply", [".txt"]),
        ("chair.v2", "chair.v2.PLY", [".txt"]),
    ]


def test_captions_in_capitals_are_captions():
    assert found("a.TXT", "a.ply", "b.PLY", "b.Json") == [("a", "a.ply", [".txt"]), ("b", "b.PLY", [".json"])]


def test_captions_apart_from_their_objects_are_left_out_with_a_warning():
    with pytest.warns(UserWarning, match=r"do not lie beside their objects in the tar are left out: 2;"):
        assert [captions for *_, captions in found("b.txt", "a.ply", "b.ply", "a.txt")] == [[], []]


def test_a_caption_of_nothing_is_no_fault():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found("about.json", "a.ply") == [("a", "a.ply", [])]


def test_what_is_no_tar_is_one_object_without_a_name():
    (only,) = stream_objects([Blob("standard input", b"ply")], (".ply",))
    assert (only.key, only.blob.data, only.captions) == ("", b"ply", {})
