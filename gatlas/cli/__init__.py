"""The command line: `gatlas VERB [INPUT] [-o OUTPUT] [options]`.

Each verb is one file that parses, loads, calls and saves; `verbs` lists them. Nothing heavy is imported before a verb
runs.
"""

from typing import TYPE_CHECKING

from gatlas.lazy import lazy_names

if TYPE_CHECKING:
    from gatlas.cli.app import main

__all__ = ["main"]

__getattr__, __dir__ = lazy_names(__name__, {"main": "gatlas.cli.app"})
