"""Pictures that show the course of a run: its samples over the steps, and curves of what the log holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas import io
from gatlas.images.composite import composite
from gatlas.images.legend import caption_row, stacked
from gatlas.images.plots import Panel, curves
from gatlas.images.resize import reduce_picture
from gatlas.io.runs import train_log
from gatlas.train.curve import is_term

if TYPE_CHECKING:
    from jaxtyping import Float

MOST, WIDE = 8, 240  # pictures of a strip, and the width of each in pixels
DIAGNOSE = "diagnose/"  # of names in the log


def save_strip(run: str) -> None:
    """Write the samples of a run side by side, from the first to the last: samples.png."""
    paths = list(train_log.list_samples(run).items())
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, MOST).round().astype(int))] if paths else []
    if chosen:
        io.save_image(
            f"{run}/{train_log.STRIP}", samples_strip({step: io.load_image(p) for step, p in chosen}), force=True
        )


def samples_strip(pictures: Mapping[int, Float[np.ndarray, "_ _ _"]]) -> Float[np.ndarray, "h w 3"]:
    """Return pictures in [0, 1] in a row, at most WIDE pixels wide each, with their steps above."""
    shown = []
    for picture in pictures.values():
        plain = composite(np.asarray(picture, dtype=np.float32), 1.0)
        width = min(WIDE, plain.shape[1])
        shown.append(reduce_picture(plain, width, max(1, round(plain.shape[0] * width / plain.shape[1]))))
    column, high = (max(each.shape[i] for each in shown) for i in (1, 0))
    row = np.ones((high, column * len(shown), 3), dtype=np.float32)
    for number, each in enumerate(shown):
        row[: each.shape[0], number * column : number * column + each.shape[1]] = each
    return stacked(caption_row(row.shape[1], [f"{step:,}" for step in pictures]), row)


def save_curves(run: str) -> None:
    """Write curves of the log, curves.png, where matplotlib is installed and the log holds any."""
    panels = log_panels(train_log.read_log(run))
    if panels and find_spec("matplotlib") is not None:
        io.save_image(f"{run}/{train_log.CURVES}", curves(panels, run.rstrip("/").rpartition("/")[2]), force=True)


def log_panels(log: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Return the panels of a log: loss terms, learning rate, norm of the gradient, each value of the diagnosis."""
    names = dict.fromkeys(name for entry in log for name in entry)
    terms = {name.removeprefix("loss/"): _points(log, name) for name in names if is_term(name)}
    panels = [Panel("loss", {name: points for name, points in terms.items() if points[0]}, logarithmic=True)]
    panels += [
        Panel("learning rate", {"lr": _points(log, "lr")}, noisy=False),
        Panel("norm of the gradient", {"": _points(log, "grad_norm")}, logarithmic=True),
    ]
    panels += [
        Panel(f"diagnosis: {name.removeprefix(DIAGNOSE)}", {name: _points(log, name)})
        for name in names
        if name.startswith(DIAGNOSE)
    ]
    return [panel for panel in panels if any(steps for steps, _ in panel.lines.values())]


def _points(log: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """Return steps and values of a name; JSON has no number for what is not finite, and null stands there."""
    found = [(entry["step"], entry[name]) for entry in log if isinstance(entry.get(name), (int, float))]
    return [step for step, _ in found], [value for _, value in found]
