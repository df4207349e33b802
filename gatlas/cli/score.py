"""gatlas score consistency"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from gatlas import __version__, io
from gatlas.cli.score_output import show_table
from gatlas.cli.terminal import about, counting_bar, message
from gatlas.errors import GatlasError
from gatlas.io.photos.object_views import read_object_views
from gatlas.score.consistency import score_consistency
from gatlas.score.epipolar import LARGEST
from gatlas.score.figures import FIGURES
from gatlas.score.tables import ScoreTable, show_figure
from gatlas.types import Views

if TYPE_CHECKING:
    from gatlas.score.consistency import ConsistencyScore
    from gatlas.score.options import ConsistencyOptions

EXIT_SOME_FAILED = 3
Scored = list[tuple[str, "ConsistencyScore"]]  # names of objects and their scores


def run_consistency(
    inputs: list[str] | None, output: str, options: ConsistencyOptions, *, force: bool, given: frozenset[str]
) -> None:
    """Score sets of views; with several inputs one that fails is reported and the others are scored."""
    names = inputs or ["-"]
    if names.count("-") + (options.reference == "-") > 1:
        raise GatlasError("two sets of views cannot both come from standard input: name one of them")
    if "output" in given:
        io.check_output(output, force=force, suffix=".json", what="scores")
    scored: Scored = []
    failed = 0
    with counting_bar("score", None) as on_step:
        reference = [] if options.reference is None else list(_score_source(options.reference, options, on_step))
        for name in names:
            try:
                scored += _score_source(name, options, on_step)
            except GatlasError as error:
                if len(names) == 1:
                    raise
                message(str(error))
                failed += 1
    if scored:
        if "output" in given:
            io.save_json(output, _document(scored, reference, options), force=force)
        else:
            show_table(_table(scored, reference))
    if failed:
        message(f"{failed} of {len(names)} inputs failed")
        raise typer.Exit(EXIT_SOME_FAILED if scored else 1)


def _score_source(
    name: str, options: ConsistencyOptions, on_step: Callable[[], None]
) -> Iterator[tuple[str, ConsistencyScore]]:
    """Yield the name and the score of each object that an input holds."""
    for found in read_object_views(name, side=max(LARGEST, options.resolution)):
        prefix = f"{name}: {found.name}" if name != "-" and found.name not in name else name
        with about(prefix):
            score = score_consistency(
                Views(found.images, found.cameras), options, report=_about(prefix), on_step=on_step
            )
        yield found.name, score


def _about(name: str) -> Callable[[str], None]:
    """Return a report whose messages begin with the name of the input."""
    return lambda text: message(f"{'standard input' if name == '-' else name}: {text}")


def _figures(score: ConsistencyScore) -> dict[str, float | None]:
    """Return the headline figures, None where one was not measured."""
    field, epipolar = score.field, score.epipolar
    return {
        "field_psnr": None if field is None else field.psnr,
        "field_ssim": None if field is None else field.ssim,
        "field_fid": None,
        "epipolar": None if epipolar is None else epipolar.score,
        "registered": None if epipolar is None else epipolar.registered,
    }


def _mean(scored: Scored) -> dict[str, float | None]:
    """Return the mean of each figure over objects."""
    rows = [_figures(score) for _, score in scored]
    means: dict[str, float | None] = {}
    for key in rows[0]:
        values = [value for row in rows if (value := row[key]) is not None]
        means[key] = float(np.mean(values)) if values else None
    return means


def _document(scored: Scored, reference: Scored, options: ConsistencyOptions) -> dict[str, Any]:
    def listed(rows: Scored) -> dict[str, Any]:
        objects = [{"name": name, **_figures(score), **score.to_json()} for name, score in rows]
        return {"mean": _mean(rows), "objects": objects}

    compared = {"reference": listed(reference)} if reference else {}
    return {"version": __version__, "score": "consistency", "options": options.to_json(), **listed(scored), **compared}


def _table(scored: Scored, reference: Scored) -> ScoreTable:
    """Return a row of the headline figures for each object, and means."""
    rows = [(name, _figures(score)) for name, score in scored]
    if len(scored) > 1:
        rows.append((f"mean of {len(scored)}", _mean(scored)))
    rows += [(f"{name} (reference)", _figures(score)) for name, score in reference]
    if len(reference) > 1:
        rows.append((f"mean of {len(reference)} (reference)", _mean(reference)))
    figures = FIGURES["consistency"]
    cells = [(name, *(show_figure(held[each.key], each) for each in figures)) for name, held in rows]
    return ScoreTable(("views", *(each.heading for each in figures)), tuple(cells), len(cells) - len(scored))
