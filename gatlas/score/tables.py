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


def show_figure(value: float | str | None, figure: Figure) -> str:
    """Return a figure as text."""
    return NOT_MEASURED if value is None else format(value, figure.form)


def document_table(document: Mapping[str, Any], first: str = "object") -> ScoreTable:
    """Return a row for each object and, of several, mean, median and worst; and one for what is of all together.

    Figures that are not of these objects are left out, and what could have been measured and was not is "not measured".
    """
    objects, summary, pooled = document["objects"], document["summary"], document.get("set", {})
    figures = [f for f in FIGURES[document["score"]] if f.key in pooled or any(f.key in row for row in objects)]
    rows = [(str(each["name"]), *_cells(each, figures)) for each in objects]
    if len(objects) > 1:
        for kind in ("mean", "median", "worst"):
            name = kind if kind == "worst" else f"{kind} of {len(objects)}"
            cells = [_sum(summary[f.key], kind, f, objects) for f in figures]
            rows += [(name, *cells)] if any(cells) else []
    if len(objects) > 1 or any(not any(key in each for each in objects) for key in pooled):
        rows += [("all together", *_cells(pooled, figures))] if pooled else []
    return ScoreTable((first, *(f.heading for f in figures)), tuple(rows), len(rows) - len(objects))


def _cells(row: Mapping[str, Any], figures: Sequence[Figure]) -> list[str]:
    return [show_figure(row[figure.key], figure) if figure.key in row else "" for figure in figures]


def _sum(held: Mapping[str, Any] | None, kind: str, figure: Figure, objects: Sequence[Mapping[str, Any]]) -> str:
    """Return the cell of a summary; empty for what single objects do not have."""
    if held is None:
        return NOT_MEASURED if any(figure.key in each and figure.form for each in objects) else ""
    if kind != "worst":
        return show_figure(held[kind], figure)
    worst = held.get("worst")
    return "" if worst is None else f"{show_figure(worst['value'], figure)} {worst['name']}"


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
