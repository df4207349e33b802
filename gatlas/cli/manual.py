"""Write the manual pages in `man/`: `python -m gatlas.cli.manual man`."""

from __future__ import annotations

import sys

from gatlas import io
from gatlas.cli.app import click_group
from gatlas.cli.manual_pages import pages


def main() -> None:
    """Write every page into the folder that the command line names."""
    for name, text in pages(click_group()).items():
        io.save_text(f"{sys.argv[1].rstrip('/')}/{name}.1", text, force=True)


if __name__ == "__main__":
    main()
