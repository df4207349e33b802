"""gatlas man"""

from __future__ import annotations

from typing import Annotated

import typer


def man(
    context: typer.Context,
    verb: Annotated[
        str | None, typer.Argument(metavar="VERB", help="Verb to read about; left out: gatlas itself.")
    ] = None,
) -> None:
    """Show the manual page of a verb.

    Works wherever gatlas is installed; the pages are also installed for man(1) itself.

    Example: gatlas man fit
    """
    import shutil
    import subprocess
    import sys

    from gatlas.cli.manual_pages import pages
    from gatlas.errors import GatlasError
    from gatlas.io.streams import show, write_stdout

    known = pages(context.find_root().command)
    name = f"gatlas-{verb}" if verb else "gatlas"
    if name not in known:
        verbs = ", ".join(sorted(page.removeprefix("gatlas-") for page in known if page != "gatlas"))
        raise GatlasError(f"there is no page for {verb!r}; the verbs are {verbs}")
    formatter = shutil.which("man")
    if formatter is None:  # small containers have no man(1): roff source is still readable
        show(known[name])
        return
    # Only a terminal is left to man(1), for its pager: it does not tell of an output that is full or closed.
    output = None if sys.stdout is not None and sys.stdout.isatty() else subprocess.PIPE
    words = [formatter, "-l", "-"]
    shown = subprocess.run(words, input=known[name].encode(), stdout=output, stderr=subprocess.PIPE, check=False)
    if shown.returncode:  # a man(1) that cannot read standard input
        show(known[name])
    elif output is not None:
        write_stdout([shown.stdout])
