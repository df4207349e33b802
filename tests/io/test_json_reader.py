"""The reader of JSON against Python's own, and against texts that mean harm."""

import json

import pytest

from gatlas.errors import GatlasError
from gatlas.io.json_reader import MOST_LEVELS, JsonError, parse_json, read_json, read_json_object
from gatlas.io.streams import Blob

DOCUMENT = {"a": [1, -2.5, 1e300, True, None, '[{"\\', "größe"], "": {"b": [[]]}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_is_read_in_every_encoding_of_json(encoding):
    assert parse_json(json.dumps(DOCUMENT, ensure_ascii=False).encode(encoding)) == DOCUMENT
    assert parse_json(json.dumps(DOCUMENT)) == DOCUMENT


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", ""),
        ("{", ""),
        ("[1] 2", ""),
        (b"\xff", ""),
        ("[NaN]", "it holds NaN"),
        ("[-Infinity]", "it holds -Infinity"),
        ("[1e400]", "the number 1e400 is too large"),
        ("[-1e+309]", "too large"),
        ("[" + "9" * 400 + "]", "the number 99999999999999999999… is too large"),
        ("[" + "9" * 10_000 + "]", "too large"),
        ("[" + "9" * 200 + "e150]", "too large"),
        ("[" * 100_000, "levels deep"),
        ('{"a":' * 300 + "1" + "}" * 300, "levels deep"),
        ("[" * 201 + '"' + '\\"' * 500_000, "levels deep"),  # an open string, in time that does not grow as a square
        ("[" + "0," * 20_000_000 + "0]", "more than 20,000,000 values"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_means_harm_is_one_line(text, fault):
    with pytest.raises(JsonError, match=f"^not JSON.*: .*{fault}") as error:
        parse_json(text)
    assert "\n" not in str(error.value)


def test_brackets_in_strings_do_not_nest():
    texts = ["[" * 500, '"' + "{" * 500, "\\"]
    assert parse_json(json.dumps(texts)) == texts
    deep = "[" * MOST_LEVELS + '"' + "[" * 100 + '"' + "]" * MOST_LEVELS
    assert json.dumps(parse_json(deep)) == deep


def test_large_numbers_that_fit_a_float_are_kept():
    assert parse_json("[1e308, 5e-400, 1e0000000001, 123456789012345678901234567890]") == [
        1e308, 0.0, 10.0, 123456789012345678901234567890
    ]  # fmt: skip


def test_nan_is_read_from_files_of_our_own():
    assert parse_json("[NaN, Infinity]", finite=False)[1] == float("inf")


def test_an_error_names_the_file_and_what_to_do():
    with pytest.raises(GatlasError, match=r"^a\.json: no cameras: not JSON: .*: make it again$"):
        read_json(Blob("a.json", b"{"), fault="no cameras", remedy=": make it again")
    with pytest.raises(GatlasError, match=r"^a\.json: damaged: must hold a JSON object, got a list$"):
        read_json_object(Blob("a.json", b"[]"))
