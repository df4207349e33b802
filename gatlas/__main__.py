"""`python -m gatlas` is the command line."""

from gatlas.cli import main

main()
