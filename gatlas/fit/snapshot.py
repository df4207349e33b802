"""The state of an interrupted optimization. Nothing here imports torch: verbs that may resume name it beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Snapshot(NamedTuple):
    """State of an interrupted optimization: with it, the same call resumes, bit for bit on the CPU."""

    step: int  # steps done
    arrays: dict[str, np.ndarray]  # parameters, Adam's moments and the order of the views
    rng: dict[str, Any]  # state of the bit generator


class Interrupted(Exception):  # noqa: N818
    """The optimization was asked to stop before its end."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(f"stopped after {snapshot.step} steps")
        self.snapshot = snapshot
