"""Strips above and below pictures: a color bar with its numbers, and captions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.images.colormap import viridis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Float32

INK = "#202020"
BAR, MARGIN = 14, 8  # pixels
SIZE = 14  # of letters, pixels; smaller where a picture is narrow
READABLE = 10  # of letters, pixels: smaller ones are left out


def color_bar(width: int, low: float, high: float, label: str) -> Float32[np.ndarray, "h w 3"]:
    """Return a white strip of a picture's width with the colors from `low` to `high`, these numbers and a label."""
    size = _size(width)
    strip = _Strip(width, BAR + 2 * MARGIN + size)
    margin = min(MARGIN, width // 8)
    inner = max(1, width - 2 * margin)
    colors = viridis(np.linspace(0.0, 1.0, inner))
    for column, (red, green, blue) in enumerate(np.rint(colors * 255).astype(int).tolist()):
        strip.draw.line([(margin + column, MARGIN // 2), (margin + column, MARGIN // 2 + BAR)], fill=(red, green, blue))
    top = MARGIN + BAR
    left, right = f"{low:.4g}", f"{high:.4g}"
    strip.write(margin, top, left, "lt", size)
    strip.write(width - margin, top, right, "rt", size)
    room = inner - 2 * max(strip.width_of(text, size) for text in (left, right)) - 2 * MARGIN
    if strip.width_of(label, size) <= room:
        strip.write(width // 2, top, label, "mt", size)
    return strip.pixels()


def caption_row(width: int, texts: Sequence[str]) -> Float32[np.ndarray, "h w 3"]:
    """Return a white strip with a text over each of as many equal columns; the ends of long ones are left out."""
    column, size = width // len(texts), _size(width // len(texts))
    strip = _Strip(width, size + MARGIN)
    for number, text in enumerate(texts):
        while len(text) > 1 and strip.width_of(text, size) > column - MARGIN:
            text = text[: -2 if text.endswith("…") else -1].rstrip() + "…"
        strip.write(number * column + column // 2, size + MARGIN // 4, text, "ms", size)
    return strip.pixels()


def stacked(*parts: Float[np.ndarray, "_ w _"]) -> Float32[np.ndarray, "h w d"]:
    """Return pictures of one width below each other; RGBA where one of them has alpha."""
    channels = max(part.shape[2] for part in parts)
    same = [
        np.concatenate([part, np.ones((*part.shape[:2], 1), part.dtype)], axis=2) if part.shape[2] < channels else part
        for part in parts
    ]
    return np.concatenate(same).astype(np.float32)


def _size(width: int) -> int:
    return max(READABLE, min(SIZE, width // 16))


class _Strip:
    """A white picture that is drawn on."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self._image = Image.new("RGB", (width, height), "white")
        self.draw: Any = ImageDraw.Draw(self._image)

    def width_of(self, text: str, size: int) -> float:
        return float(self.draw.textlength(text, font=_font(size)))

    def write(self, x: float, y: float, text: str, anchor: str, size: int) -> None:
        self.draw.text((x, y), text, fill=INK, font=_font(size), anchor=anchor)

    def pixels(self) -> Float32[np.ndarray, "h w 3"]:
        return np.asarray(self._image, dtype=np.float32) / np.float32(255.0)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)
