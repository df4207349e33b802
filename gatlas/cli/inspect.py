"""gatlas info"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from gatlas.inspection import InspectOptions, inspect
from gatlas.io.outputs import show

if TYPE_CHECKING:
    from gatlas.inspection import Inspection


def run(inputs: list[str] | None, options: InspectOptions, *, force: bool, given: frozenset[str]) -> None:
    """Show facts and faults of each file; exit with 1 where one cannot be read, or, with --check, has a fault."""
    found = []
    for name in inputs or ["-"]:
        found.append(inspect(name))
        if not options.json:
            show("\n".join(found[-1].lines()) + "\n")
    if options.json:
        show(json.dumps([each.as_json() for each in found], indent=2, allow_nan=False) + "\n")
    if any(_fails(each, options) for each in found):
        raise typer.Exit(1)


def _fails(found: Inspection, options: InspectOptions) -> bool:
    return found.kind == "unreadable" or (options.check and bool(found.findings))
