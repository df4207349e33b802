"""Tables of scores: rows of a document, and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gatlas.score.figures import FIGURES, Figure

NOT_MEASURED = "not measured"


class ScoreTable(NamedTuple):
    """Cells as text: names on the left, figures on the right."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    summary: int = 0  # rows at the end that sum up the others


def show_figure(value: float | None, figure: Figure) -> str:
    """Return a figure as text."""
    return NOT_MEASURED if value is None else format(value, figure.form)


def document_table(document: Mapping[str, Any], first: str = "object") -> ScoreTable:
    """Return a row for each object and, of several, mean, median and worst. Figures that nothing can have are left out.

    A figure that is not measured anywhere stays, as "not measured".
    """
    objects, summary = document["objects"], document["summary"]
    figures = [each for each in FIGURES[document["score"]] if any(each.key in row for row in objects)]
    rows = [(str(each["name"]), *(show_figure(each.get(f.key), f) for f in figures)) for each in objects]
    several = len(objects) > 1
    if several:
        for kind in ("mean", "median", "worst"):
            rows.append((f"{kind} of {len(objects)}" if kind != "worst" else kind, *_sums(summary, kind, figures)))
    pooled = document.get("set")
    if several and pooled:  # figures that are of all objects together, and no mean of theirs
        held = (show_figure(pooled[f.key], f) if f.key in pooled else "" for f in figures)
        rows.append(("all together", *held))
    return ScoreTable((first, *(f.heading for f in figures)), tuple(rows), len(rows) - len(objects))


def _sums(summary: Mapping[str, Any], kind: str, figures: Sequence[Figure]) -> list[str]:
    cells = []
    for figure in figures:
        held = summary[figure.key]
        if held is None:
            cells.append(NOT_MEASURED)
        elif kind == "worst":
            worst = held.get("worst")
            cells.append("" if worst is None else f"{show_figure(worst['value'], figure)} {worst['name']}")
        else:
            cells.append(show_figure(held[kind], figure))
    return cells


def runs_table(score: str, runs: Sequence[Mapping[str, Any]]) -> ScoreTable:
    """Return a row for each run of `compare_runs`, those with "claimed" marked."""
    figures = [each for each in FIGURES[score] if any(row.get(each.key) is not None for row in runs)]
    rows = []
    for run in runs:
        name = f"{run['name']} (claimed)" if run["claimed"] else str(run["name"])
        objects = "" if run["claimed"] else f"{run['objects']:,}"
        held = ((run.get(figure.key), figure) for figure in figures)
        # What was not published is not a gap in what was measured.
        cells = ("" if run["claimed"] and value is None else show_figure(value, figure) for value, figure in held)
        rows.append((name, objects, *cells))
    return ScoreTable((score, "objects", *(figure.heading for figure in figures)), tuple(rows))


def markdown(table: ScoreTable) -> str:
    """Return a table in Markdown, its columns aligned."""
    cells = [[_plain(cell) for cell in row] for row in (table.headings, *table.rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in cells]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _plain(cell: str) -> str:
    """Return a cell that does not end its column: names of files may hold a bar."""
    return cell.replace("|", "\\|").replace("\n", " ")
