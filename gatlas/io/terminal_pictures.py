"""Pictures in the terminal: by the protocols of kitty, iTerm2 and sixel, else as half-block characters.

The protocol is chosen by the environment, since a terminal that is asked may not answer. What runs inside tmux or
screen gets half blocks: they keep escape sequences of pictures to themselves.
"""

from __future__ import annotations

import base64
import os
import shutil
import struct
import sys
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from gatlas.errors import GatlasError
from gatlas.images.composite import composite
from gatlas.images.resize import reduce_picture
from gatlas.images.srgb import to_bytes
from gatlas.io.images import encode_png
from gatlas.io.outputs import write_stdout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float, UInt8

Protocol = Literal["kitty", "iterm2", "sixel", "blocks"]

CELL = 9, 18  # pixels of a character, where the terminal does not say
CHUNK = 4096  # bytes of one escape sequence of kitty's
BAND = 6  # rows of pixels in a character of sixel
TRANSPARENT = 0.5  # alpha below which a sixel or half a block is left out


def choose_protocol(environment: Mapping[str, str]) -> Protocol:
    """Return how the terminal of an environment shows pictures; one that shows no colors is a GatlasError."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if term in ("", "dumb"):
        raise GatlasError(f"the terminal (TERM={term}) shows no pictures: write a file, -o x.png")
    if "TMUX" in environment or term.startswith(("tmux", "screen")):
        return "blocks"
    if "KITTY_WINDOW_ID" in environment or "kitty" in term or "ghostty" in (term, program) or "ghostty" in term:
        return "kitty"
    if program in ("iTerm.app", "WezTerm", "mintty") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    if "sixel" in term or term.startswith(("foot", "mlterm", "contour", "yaft")):
        return "sixel"
    return "blocks"


def check_terminal(environment: Mapping[str, str] = os.environ) -> Protocol:
    """Return how standard output shows pictures; where it is no terminal that does, it is a GatlasError."""
    if sys.stdout is None or not sys.stdout.isatty():
        raise GatlasError("standard output is no terminal to show a picture in: write a file, -o x.png")
    return choose_protocol(environment)


def show_picture(image: Float[np.ndarray, "h w d"], *, environment: Mapping[str, str] = os.environ) -> None:
    """Show an RGB or straight RGBA picture, in [0, 1], in the terminal that standard output is.

    It is made smaller where it would not fit. A standard output that is no terminal is a GatlasError.
    """
    protocol = check_terminal(environment)
    write_stdout([encode_for_terminal(image, protocol, *_terminal_size())])


def encode_for_terminal(
    image: Float[np.ndarray, "h w d"],
    protocol: Protocol,
    columns: int,
    rows: int,
    cell: tuple[int, int] = CELL,
) -> bytes:
    """Return the bytes that show a picture, at most so many characters of `cell` pixels large, and end the line."""
    if protocol == "blocks":
        return _blocks(_fitted(image, columns, 2 * max(1, rows - 1)))
    image = _fitted(image, columns * cell[0], max(1, rows - 1) * cell[1])
    if protocol == "sixel":
        return _sixel(image)
    png = base64.b64encode(encode_png(image))
    if protocol == "iterm2":
        height, width = image.shape[:2]
        size = f"size={len(png) // 4 * 3 - png[-2:].count(b'=')};width={width}px;height={height}px"
        return b"\x1b]1337;File=inline=1;" + size.encode() + b":" + png + b"\a\n"
    return _kitty(png)


def _terminal_size() -> tuple[int, int, tuple[int, int]]:
    """Return columns, rows, and width and height of a character in pixels, of standard output."""
    columns, rows = shutil.get_terminal_size()
    try:
        import fcntl
        import termios

        answer = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
        high, wide, width, height = struct.unpack("4H", answer)
    except (OSError, ImportError):
        return columns, rows, CELL
    known = wide and high and width >= wide and height >= high
    return columns, rows, (width // wide, height // high) if known else CELL


def _fitted(image: Float[np.ndarray, "h w d"], width: int, height: int) -> Float[np.ndarray, "_ _ d"]:
    """Return the picture, smaller where it is wider or higher than that; its shape is kept."""
    share = min(1.0, width / image.shape[1], height / image.shape[0])
    size = (max(1, round(image.shape[i] * share)) for i in (1, 0))
    return reduce_picture(image, *size)


def _kitty(png: bytes) -> bytes:
    pieces = [png[at : at + CHUNK] for at in range(0, len(png), CHUNK)]
    sequences = []
    for i, piece in enumerate(pieces):
        control = ("a=T,f=100,q=2," if i == 0 else "") + f"m={int(i < len(pieces) - 1)}"
        sequences.append(b"\x1b_G" + control.encode() + b";" + piece + b"\x1b\\")
    return b"".join(sequences) + b"\n"


def _opaque(image: Float[np.ndarray, "h w d"]) -> Bool[np.ndarray, "h w"]:
    return image[..., 3] >= TRANSPARENT if image.shape[2] == 4 else np.ones(image.shape[:2], dtype=bool)


def _blocks(image: Float[np.ndarray, "h w d"]) -> bytes:
    """Return two pixels per character: the upper half block in the color of the upper, over that of the lower."""
    if image.shape[0] % 2:
        image = np.concatenate([image, np.zeros_like(image[:1])])
        opaque = _opaque(image)
        opaque[-1] = False
    else:
        opaque = _opaque(image)
    colors = to_bytes(image[..., :3])
    lines = []
    for row in range(0, len(image), 2):
        cells = zip(colors[row], colors[row + 1], opaque[row], opaque[row + 1], strict=True)
        lines.append("".join(_block(*each) for each in cells) + "\x1b[0m\n")
    return "".join(lines).encode()


def _block(upper: UInt8[np.ndarray, " 3"], lower: UInt8[np.ndarray, " 3"], has_upper: bool, has_lower: bool) -> str:
    first, second = ("{};{};{}".format(*each) for each in (upper, lower))
    if has_upper and has_lower:
        return f"\x1b[38;2;{first};48;2;{second}m▀"
    if has_upper:
        return f"\x1b[0;38;2;{first}m▀"
    return f"\x1b[0;38;2;{second}m▄" if has_lower else "\x1b[0m "


def _sixel(image: Float[np.ndarray, "h w d"]) -> bytes:
    """Return DEC's sixels in up to 255 colors: of each band of six rows, the pixels of one color after another."""
    opaque = _opaque(image)
    pixels = to_bytes(composite(image, 1.0) if image.shape[2] == 4 else image)
    paletted = Image.fromarray(pixels).quantize(255, method=Image.Quantize.MEDIANCUT)
    palette = np.array(paletted.getpalette()).reshape(-1, 3)
    indices = np.where(opaque, np.asarray(paletted).astype(np.int64), -1)
    height, width = indices.shape
    indices = np.pad(indices, ((0, -height % BAND), (0, 0)), constant_values=-1)
    parts = [f'\x1bP0;1q"1;1;{width};{height}']  # what is left out keeps the terminal's background
    for number in np.unique(indices[indices >= 0]):
        red, green, blue = np.rint(palette[number] / 255 * 100).astype(int)
        parts.append(f"#{number};2;{red};{green};{blue}")
    for band in indices.reshape(-1, BAND, width):
        rows = []
        for number in np.unique(band[band >= 0]):
            bits = ((band == number) << np.arange(BAND)[:, None]).sum(axis=0)
            rows.append(f"#{number}{_run_lengths(bits)}")
        parts.append("$".join(rows) + "-")
    return ("".join(parts) + "\x1b\\\n").encode()


def _run_lengths(bits: np.ndarray) -> str:
    """Return the characters of a row of sixels, those that repeat as their count."""
    starts = np.flatnonzero(np.diff(bits, prepend=-1))
    counts = np.diff(starts, append=len(bits))
    letters = (chr(63 + bits[start]) for start in starts)
    return "".join(
        letter * count if count < 4 else f"!{count}{letter}" for letter, count in zip(letters, counts, strict=True)
    )
