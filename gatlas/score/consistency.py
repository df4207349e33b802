"""Scores of how well views agree on one 3D object."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.images.composite import composite
from gatlas.score.epipolar import EpipolarScore, score_epipolar
from gatlas.score.field import FieldScore, score_field
from gatlas.types import Views

if TYPE_CHECKING:
    from gatlas.score.options import ConsistencyOptions

FEWEST = 3  # views
SMALLEST = 16  # pixels of a side
BLANK = 1 / 255  # range of the colors of a picture that shows nothing


class ConsistencyScore(NamedTuple):
    """Consistency of one set of views; a measure that was not asked for is None."""

    field: FieldScore | None
    epipolar: EpipolarScore | None

    def to_json(self) -> dict[str, Any]:
        """Return the figures for a report."""
        return {name: None if score is None else score.to_json() for name, score in self._asdict().items()}


def score_consistency(
    views: Views,
    options: ConsistencyOptions,
    *,
    report: Report = ignore,
    on_step: Callable[[], None] = lambda: None,
) -> ConsistencyScore:
    """Return the consistency of views of one size with their cameras, RGB or straight RGBA, by `options.measure`.

    `on_step` is called after each of `steps_of(options, len(views))` steps. Fewer than three views and pictures below
    16 pixels are a GatlasError. The same views, options and seed give the same figures on one CPU.
    """
    if len(views) < FEWEST:
        count = "one view" if len(views) == 1 else f"{len(views)} views"
        raise GatlasError(f"{count}: consistency is between views, at least {FEWEST} of them")
    if min(views.cameras.width, views.cameras.height) < SMALLEST:
        size = f"{views.cameras.width} x {views.cameras.height}"
        raise GatlasError(f"pictures of {size} pixels are too small: at least {SMALLEST} a side are needed")
    views = Views(np.asarray(composite(views.images, 1.0), dtype=np.float32), views.cameras)
    blank = int((np.ptp(views.images, axis=(1, 2)).max(axis=-1) < BLANK).sum())
    if blank:
        report(
            f"{blank} of {len(views)} views are blank: field takes blank views for consistent, epipolar counts them 0"
        )
    field = epipolar = None
    if options.measure != "field":
        epipolar = score_epipolar(views, report=report)
        on_step()
    if options.measure != "epipolar":
        field = score_field(views, options, on_step=on_step)
    return ConsistencyScore(field, epipolar)
