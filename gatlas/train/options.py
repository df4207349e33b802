"""Options of the training loop."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from gatlas.config import Options, option
from gatlas.errors import GatlasError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Options that a run may change when it is resumed: the weights are the same whatever they are.
FREE = ("gradient_checkpointing", "checkpoint_every", "keep", "sample_every", "log_every", "diagnose_every", "workers")
# Options whose product is the number of samples per step, which may be split in another way when a run is resumed.
SPLIT = ("batch", "accumulate", "processes")


@dataclass(frozen=True)
class TrainOptions(Options):
    """Options of the loop; those of the system are in its own config."""

    steps: int = option(1_000, min=1, help="Steps of the optimiser.")
    batch: int = option(8, min=1, help="Samples at once, of each process.")
    accumulate: int = option(1, min=1, help="Batches whose gradients are averaged for one step.")
    lr: float = option(1e-4, above=0, help="Learning rate.")
    schedule: Literal["constant", "cosine"] = option("constant", help="Constant or cosine.")
    schedule_steps: int | None = option(None, min=1, help="Where the cosine ends; none: at the last step.")
    # What has a lower learning rate from the start keeps its own.
    lr_end: float = option(0.0, min=0, help="Learning rate at the cosine's end.")
    warmup: int = option(100, min=0, help="Steps in which the learning rate rises.")
    weight_decay: float = option(0.01, min=0, help="Of AdamW.")
    betas: tuple[float, float] = option((0.9, 0.999), min=0, below=1, help="Of AdamW.")
    clip: float | None = option(1.0, above=0, help="Greatest norm of all gradients together; none: no clipping.")
    ema_decay: float = option(0.9999, min=0, below=1, help="Of the averaged weights.")
    # See `gatlas.train.ema.decay_at`.
    ema_power: float = option(0.75, above=0, help="How fast the average grows longer at the start.")
    seed: int = option(0, min=0, help="Seed of everything random.")
    gradient_checkpointing: bool = option(False, help="Half the memory for a third more time.")
    checkpoint_every: int = option(1_000, min=1, help="Steps between checkpoints.")
    keep: int = option(3, min=1, help="Checkpoints to keep, the newest.")
    sample_every: int = option(1_000, min=0, help="Steps between pictures; 0: none.")
    log_every: int = option(10, min=1, help="Steps between lines of the log.")
    diagnose_every: int = option(100, min=0, help="Steps between measurements of what the text does; 0: none.")
    workers: int | None = option(
        None, min=0, help="Processes that read samples; none: 0 on the CPU, up to 4 beside a GPU."
    )
    precision: Literal["auto", "fp32", "bf16"] = option("auto", help="Numbers of the network; auto: bf16 on CUDA.")

    def validate(self) -> None:
        """Refuse an end of the cosine that there is no cosine for, or that is before the last step."""
        if self.schedule_steps is not None:
            self.require(self.schedule == "cosine", "schedule_steps", "is for schedule=cosine")
            self.require(
                self.schedule_steps >= self.steps,
                "schedule_steps",
                f"must be at least the {self.steps} steps",
                f": for a new run, add --set schedule_steps={self.steps}",
            )


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
