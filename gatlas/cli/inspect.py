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
            show("\n".join(found[-1].lines()) + "\n")
            _show_picture(found[-1])
    if options.json:
        show(json.dumps([each.as_json() for each in found], indent=2, allow_nan=False) + "\n")
    if any(_fails(each, options) for each in found):
        raise typer.Exit(1)


def _show_picture(found: Inspection) -> None:
    """Show a small picture of a file where standard output is a terminal that shows pictures."""
    if sys.stdout is None or not sys.stdout.isatty():
        return  # before anything is imported for it
    from gatlas.inspection.pictures import small_picture
    from gatlas.io.terminal_pictures import check_terminal, show_picture

    try:
        side = _SIDES.get(check_terminal(), _SIDE)
    except GatlasError:  # a terminal without colors
        return
    picture = small_picture(found, side)
    if picture is not None:
        show_picture(picture)


def _fails(found: Inspection, options: InspectOptions) -> bool:
    return found.kind == "unreadable" or (options.check and bool(found.findings))
