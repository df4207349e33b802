"""The verbs of the command line: name, options, inputs, and the function that runs each."""

from __future__ import annotations

import typer

from gatlas.cli.command import Batchable, Output, Verb
from gatlas.fit.options import FitOptions
from gatlas.prune.options import PruneOptions

MANY = typer.Argument(
    metavar="INPUT...", help="Files, folders, patterns or tar shards to read; - is standard input.", show_default=False
)
SPLATS = (".ply", ".splat", ".spz")

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "fit",
            "gatlas.cli.fit:run",
            FitOptions,
            inputs=MANY,
            output=Output,
            threads=True,
            batch=Batchable(".ply", (".glb", ".gltf", ".obj", ".ply"), photos=True),
        ),
        Verb(
            "prune",
            "gatlas.cli.prune:run",
            PruneOptions,
            inputs=MANY,
            output=Output,
            threads=True,
            batch=Batchable(".ply", SPLATS),
        ),
    )
}
