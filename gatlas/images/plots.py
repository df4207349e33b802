"""Plots as pictures, in one style. They need matplotlib, which is imported when a plot is drawn.

The style takes nothing from a matplotlibrc, so that the same values give the same picture for everyone. Its background
is white and opaque: a plot is as readable on a dark page as on a light one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jaxtyping import Float

# Distinct for readers who do not see red and green (Okabe and Ito 2008).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
GRAY, LIGHT = "#505050", "#dcdcdc"  # of axes and their numbers; of grids
DPI = 120
STYLE: dict[str, Any] = {
    "figure.facecolor": "white",
    "figure.dpi": DPI,
    "font.size": 9.0,
    "axes.edgecolor": GRAY,
    "axes.labelcolor": GRAY,
    "axes.titlesize": 9.5,
    "axes.titlecolor": "black",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT,
    "xtick.color": GRAY,
    "ytick.color": GRAY,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "text.parse_math": False,  # names of files hold $ and _
}
BINS = 40  # at most
SMOOTHED = 0.04  # of the points of a line


def require_matplotlib() -> Any:
    """Return the package; a GatlasError where it is not installed. To call before the work that a plot is drawn of."""
    try:
        import matplotlib
    except ImportError:
        raise GatlasError("plots need matplotlib: pip install 'gatlas[plot]'") from None
    return matplotlib


def histograms(values: Mapping[str, Float[np.ndarray, " n"]], title: str = "") -> Float[np.ndarray, "h w 3"]:
    """Return a picture in [0, 1] with a histogram of each measure, by name, over its objects.

    A line marks the median of the finite values. Those that are not finite, as the PSNR of equal pictures is, are
    counted and not drawn.
    """
    if not values:
        raise ValueError("values must hold at least one measure")
    columns = min(len(values), 3)
    rows = -(-len(values) // columns)

    def draw(figure: Any) -> None:
        panels = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for panel, (name, each) in zip(panels, values.items(), strict=False):
            _histogram(panel, name, np.asarray(each, dtype=np.float64).reshape(-1))
        for panel in panels[len(values) :]:
            panel.set_axis_off()

    return _picture(draw, 3.4 * columns, 2.5 * rows + (0.3 if title else 0.0), title)


def _histogram(panel: Any, name: str, values: Float[np.ndarray, " n"]) -> None:
    finite = values[np.isfinite(values)]
    left_out = f", {len(values) - len(finite)} not finite" if len(finite) < len(values) else ""
    median = f"median {np.median(finite):.4g} of " if len(finite) else ""
    panel.set_title(f"{name}\n{median}{len(values):,} object{'s' * (len(values) != 1)}{left_out}", loc="left")
    panel.grid(axis="x", visible=False)
    panel.yaxis.get_major_locator().set_params(integer=True)
    if not len(finite):
        panel.set_xticks([])
        panel.set_yticks([])
        return
    low, high = float(finite.min()), float(finite.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value, in a bin of its own
        reach = 0.05 * abs(low) or 0.5
        low, high = low - reach, low + reach
    bins = min(BINS, max(5, round(2 * math.sqrt(len(finite)))))
    panel.hist(finite, bins=bins, range=(low, high), color=COLORS[0])
    panel.axvline(float(np.median(finite)), color=COLORS[1])


class Panel(NamedTuple):
    """One plot of lines over the steps of a work."""

    title: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]  # name -> steps and values
    logarithmic: bool = False  # values that are not above 0 are left out
    noisy: bool = True  # many points are drawn faint, and their running mean over them


def curves(panels: Sequence[Panel], title: str = "") -> Float[np.ndarray, "h w 3"]:
    """Return a picture in [0, 1] of panels below each other in columns of at most two; values that are not finite miss.

    Running means are over SMOOTHED of the points.
    """
    if not panels:
        raise ValueError("panels must hold at least one")
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)

    def draw(figure: Any) -> None:
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True).reshape(-1)
        for axis, panel in zip(axes, panels, strict=False):
            _lines(axis, panel)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        for axis in axes[max(0, len(panels) - columns) : len(panels)]:
            axis.set_xlabel("step")
            axis.xaxis.set_tick_params(labelbottom=True)

    return _picture(draw, 4.6 * columns + 0.4, 2.6 * rows + (0.3 if title else 0.0), title)


def _lines(axis: Any, panel: Panel) -> None:
    axis.set_title(panel.title, loc="left")
    if panel.logarithmic:
        _logarithmic(axis)
    for number, (name, (steps, values)) in enumerate(panel.lines.items()):
        color = COLORS[number % len(COLORS)]
        x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
        shown = np.isfinite(y) & ((y > 0) | (not panel.logarithmic))
        x, y = x[shown], y[shown]
        width = round(SMOOTHED * len(y)) if panel.noisy else 0
        if width > 1:
            axis.plot(x, y, color=color, alpha=0.25, linewidth=0.6)
            sums = np.cumsum(np.concatenate([[0.0], y]))
            y = (sums[width:] - sums[:-width]) / width
            x = x[width // 2 : width // 2 + len(y)]
        axis.plot(x, y, color=color, label=name, marker="o" if len(y) == 1 else None, markersize=3)
    if len(panel.lines) > 1:
        axis.legend(fontsize=8)


def _logarithmic(axis: Any) -> None:
    """Have 1, 2 and 5 of each power of ten, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def maps(planes: Mapping[str, Float[np.ndarray, "h w"]], columns: int, title: str = "") -> Float[np.ndarray, "h w 3"]:
    """Return a picture in [0, 1] of planes in viridis, by name, row by row, each with a color bar of its own range."""
    rows = -(-len(planes) // columns)

    def draw(figure: Any) -> None:
        axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for axis in axes:
            axis.set_axis_off()
        for axis, (name, plane) in zip(axes, planes.items(), strict=False):
            low, high = float(np.min(plane)), float(np.max(plane))
            high = high if high > low else low + (abs(low) or 1.0)
            shown = axis.imshow(plane, cmap="viridis", interpolation="nearest", vmin=low, vmax=high)
            axis.set_title(name, fontsize=8)
            bar = figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.03)
            bar.ax.tick_params(labelsize=6)
            bar.outline.set_visible(False)

    return _picture(draw, 1.7 * columns, 1.6 * rows + (0.3 if title else 0.0), title)


def _picture(draw: Callable[[Any], None], width: float, height: float, title: str = "") -> Float[np.ndarray, "h w 3"]:
    """Return what `draw` puts on a figure of that size in inches."""
    matplotlib = require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure((width, height), layout="constrained")
        if title:
            figure.suptitle(title, fontsize=10.5)
        canvas = FigureCanvasAgg(figure)
        draw(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba(), dtype=np.float32)[..., :3] / np.float32(255.0)
