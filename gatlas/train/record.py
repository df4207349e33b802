"""What a run tells about itself: the log, the loss plot, TensorBoard's curves."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gatlas import io
from gatlas.io.runs import train_log as run_log
from gatlas.train.curve import is_term, loss_curve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from gatlas.train.processes import Processes

PLOT_SECONDS = 20.0  # between two drawings of the loss


class Averages:
    """Sums of named scalars on their device, which are read only when a line of the log is due."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self, processes: Processes) -> dict[str, float]:
        """The means since the last call, over all processes, each of which must have the same names."""
        names = sorted(self._sums)
        if not names:
            return {}
        sums = torch.stack([self._sums[name].float() for name in names])
        counts = torch.tensor([float(self._counts[name]) for name in names])
        self._sums, self._counts = {}, {}
        return dict(zip(names, processes.mean(sums, counts).tolist(), strict=True))


class Bad(NamedTuple):
    """The first step with a number that is not finite."""

    step: int
    name: str  # "loss" or "gradient"


class Finite:
    """Whether all losses and gradients were finite so far. A step is taken note of without waiting for a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._bad = torch.zeros((), dtype=torch.int64, device=device)  # 2 step + (1 where the loss was finite)

    def add(self, step: int, loss: Tensor, norm: Tensor) -> None:
        finite = loss.isfinite()
        here = torch.where(finite & norm.isfinite(), 0, 2 * step + finite.long())
        self._bad = torch.where(self._bad > 0, self._bad, here)

    def first_bad(self) -> Bad | None:
        code = int(self._bad)
        return Bad(code // 2, "gradient" if code % 2 else "loss") if code else None


class Record:
    """The first process's log, curves and loss plot."""

    def __init__(self, run: str, step: int) -> None:
        self.run = run
        self.entries = run_log.truncate_log(run, step)
        self._board = run_log.Board(run, step)
        self._drawn = -math.inf

    def add(self, entry: Mapping[str, Any]) -> None:
        """One line of the log. Numbers that JSON does not have are null."""
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in entry.items()
        }
        run_log.append_log(self.run, clean)
        self._board.add(clean)
        self.entries.append({name: value for name, value in clean.items() if name == "step" or is_term(name)})
        if time.monotonic() - self._drawn > PLOT_SECONDS:
            self.draw()

    def draw(self) -> None:
        """The loss plot as it now stands."""
        picture = loss_curve(self.entries)
        if picture is not None:
            io.save_image(f"{self.run}/{run_log.LOSS}", picture, force=True)
        self._drawn = time.monotonic()

    def close(self) -> None:
        self._board.close()
