"""The base of every options class: checks, JSON, --set words, and what the command line and a batch read off it."""

import math
from dataclasses import dataclass
from typing import Literal

import pytest

from gatlas.config import (
    Options,
    option,
    option_fields,
    output_fields,
    parse_settings,
    result_fields,
    settings_table,
)
from gatlas.errors import GatlasError


@dataclass(frozen=True)
class Paint(Options):
    count: int = option(3, "-n", min=1, help="Number of coats.")
    share: float = option(0.5, min=0, max=1, help="Share that is covered.")
    rate: float = option(0.1, above=0)
    color: Literal["red", "blue"] = option("red")
    limit: float | None = option(None, above=0)
    widths: tuple[int, ...] = option((1, 2), min=1)
    pair: tuple[float, float] = option((0.0, 1.0))
    glossy: bool = option(False)
    report: str | None = option(None, output=".json")
    threads: int = option(1, affects_result=False, former_names=("jobs",))

    def validate(self):
        self.require(not self.glossy or self.color == "blue", "glossy", "needs color=blue")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"count": 2.0}, "count must be a whole number, got 2.0"),
        ({"count": True}, "count must be a whole number, got True"),
        ({"share": 1.5}, "share must be at least 0 and at most 1, got 1.5"),
        ({"rate": 0.0}, "rate must be greater than 0, got 0.0"),
        ({"rate": math.inf}, "rate must be greater than 0 and finite, got inf"),
        ({"share": math.nan}, "share must be a number, got nan"),
        ({"color": "green"}, "color must be red or blue, got green"),
        ({"limit": -1.0}, "limit must be greater than 0, got -1.0"),
        ({"widths": (1, 0)}, r"widths must be at least 1, got \(1, 0\)"),
        ({"widths": 4}, "widths must be a list of values, got 4"),
        ({"pair": (1.0,)}, r"pair must be 2 values, got \(1.0,\)"),
        ({"glossy": "yes"}, "glossy must be true or false, got yes"),
        ({"glossy": True}, "glossy needs color=blue, got True"),
        ({"report": 5}, "report must be text, got 5"),
    ],
)
def test_a_wrong_value_is_one_line_with_the_field_the_rule_and_the_value(values, message):
    with pytest.raises(GatlasError, match=message):
        Paint(**values)


def test_json_there_and_back_gives_equal_options():
    paint = Paint(count=7, widths=(4, 5, 6), limit=2.5)
    assert Paint.from_json(paint.to_json(), "x.json") == paint
    assert Paint.from_json({}, "x.json") == Paint()


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"coats": 3}, "x.json: has coats, which this gatlas does not know: upgrade gatlas"),
        ({"count": "many"}, "x.json: damaged: count must be a whole number, got many"),
    ],
)
def test_json_that_is_wrong_names_its_file(stored, message):
    with pytest.raises(GatlasError, match=message):
        Paint.from_json(stored, "x.json")
    with pytest.raises(GatlasError, match=r"x.json: has no color: .*another version"):
        Paint.from_json(
            {name: value for name, value in Paint().to_json().items() if name != "color"}, "x.json", complete=True
        )


def test_json_under_a_former_name_is_read():
    assert Paint.from_json({"jobs": 4}, "x.json").threads == 4


def test_a_batch_reads_what_changes_the_result_and_what_is_written():
    paint = Paint(report="r.json")
    assert set(option_fields(Paint)) - set(result_fields(paint)) == {"report", "threads"}
    assert list(output_fields(paint)) == ["report"]
    assert output_fields(Paint()) == {}


def test_the_manuals_table_shows_each_key_as_it_is_typed():
    table = settings_table(Paint, without=["threads"])
    assert table["count=3"] == "Number of coats."
    assert {"limit=none", "widths=1,2", "glossy=false", "pair=0.0,1.0"} <= set(table)
    assert parse_settings([key for key in table if key not in ("limit=none", "report=none")], Paint)[0]["pair"] == (
        0.0,
        1.0,
    )


def test_classes_that_share_a_key_are_refused():
    @dataclass(frozen=True)
    class Other(Options):
        count: int = 1

    with pytest.raises(ValueError, match="share the key 'count'"):
        parse_settings([], Paint, Other)


@dataclass(frozen=True)
class Frame(Options):
    wooden: bool = False
    name: str = ""
    carvers: int | None = None


def test_settings_are_read_by_the_type_of_their_field():
    paint, frame = parse_settings(
        ["count=1_000", "rate=3e-3", "color=blue", "widths=8,16,32", "pair=(1, 2)", "limit=none", "wooden=true",
         "name=a=b", "carvers=2"],
        Paint, Frame,
    )  # fmt: skip
    assert paint == {
        "count": 1_000, "rate": 3e-3, "color": "blue", "widths": (8, 16, 32), "pair": (1.0, 2.0), "limit": None,
    }  # fmt: skip
    assert frame == {"wooden": True, "name": "a=b", "carvers": 2}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("rate", "--set rate: needs KEY=VALUE"),
        ("price=1", "there is no such key; the keys are carvers, color, count"),
        ("widhts=1", "did you mean widths"),
        ("count=1.5", "--set count=1.5: must be a whole number"),
        ("share=nan", "must be a number"),
        ("share=", "must be a number"),
        ("glossy=yes", "must be true or false"),
        ("color=both", "must be one of red, blue"),
        ("pair=1", "must be 2 values"),
        ("widths=1,x", "must be a whole number"),
    ],
)
def test_a_wrong_setting_is_named(word, message):
    with pytest.raises(GatlasError, match=message):
        parse_settings([word], Paint, Frame)


def test_a_setting_twice_is_refused():
    with pytest.raises(GatlasError, match="--set rate: given twice"):
        parse_settings(["rate=1", "rate=2"], Paint)
