"""The loss plot: each term of the loss over the steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.images.plots import COLORS, GRAY, LIGHT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

WIDTH, HEIGHT = 960, 540
LEFT, RIGHT, TOP, BOTTOM = 84, 24, 24, 52


def is_term(name: str) -> bool:
    """Return True for a name in the log that is a term of the loss."""
    return name == "loss" or name.startswith("loss/")


def loss_curve(log: Sequence[Mapping[str, Any]]) -> Float[np.ndarray, "h w 3"] | None:
    """Return a plot in [0, 1] of each term that is greater than zero, on a logarithmic axis; None without any.

    Where there are more steps than pixels, each pixel has the mean of its own.
    """
    from PIL import Image, ImageDraw, ImageFont

    names = sorted({name for entry in log for name in entry if is_term(name)})
    series = {name: points for name in names if (points := _points(log, name))}
    if not series:
        return None
    last = max(step for points in series.values() for step, _ in points)
    values = [value for points in series.values() for _, value in points]
    low, high = _decades(min(values), max(values))

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last

    def y(value: float) -> float:
        share = (math.log10(value) - math.log10(low)) / (math.log10(high) - math.log10(low))
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=15)
    for tick in _ticks(low, high):
        draw.line([(LEFT, y(tick)), (WIDTH - RIGHT, y(tick))], fill=LIGHT)
        draw.text((LEFT - 8, y(tick)), f"{tick:g}", fill=GRAY, font=font, anchor="rm")
    for step in _steps(last):
        draw.line([(x(step), TOP), (x(step), HEIGHT - BOTTOM)], fill=LIGHT)
        draw.text((x(step), HEIGHT - BOTTOM + 8), f"{step:,}", fill=GRAY, font=font, anchor="mt")
    draw.text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8), "step", fill=GRAY, font=font, anchor="mb")
    draw.rectangle([LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM], outline=GRAY)
    for number, points in enumerate(series.values()):
        color = COLORS[number % len(COLORS)]
        vertices = [(x(step), y(value)) for step, value in _thinned(points, last)]
        if len(vertices) > 1:
            draw.line(vertices, fill=color, width=2, joint="curve")
        else:
            draw.ellipse([vertices[0][0] - 3, vertices[0][1] - 3, vertices[0][0] + 3, vertices[0][1] + 3], fill=color)
    _legend(draw, font, series)
    return np.asarray(image, dtype=np.float32) / 255.0


def _legend(draw: Any, font: Any, series: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Draw names with their last values in the upper right, where a falling loss leaves room."""
    lines = [f"{name.removeprefix('loss/')}  {points[-1][1]:.4g}" for name, points in series.items()]
    wide = max(draw.textlength(line, font=font) for line in lines)
    left, top = WIDTH - RIGHT - wide - 52, TOP + 10
    draw.rectangle([left, top, WIDTH - RIGHT - 10, top + 22 * len(lines) + 8], fill="white", outline=LIGHT)
    for number, line in enumerate(lines):
        middle = top + 15 + 22 * number
        draw.line([(left + 8, middle), (left + 28, middle)], fill=COLORS[number % len(COLORS)], width=3)
        draw.text((left + 34, middle), line, fill="black", font=font, anchor="lm")


def _points(log: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    points = [(entry["step"], entry[name]) for entry in log if entry.get(name) is not None]
    return [(step, value) for step, value in points if 0 < value < math.inf]


def _thinned(points: Sequence[tuple[int, float]], last: int) -> list[tuple[float, float]]:
    """Return the mean of the points of each pixel column."""
    columns: dict[int, list[tuple[int, float]]] = {}
    for step, value in points:
        columns.setdefault(int((WIDTH - LEFT - RIGHT) * step / last), []).append((step, value))
    return [
        (sum(step for step, _ in each) / len(each), sum(value for _, value in each) / len(each))
        for each in columns.values()
    ]


def _decades(low: float, high: float) -> tuple[float, float]:
    """Return a range with a little room around the values, of a factor of two at least."""
    middle, reach = math.sqrt(low * high), max(math.sqrt(high / low), math.sqrt(2.0)) * 1.15
    return middle / reach, middle * reach


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers on a logarithmic axis: 1, 2, 5 per decade, or whole decades where there are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    apart = max(1, len(decades) // 8)
    digits = (1, 2, 5) if len(decades) <= 5 else (1,)
    ticks = [digit * 10.0**decade for decade in decades if decade % apart == 0 for digit in digits]
    return [tick for tick in ticks if low <= tick <= high]


def _steps(last: int) -> list[int]:
    """Return four to ten round steps, from zero."""
    apart = next(size * 10**power for power in range(19) for size in (1, 2, 5) if last / (size * 10**power) <= 10)
    return list(range(0, last + 1, apart))
