"""What a training run is asked to do."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Options that a run may change when it goes on: the weights are the same whatever they are.
FREE = ("gradient_checkpointing", "checkpoint_every", "keep", "sample_every", "log_every", "diagnose_every", "workers")
# Options whose product is the number of samples a step, which may be split in another way when a run goes on.
SPLIT = ("batch", "accumulate", "processes")


@dataclass(frozen=True)
class TrainOptions:
    """Options of the loop; those of the system are in its own config."""

    steps: int = 1_000  # optimiser steps
    batch: int = 8  # samples at once, of each process
    accumulate: int = 1  # batches whose gradients are averaged for one step
    lr: float = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    schedule_steps: int | None = None  # the cosine ends here; None: at the last step
    lr_end: float = 0.0  # of the cosine; what has a lower learning rate from the start keeps its own
    warmup: int = 100  # steps in which the learning rate rises linearly
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = 1.0  # greatest norm of all gradients together; None: no clipping
    ema_decay: float = 0.9999
    ema_power: float = 0.75  # of the EMA's warm-up, see `gatlas.train.ema.decay_at`
    seed: int = 0
    gradient_checkpointing: bool = False  # half the memory for a third more time
    checkpoint_every: int = 1_000  # steps
    keep: int = 3  # checkpoints
    sample_every: int = 1_000  # steps; 0: no pictures
    log_every: int = 10  # steps
    diagnose_every: int = 100  # steps; 0: never
    workers: int | None = None  # processes that read samples; None: none on the CPU, up to 4 beside a GPU
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 on CUDA, fp32 on the CPU

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "checkpoint_every", "keep", "log_every"):
            _require(getattr(self, name) >= 1, name, "must be at least 1", getattr(self, name))
        for name in ("warmup", "sample_every", "diagnose_every", "seed"):
            _require(getattr(self, name) >= 0, name, "must not be negative", getattr(self, name))
        _require(self.workers is None or self.workers >= 0, "workers", "must not be negative", self.workers)
        _require(0 < self.lr < math.inf, "lr", "must be greater than 0 and finite", self.lr)
        _require(0 <= self.lr_end < math.inf, "lr_end", "must be at least 0 and finite", self.lr_end)
        _require(0 <= self.weight_decay < math.inf, "weight_decay", "must be at least 0 and finite", self.weight_decay)
        _require(len(self.betas) == 2, "betas", "must be two numbers", self.betas)
        _require(all(0 <= beta < 1 for beta in self.betas), "betas", "must be in [0, 1)", self.betas)
        _require(self.clip is None or 0 < self.clip < math.inf, "clip", "must be greater than 0 and finite", self.clip)
        _require(0 <= self.ema_decay < 1, "ema_decay", "must be in [0, 1)", self.ema_decay)
        _require(0 < self.ema_power < math.inf, "ema_power", "must be greater than 0", self.ema_power)
        _require(self.schedule in ("constant", "cosine"), "schedule", "must be constant or cosine", self.schedule)
        _require(self.precision in ("auto", "fp32", "bf16"), "precision", "must be auto, fp32 or bf16", self.precision)
        if self.schedule_steps is not None:
            _require(self.schedule == "cosine", "schedule_steps", "is for schedule=cosine", self.schedule_steps)
            _require(
                self.schedule_steps >= self.steps,
                "schedule_steps",
                f"must be at least the {self.steps} steps",
                self.schedule_steps,
                f": for a new run, add --set schedule_steps={self.steps}",
            )


def _require(kept: bool, name: str, rule: str, value: Any, advice: str = "") -> None:
    if not kept:
        raise GatlasError(f"{name} {rule}, got {value}{advice}")


def learning_rate(options: TrainOptions, step: int, scale: float = 1.0) -> float:
    """The learning rate of a step, counted from 1: a linear rise, then constant or half a cosine down to `lr_end`.

    The cosine begins where the rise has ended. `scale` is the factor of some weights' own learning rate.
    """
    rate = scale * options.lr
    if options.schedule == "cosine":
        end = min(rate, options.lr_end)
        falling = (options.schedule_steps or options.steps) - options.warmup
        share = max(0, step - 1 - options.warmup) / max(1, falling)
        rate = end + (rate - end) * 0.5 * (1 + math.cos(math.pi * share))
    return rate * min(1.0, step / max(options.warmup, 1))


def options_from(stored: Mapping[str, Any]) -> TrainOptions:
    """The options that a checkpoint keeps. Unknown or lacking names are a GatlasError."""
    names = {field.name for field in fields(TrainOptions)}
    if set(stored) != names:
        odd = ", ".join(sorted(set(stored) ^ names))
        raise GatlasError(f"the checkpoint is of another version of gatlas: its options differ in {odd}")
    return TrainOptions(**{**stored, "betas": tuple(stored["betas"])})


def refuse_changes(now: Mapping[str, Any], stored: Mapping[str, Any], where: str) -> None:
    """A GatlasError that names each of the values that differ between a run and its checkpoint."""
    changed = [
        f"{name} is {_shown(stored.get(name))} there and {_shown(now.get(name))} here"
        for name in sorted({*now, *stored})
        if _plain(now.get(name)) != _plain(stored.get(name))
    ]
    if changed:
        raise GatlasError(f"{where}: cannot go on with other options: {'; '.join(changed)}")


def refuse_other_training(
    options: TrainOptions, processes: int, stored: TrainOptions, stored_processes: int, where: str
) -> list[str]:
    """Refuse options that would change the result of a run that goes on; what is allowed but matters is returned.

    The options of `FREE` may change. `steps` may change where the learning rate does not depend on it. `batch`,
    `accumulate` and the number of processes may change where their product does not.
    """
    now, before = asdict(options), asdict(stored)
    for name in (*FREE, "precision"):  # what auto came to is compared where the device is known
        now.pop(name), before.pop(name)
    remarks = []
    if options.schedule == "constant" or options.schedule_steps is not None:
        if now["steps"] != before["steps"]:
            remarks.append(
                f"steps is {before['steps']} in {where} and {now['steps']} here: parts of the loss that grow with the "
                "share of the steps go on by the new number"
            )
        now.pop("steps"), before.pop("steps")
    split, split_before = (options.batch, options.accumulate, processes), (stored.batch, stored.accumulate)
    if math.prod(split) == math.prod(split_before) * stored_processes:
        if split != (*split_before, stored_processes):
            remarks.append(
                f"{math.prod(split)} samples a step are split in another way than in {where}: the result is another "
                "draw of the same training, not bit for bit the same"
            )
        for name in SPLIT[:2]:
            now.pop(name), before.pop(name)
    else:
        now["processes"], before["processes"] = processes, stored_processes
    refuse_changes(now, before, where)
    return remarks


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value)
