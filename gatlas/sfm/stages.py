"""Progress of the stages of structure from motion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

# Called with a title and a number of things (None: not known); its block is given a function to call once a thing.
Bar = Callable[[str, "int | None"], AbstractContextManager[Callable[[], None]]]


@contextmanager
def no_bar(title: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show nothing."""
    yield lambda: None
