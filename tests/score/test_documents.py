"""Documents and tables of scores."""

import numpy as np
import pytest

from gatlas.errors import GatlasError
from gatlas.score.documents import checked_document, make_document, merge_documents
from gatlas.score.options import FidelityOptions
from gatlas.score.published import compare_runs
from gatlas.score.tables import document_table, markdown, runs_table


def document(names, **changes):
    options = FidelityOptions(reference="x", plot="x.png", **changes)
    rng = np.random.default_rng(len(names))
    objects = [
        {"name": name, "psnr": float(rng.random()), "ssim": None, "chamfer": i + 0.5} for i, name in enumerate(names)
    ]
    return make_document("fidelity", options, objects)


def test_the_worst_is_the_lowest_of_what_should_be_high_and_the_highest_of_what_should_be_low():
    held = make_document(
        "fidelity",
        FidelityOptions(reference="x"),
        [{"name": "a", "psnr": 30.0, "chamfer": 0.1}, {"name": "b", "psnr": 20.0, "chamfer": 0.0}],
    )
    assert held["summary"]["psnr"]["worst"] == {"name": "b", "value": 20.0}
    assert held["summary"]["chamfer"]["worst"] == {"name": "a", "value": 0.1}
    assert held["summary"]["psnr"]["mean"] == held["summary"]["psnr"]["median"] == 25.0


def test_shards_merge_into_what_one_call_writes():
    whole = document(["a", "b", "c", "d"])
    parts = {f"{i}.json": {**whole, "summary": {}, "objects": whole["objects"][i::2]} for i in (1, 0)}
    assert merge_documents(parts) == whole


def test_other_options_and_an_object_twice_are_refused():
    with pytest.raises(GatlasError, match=r"b\.json: its options are not as in a\.json"):
        merge_documents({"a.json": document(["a"]), "b.json": document(["b"], views=3)})
    with pytest.raises(GatlasError, match=r"b\.json: has a, which is in a\.json too"):
        merge_documents({"a.json": document(["a"]), "b.json": document(["a"])})


def test_where_a_plot_goes_is_not_part_of_the_scores():
    assert "plot" not in document(["a"])["options"]


def test_a_gap_is_not_measured_and_never_zero():
    text = markdown(document_table(document(["a", "b"])))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert rows[0][:3] == ["object", "PSNR (dB)", "SSIM"]
    assert {row[2] for row in rows[2:]} == {"not measured"}
    assert [row[0] for row in rows[4:]] == ["mean of 2", "median of 2", "worst"]


def test_a_bar_in_a_name_ends_no_column():
    assert "a\\|b" in markdown(document_table(document(["a|b"])))


def test_published_rows_are_marked_as_claimed_and_can_be_left_out():
    runs = {"one": document(["a"]), "two": document(["b", "c"])}
    rows = compare_runs(runs)["fidelity"]
    assert [row["claimed"] for row in rows] == [False, False, True, True]
    table = runs_table("fidelity", rows)
    assert table.rows[1][:2] == ("two", "2")
    assert table.rows[2][0].endswith("(claimed)")
    assert "not measured" not in table.rows[2]
    assert len(compare_runs(runs, claimed=False)["fidelity"]) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"objects": 3},
        {"score": 3},
        {"score": "smell"},
        {"objects": [{"psnr": 1}]},
        {"objects": [{"name": "a", "psnr": "high"}]},
        {"objects": [{"name": "a", "psnr": True}]},
        {"score": "poses", "objects": [{"name": "a", "photos": [{"rotation": "x"}]}]},
        {"set": [1]},
        {"set": {"psnr": []}},
    ],
)
def test_damaged_documents_are_one_line_that_names_the_file(change):
    with pytest.raises(GatlasError, match=r"^x\.json: "):
        checked_document({**document(["a"]), **change}, "x.json")


def test_a_document_of_an_earlier_version_gets_its_summary():
    held = document(["a", "b"])
    assert checked_document({key: held[key] for key in ("score", "objects")}, "x.json")["summary"] == held["summary"]
