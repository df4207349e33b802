"""Output of the measures of `gatlas score`: tables, documents and plots."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.io.outputs import show
from gatlas.score.documents import figures_of
from gatlas.score.tables import document_table, markdown

if TYPE_CHECKING:
    from gatlas.score.tables import ScoreTable


def check_score_outputs(output: str | None, plot: str | None, *, force: bool) -> None:
    """Raise a GatlasError, before any work, where the document or the plot could not be written."""
    if output is not None:
        io.check_output(output, force=force, suffix=".json", what="scores")
    if plot is not None:
        from gatlas.images.plots import require_matplotlib

        require_matplotlib()
        io.check_output(plot, force=force, suffix=".png", what="a picture")


def give_document(document: Mapping[str, Any], output: str | None, plot: str | None, *, force: bool) -> None:
    """Write a document to `output`, or show its table where that is None; and its plot, where one is asked for."""
    if plot is not None:
        save_plot(document, plot, force=force)
    if output is not None:
        io.save_json(output, document, force=force)
    else:
        show_table(document_table(document))


def save_plot(document: Mapping[str, Any], path: str, *, force: bool) -> None:
    """Write a histogram of each figure over the objects."""
    import numpy as np

    from gatlas.images.plots import histograms

    values = {heading: np.array(each, dtype=np.float64) for heading, each in figures_of(document).items()}
    io.save_image(path, histograms(values, title=f"gatlas score {document['score']}"), force=force)


def show_table(table: ScoreTable) -> None:
    """Write a table to standard output: drawn on a terminal, in Markdown elsewhere."""
    if sys.stdout is None or not sys.stdout.isatty():
        show(markdown(table))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    from gatlas.io.visible import visible

    drawn = Drawn(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(table.headings):
        drawn.add_column(Text(heading), justify="right" if number else "left", overflow="fold")
    plain = len(table.rows) - table.summary
    for number, row in enumerate(table.rows):
        drawn.add_row(*(Text(visible(cell)) for cell in row), end_section=number == plain - 1 and table.summary > 0)
    Console().print(drawn)
