"""gatlas info"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer

from gatlas.errors import GatlasError
from gatlas.inspection import InspectOptions, inspect
from gatlas.io.outputs import show

if TYPE_CHECKING:
    from gatlas.inspection import Inspection


_SIDE = 256  # pixels of a picture
_SIDES = {"blocks": 40}  # where a character is two pixels


def run(inputs: list[str] | None, options: InspectOptions, *, force: bool, given: frozenset[str]) -> None:
    """Show facts and faults of each file; exit with 1 where one cannot be read, or, with --check, has a fault."""
    found = []
    for name in inputs or ["-"]:
        found.append(inspect(name))
        if not options.json:
            _show(found[-1])
    if options.json:
        show(json.dumps([each.as_json() for each in found], indent=2, allow_nan=False) + "\n")
    if any(_fails(each, options) for each in found):
        raise typer.Exit(1)


def _show(found: Inspection) -> None:
    """Show the facts of a file; in a terminal with colors as a tree, and a small picture."""
    side = _picture_side()
    if side is None:
        show("\n".join(found.lines()) + "\n")
        return
    from gatlas.cli.inspect_tree import drawn_tree
    from gatlas.inspection.pictures import small_picture
    from gatlas.io.terminal_pictures import show_picture

    show(drawn_tree(found))
    picture = small_picture(found, side)
    if picture is not None:
        show_picture(picture)


def _picture_side() -> int | None:
    """Return the side in pixels of a picture on standard output; None where it is no terminal with colors."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None  # before anything is imported for it
    from gatlas.io.terminal_pictures import check_terminal

    try:
        return _SIDES.get(check_terminal(), _SIDE)
    except GatlasError:
        return None


def _fails(found: Inspection, options: InspectOptions) -> bool:
    return found.kind == "unreadable" or (options.check and bool(found.findings))
