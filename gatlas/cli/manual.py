"""Write the manual pages in `man/`: `python -m gatlas.cli.manual man`."""

from __future__ import annotations

import sys

import typer

from gatlas import io
from gatlas.cli import app
from gatlas.cli.manual_pages import pages


def main() -> None:
    """Write every page into the folder that the command line names."""
    for name, text in pages(typer.main.get_command(app)).items():
        io.save_text(f"{sys.argv[1].rstrip('/')}/{name}.1", text, force=True)


if __name__ == "__main__":
    main()
