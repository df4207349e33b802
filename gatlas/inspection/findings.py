"""The result of looking at a file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a file."""

    fault: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.fault}: {self.remedy}" if self.remedy else self.fault


@dataclass
class Inspection:
    """Facts of a file by their names, in order, and what is wrong with it."""

    name: str
    kind: str  # a key of `gatlas.io.registry.NOUNS`, or "views", "model", "run", "manifest", "unreadable"
    format: str
    facts: dict[str, Any] = field(default_factory=dict)  # JSON-able
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # decisions of the reader, such as the vertical axis

    def find(self, fault: str, remedy: str = "") -> None:
        """Add a fault."""
        self.findings.append(Finding(fault, remedy))

    def as_json(self) -> dict[str, Any]:
        """Return all of it, JSON-able."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it as text."""
        width = max((len(name) for name in self.facts), default=0)
        lines = [f"{self.name}: {self.format}"]
        lines += [f"  {name:<{width}}  {shown(value)}" for name, value in self.facts.items()]
        lines += [f"  note: {note.removeprefix(f'{self.name}: ')}" for note in self.notes]
        return [*lines, *(f"  wrong: {finding}" for finding in self.findings)]


def shown(value: Any) -> str:
    """Return a value of a fact for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return " ".join(map(shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(each)}" for key, each in value.items())
    return str(value)


@contextmanager
def noting(found: Inspection) -> Iterator[None]:
    """Inside the block, warnings become notes, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if str(warning.message) not in found.notes:
            found.notes.append(str(warning.message))
