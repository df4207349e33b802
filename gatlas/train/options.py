"""Options of the training loop, and of `gatlas train`."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from gatlas.config import Options, option, option_fields
from gatlas.errors import GatlasError
from gatlas.systems import SYSTEMS, system_module

# Of torch.optim.lr_scheduler.OneCycleLR: the rate is at first lr / CYCLE_START, and in the end CYCLE_END times lower.
CYCLE_START, CYCLE_END = 25.0, 1e4
CYCLE_BETAS = (0.85, 0.95)


@dataclass(frozen=True)
class TrainOptions(Options):
    """Options of the loop; those of the system are in its own config."""

    steps: int = option(1_000, min=1, help="Optimizer steps.")
    batch: int = option(8, min=1, help="Batch size per process.")
    accumulate: int = option(1, min=1, help="Batches per step, whose gradients are averaged.")
    lr: float = option(1e-4, above=0, help="Learning rate.")
    schedule: Literal["constant", "cosine", "onecycle"] = option(
        "constant",
        help="Learning rate after the warm-up, constant or cosine; onecycle is torch's OneCycleLR, which also rises by "
        "a cosine and whose first beta falls from 0.95 to 0.85 and rises again.",
    )
    schedule_steps: int | None = option(
        None, min=1, help="Step at which the cosine or the cycle ends; none: the last step."
    )
    # What has a lower learning rate from the start keeps its own.
    lr_end: float = option(0.0, min=0, help="Learning rate at the end of the cosine.")
    warmup: int = option(100, min=0, help="Steps of linear warm-up of the learning rate.")
    weight_decay: float = option(0.01, min=0, help="Weight decay of AdamW.")
    betas: tuple[float, float] = option((0.9, 0.999), min=0, below=1, help="Betas of AdamW.")
    clip: float | None = option(1.0, above=0, help="Maximum norm of the gradient; none: no clipping.")
    ema_decay: float = option(0.9999, min=0, below=1, help="Decay of the averaged weights (EMA).")
    ema_power: float = option(
        0.75, above=0, help="Warm-up of the EMA: its decay after step n is at most 1 - (1 + n)^-power."
    )
    seed: int = option(0, min=0, help="Seed of everything random.")
    gradient_checkpointing: bool = option(False, help="Recompute activations: half the memory for a third more time.")
    checkpoint_every: int = option(1_000, min=1, help="Steps between checkpoints.")
    keep: int = option(3, min=1, help="Newest checkpoints to keep.")
    sample_every: int = option(1_000, min=0, help="Steps between pictures; 0: none.")
    log_every: int = option(10, min=1, help="Steps between lines of the log.")
    diagnose_every: int = option(
        100, min=0, help="Steps between measurements for the log, such as the effect of the text; 0: none."
    )
    workers: int | None = option(
        None, min=0, help="Processes that read samples, for each that trains; none: 0 on the CPU, 4 on CUDA."
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", help="Compute precision; auto is bf16 on CUDA devices that compute it."
    )

    def validate(self) -> None:
        """Refuse an end of the cosine that there is no cosine for, or that is before the last step."""
        if self.schedule_steps is not None:
            self.require(self.schedule != "constant", "schedule_steps", "is for schedule=cosine and onecycle")
            self.require(
                self.schedule_steps >= self.steps,
                "schedule_steps",
                f"must be at least the {self.steps} steps",
                f": for a new run, add --set schedule_steps={self.steps}",
            )


def learning_rate(options: TrainOptions, step: int, scale: float = 1.0) -> float:
    """Return the learning rate of a step, counted from 1: a linear rise, then constant or a half cosine to `lr_end`.

    The cosine begins where the rise has ended. `scale` is the factor of some weights' own learning rate. With one
    cycle the rise is a half cosine too.
    """
    rate = scale * options.lr
    if options.schedule == "onecycle":
        rises, height = _cycle(options, step)
        low = rate / CYCLE_START if rises else rate / (CYCLE_START * CYCLE_END)
        return low + (rate - low) * height
    if options.schedule == "cosine":
        end = min(rate, options.lr_end)
        falling = (options.schedule_steps or options.steps) - options.warmup
        share = max(0, step - 1 - options.warmup) / max(1, falling)
        rate = end + (rate - end) * 0.5 * (1 + math.cos(math.pi * share))
    return rate * min(1.0, step / max(options.warmup, 1))


def betas(options: TrainOptions, step: int) -> tuple[float, float]:
    """Return the betas of AdamW at a step, counted from 1: with one cycle the first is low where the rate is high."""
    first, second = options.betas
    if options.schedule == "onecycle":
        low, high = CYCLE_BETAS
        first = high - (high - low) * _cycle(options, step)[1]
    return first, second


def _cycle(options: TrainOptions, step: int) -> tuple[bool, float]:
    """Return True while the rate of one cycle rises, and its share, [0, 1], of the way from its low to its high."""
    peak, end, at = options.warmup - 1, (options.schedule_steps or options.steps) - 1, step - 1
    if at <= peak:
        return True, 0.5 - 0.5 * math.cos(math.pi * at / peak) if peak else 1.0
    return False, 0.5 + 0.5 * math.cos(math.pi * (at - peak) / max(1, end - peak))


def _of_loop(name: str) -> Any:
    """Return a field with the range and the help of the loop's option; None: it is as the preset or the run has it."""
    info = option_fields(TrainOptions)[name].info
    return dataclasses.field(default=None, metadata={"option": info})


@dataclass(frozen=True)
class TrainCommand(Options):
    """Train a model on atlases and captions, or on photos with cameras.

    RUN becomes a model folder that sample and stock diffusers open: the newest averaged weights (EMA) with all that
    they need. It also holds the checkpoints, log.jsonl, loss.png and curves.png, samples/ and, where it is installed,
    TensorBoard's files.

    SIGTERM, SIGUSR1, SIGINT and --time-limit stop after the current step: everything is saved and the exit status is
    75. --resume latest continues from there, or from the start where there is no checkpoint yet, so that one command
    serves a queue that stops and restarts it. On the CPU the result is that of a run without a break, bit for bit.
    Options that are not given are then the run's own; others that would change the result are refused, and so are other
    samples or captions. --steps may grow unless the learning rate follows from it. --resume STEP goes back to a
    checkpoint; the next one that is written replaces the later ones.

    Several processes and machines are started by torchrun, with RUN on a disk that all of them see; --batch is for each
    process. torchrun exits with 1 where this command exits with 75.

    Example: gatlas train atlases/ --stats stats.npz --captions captions.csv --preset small -o run
    """

    stats: str | None = option(None, metavar="FILE.npz", help="Statistics that normalize-stats wrote.")
    captions: str | None = option(None, metavar="FILE", help="Captions file; see above.")
    views: str | None = option(
        None, metavar="DIR", help="Folder with pictures of each object, for the rendered loss or the key pictures."
    )
    base: str | None = option(
        None,
        metavar="FOLDER|NAME",
        help="Pretrained model to fine-tune: a diffusers pipeline (a folder or a hub name), or a model of gatlas.",
    )
    preset: str | None = option(
        None, metavar="NAME", help="Named set of options, which explicit options override; gatlas man train lists them."
    )
    system: str = option(next(iter(SYSTEMS)), metavar="NAME", help=f"Kind of model: {' or '.join(SYSTEMS)}.")
    steps: int | None = _of_loop("steps")
    batch: int | None = _of_loop("batch")
    accumulate: int | None = _of_loop("accumulate")
    lr: float | None = _of_loop("lr")
    seed: int | None = _of_loop("seed")
    resume: str | None = option(None, metavar="latest|STEP", help="Resume from a checkpoint of RUN.")
    checkpoint_every: int | None = _of_loop("checkpoint_every")
    keep: int | None = _of_loop("keep")
    sample_every: int | None = _of_loop("sample_every")
    log_every: int | None = _of_loop("log_every")
    precision: Literal["auto", "fp32", "bf16"] | None = _of_loop("precision")
    device: Literal["auto", "cpu", "cuda"] = option("auto", help="Device of the network.")
    workers: int | None = _of_loop("workers")
    processes: int | None = option(
        None, min=1, help="Number of processes that torchrun must have started; another one is an error."
    )
    fsdp: bool = option(
        False, help="Divide weights, gradients and moments over the processes (FSDP); a checkpoint stays the same."
    )
    ema_device: Literal["same", "host"] = option(
        "same", help="Where the averaged weights (EMA) are kept: with the weights, or in the memory of the host."
    )
    optimizer: Literal["adamw", "adamw8bit"] = option(
        "adamw",
        help="AdamW, or AdamW with moments in 8 bits, which takes 6 bytes less per weight (extra eight-bit); a run is "
        "resumed with the one that it was begun with.",
    )
    compile: bool = option(
        False, help="Compile the network (torch.compile): slow to start, then faster steps; checkpoints stay the same."
    )
    tf32: bool = option(False, help="On CUDA: products of float32 in TF32, with 10 bits after the point.")
    time_limit: float | None = option(None, min=0, metavar="SECONDS", help="Save and stop after this time.")
    dry_run: bool = option(
        False,
        help="Print the parameters, the samples and the memory of the training on CUDA, and do not train. Neither a "
        "GPU, INPUT, -o nor the weights of --base are needed.",
    )
    json: bool = option(False, help="With --dry-run: write JSON, in bytes.")
    settings: tuple[str, ...] = option(
        (), "--set", metavar="KEY=VALUE", help="Any other option of the training or of the system; repeatable."
    )
    lpips_weights: str | None = option(
        None, metavar="FILE", help="VGG16 or AlexNet in torchvision's format, for LPIPS."
    )

    def validate(self) -> None:
        """Refuse --json without what it is for."""
        if self.json and not self.dry_run:
            raise GatlasError("--json: is for --dry-run: add it, or leave --json out")

    @classmethod
    def describe(cls) -> str:
        """Return the help text: the docstring, with a paragraph about the data of each system before the example."""
        *text, example = super().describe().split("\n\n")
        systems = [f"--system {name} {system_module(name).TRAINING}" for name in SYSTEMS]
        return "\n\n".join([*text, *systems, example])

    def of_loop(self) -> dict[str, Any]:
        """Return the options of the loop that are given."""
        names = option_fields(type(self)).keys() & option_fields(TrainOptions).keys()
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}
