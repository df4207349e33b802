"""gatlas train"""

from __future__ import annotations

import json
import os

import typer

from gatlas.cli.interrupt import EXIT_REQUEUE, stopping
from gatlas.cli.terminal import message, progress_bar
from gatlas.errors import DeviceMemoryError, GatlasError
from gatlas.train import TrainCommand, plan_training, train
from gatlas.train.plan import describe_outcome
from gatlas.train.process_group import is_first_process
from gatlas.train.run_pictures import save_curves


def run(
    inputs: list[str] | None, output: str | None, options: TrainCommand, *, force: bool, given: frozenset[str]
) -> None:
    """Train, or resume a training, or print its memory."""
    if options.dry_run:
        _show_memory(output, options)
        return
    if not inputs or not output:
        missing = "option '--output' / '-o'" if inputs else "argument 'INPUT...'"
        raise typer.BadParameter(f"Missing {missing}; only --dry-run does without.")
    try:
        plan = plan_training(inputs, output, options, report=message)
        with (
            stopping(options.time_limit) as should_stop,
            progress_bar("train", plan.options.steps, "loss {:.4g}") as on_step,
        ):
            outcome = train(**plan.arguments(), should_stop=should_stop, report=message, on_step=on_step)
    except GatlasError as error:
        # What ends all processes is reported by the first one of this machine.
        if os.environ.get("LOCAL_RANK", "0") != "0" and not isinstance(error, DeviceMemoryError):
            raise typer.Exit(1) from None
        raise
    if is_first_process():
        save_curves(plan.run)
        message(describe_outcome(plan, outcome))
    if outcome.stopped:
        raise typer.Exit(EXIT_REQUEUE)


def _show_memory(run: str | None, options: TrainCommand) -> None:
    from gatlas.io.outputs import show
    from gatlas.train.memory import describe_memory
    from gatlas.train.plan import plan_memory

    memory = plan_memory(run, options, report=message)
    show(json.dumps(memory.to_json(), indent=2) + "\n" if options.json else describe_memory(memory))
