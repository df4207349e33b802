"""Background colors by name."""

from __future__ import annotations

from gatlas.errors import GatlasError

COLORS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5), "gray": (0.5, 0.5, 0.5)}

Background = tuple[float, float, float] | None  # None is transparent


def parse_background(text: str) -> Background:
    """Return a color given by name or as #rrggbb; None for "transparent"."""
    if text == "transparent":
        return None
    if text in COLORS:
        return COLORS[text]
    digits = text.removeprefix("#")
    if len(digits) == 3:  # #f80 is #ff8800
        digits = "".join(2 * digit for digit in digits)
    if len(digits) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
        return tuple(int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))  # type: ignore[return-value]
    raise GatlasError(f"background {text!r} is not a color: use {', '.join(COLORS)}, transparent or #rrggbb")
