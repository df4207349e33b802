"""The command line: `gatlas VERB [INPUT] [-o OUTPUT] [options]`.

Each verb is one file that parses, loads, calls and saves; `verbs` lists them. Nothing heavy is imported before a verb
runs.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line, that of the process or `argv` (without the program's name); see `gatlas.cli.app.main`."""
    from gatlas.cli.app import main

    main(argv)
