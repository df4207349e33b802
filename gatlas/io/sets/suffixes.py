"""Suffixes of file names, in capitals or not."""

from __future__ import annotations

from collections.abc import Sequence


def without_suffix(name: str, suffixes: Sequence[str]) -> tuple[str, str] | None:
    """Return a name without the suffix that it ends in, in capitals or not, and that suffix; None for another name."""
    for each in suffixes:
        if name[-len(each) :].lower() == each:
            return name[: -len(each)], each
    return None
