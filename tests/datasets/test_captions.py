"""Captions are matched with the atlases by their ids."""

import pytest

from gatlas.datasets.captions import match_captions


@pytest.mark.parametrize(
    ("identity", "key"),
    [("a", "a"), ("dir/a", "a"), ("a", "set/a"), ("dir/a", "set/dir/a"), ("a.glb", "a"), ("x/a.glb", "y/a")],
)
def test_ids_match_by_their_last_parts(identity, key):
    matched = match_captions({identity: ("text",)}, [key, "other"])
    assert matched == ({key: ("text",)}, ("other",), (), ())


def test_the_longer_common_path_decides():
    captions = {"one/7": ("first",), "two/7": ("second",)}
    matched = match_captions(captions, ["set/two/7", "set/one/7"])
    assert matched.captions == {"set/one/7": ("first",), "set/two/7": ("second",)}
    assert match_captions({"a": ("text",)}, ["a", "b/a"]).captions == {"a": ("text",)}


def test_what_fits_two_alike_is_ambiguous_and_not_guessed():
    assert match_captions({"7": ("text",)}, ["one/7", "two/7"]) == ({}, ("one/7", "two/7"), (), ("7",))
    assert match_captions({"one/7": ("x",), "two/7": ("y",)}, ["7"]) == ({}, ("7",), (), ("one/7", "two/7"))


def test_an_id_without_an_atlas_is_unmatched():
    assert match_captions({"a": ("x",), "b": ("y",)}, ["a"]) == ({"a": ("x",)}, (), ("b",), ())
