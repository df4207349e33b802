"""Arguments and options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

Input = Annotated[str, typer.Argument(metavar="INPUT", help="File to read; - is standard input.", show_default=False)]
Output = Annotated[str, typer.Option("--output", "-o", metavar="OUTPUT", help="File to write; - is standard output.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing output.")]
Seed = Annotated[
    int, typer.Option(min=0, metavar="N", help="Seed of everything random; the same seed gives the same bytes.")
]
