"""gatlas man"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from gatlas.cli.verbs import ManOptions


def run(verb: str | None, options: ManOptions, *, force: bool, given: frozenset[str]) -> None:
    """Show the page of a verb, or that of gatlas itself, with man(1) if it is installed."""
    from gatlas.cli.app import click_group
    from gatlas.cli.manual_pages import pages
    from gatlas.io.outputs import show, write_stdout

    known = pages(click_group())
    name = f"gatlas-{verb}" if verb else "gatlas"
    if name not in known:
        verbs = ", ".join(sorted(page.removeprefix("gatlas-") for page in known if page != "gatlas"))
        raise GatlasError(f"there is no page for {verb!r}; the verbs are {verbs}")
    formatter = shutil.which("man")
    if formatter is None:  # small containers have no man(1): roff source is still readable
        show(known[name])
        return
    # man(1) gets a terminal for its pager only: it does not report an output that is full or closed.
    output = None if sys.stdout is not None and sys.stdout.isatty() else subprocess.PIPE
    words = [formatter, "-l", "-"]
    shown = subprocess.run(words, input=known[name].encode(), stdout=output, stderr=subprocess.PIPE, check=False)
    if shown.returncode:  # a man(1) that cannot read standard input
        show(known[name])
    elif output is not None:
        write_stdout([shown.stdout])
