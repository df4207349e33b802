"""Outputs of `gatlas render` that are one picture: a file, or the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatlas import io
from gatlas.cli.terminal import check_outputs
from gatlas.errors import GatlasError
from gatlas.io.terminal_pictures import check_terminal, show_picture

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from gatlas.render import RenderOptions


def check_picture_output(output: str, options: RenderOptions, *, noun: str = "image", force: bool) -> None:
    """Raise a GatlasError, before any work, where a picture or a folder could not be written or shown."""
    if not options.inline:
        check_outputs(output, options, noun=None if io.is_folder(output) else noun, force=force)
        return
    if output != "-":
        raise GatlasError(f"--inline shows the picture in the terminal and writes no file: leave out -o {output}")
    check_terminal()


def save_picture(
    output: str, picture: Float[np.ndarray, "h w d"], options: RenderOptions, *, force: bool, name: str
) -> None:
    """Write a picture, or show it in the terminal."""
    if options.inline:
        show_picture(picture)
    else:
        io.save_image(output, picture, force=force, name=name)
