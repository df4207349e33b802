"""The log of a run, its loss plot and TensorBoard's curves."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gatlas import io
from gatlas.io.runs import train_log
from gatlas.train.curve import is_term, loss_curve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from gatlas.train.process_group import ProcessGroup

PLOT_SECONDS = 20.0  # between two plots of the loss


class Averages:
    """Sums of named scalars on their device, which are read only when a line of the log is due."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add a value to each sum, without synchronizing with a GPU."""
        for name, value in values.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self, group: ProcessGroup) -> dict[str, float]:
        """Return the means since the last call, over all processes, each of which must have the same names."""
        names = sorted(self._sums)
        if not names:
            return {}
        sums = torch.stack([self._sums[name].float() for name in names])
        counts = torch.tensor([float(self._counts[name]) for name in names])
        self._sums, self._counts = {}, {}
        return dict(zip(names, group.mean(sums, counts).tolist(), strict=True))


class NonFinite(NamedTuple):
    """A step with a number that is not finite."""

    step: int
    name: str  # "loss" or "gradient"


class FiniteCheck:
    """The first loss or gradient that is not finite. Adding a step does not synchronize with a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._first = torch.zeros((), dtype=torch.int64, device=device)  # 2 step + (1 where the loss was finite)

    def add(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Note a step's loss and the norm of its gradients."""
        finite = loss.isfinite()
        here = torch.where(finite & norm.isfinite(), 0, 2 * step + finite.long())
        self._first = torch.where(self._first > 0, self._first, here)

    def first(self) -> NonFinite | None:
        """Return the first such step, or None. Reading it synchronizes with the GPU."""
        code = int(self._first)
        return NonFinite(code // 2, "gradient" if code % 2 else "loss") if code else None


class TrainLog:
    """The log, curves and loss plot of a run, which its first process writes."""

    def __init__(self, run: str, step: int) -> None:
        self.run = run
        self.entries = train_log.truncate_log(run, step)
        self._board = train_log.Board(run, step)
        self._plotted = -math.inf

    def add(self, entry: Mapping[str, Any]) -> None:
        """Write one line of the log. Numbers that JSON does not have are null."""
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in entry.items()
        }
        train_log.append_log(self.run, clean)
        self._board.add(clean)
        self.entries.append({name: value for name, value in clean.items() if name == "step" or is_term(name)})
        if time.monotonic() - self._plotted > PLOT_SECONDS:
            self.plot()

    def plot(self) -> None:
        """Write the loss plot of all lines so far."""
        picture = loss_curve(self.entries)
        if picture is not None:
            io.save_image(f"{self.run}/{train_log.LOSS}", picture, force=True)
        self._plotted = time.monotonic()

    def close(self) -> None:
        """Close TensorBoard's file."""
        self._board.close()
