"""The plan of a training: a new run, or one that is resumed with what is given anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.config import Report, ignore, parse_settings
from gatlas.errors import GatlasError
from gatlas.io.runs.train_run import check_new, find_checkpoint
from gatlas.systems import default_preset, system_module
from gatlas.systems.contract import Sources
from gatlas.train.identity import read_identity, require_equal
from gatlas.train.options import TrainOptions
from gatlas.train.process_group import check_count, choose_precision, is_first_process
from gatlas.train.start import check_optimizer, train

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatlas.io.runs.train_run import Checkpoint
    from gatlas.systems.contract import SampleSet, System
    from gatlas.systems.registry import SystemModule
    from gatlas.train.identity import RunIdentity
    from gatlas.train.loop import Outcome
    from gatlas.train.memory import TrainingMemory
    from gatlas.train.options import TrainCommand


@dataclass(frozen=True)
class TrainPlan:
    """A training that is ready to begin: the system, its samples, the options of the loop."""

    run: str  # folder
    command: TrainCommand
    system: System
    samples: SampleSet
    options: TrainOptions
    origin: Mapping[str, str | None]  # what the first weights came from

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `gatlas.train.train`."""
        return {
            "system": self.system,
            "samples": self.samples,
            "options": self.options,
            "run": self.run,
            "resume": self.command.resume,
            "device": self.command.device,
            "processes": self.command.processes,
            "origin": self.origin,
            "fsdp": self.command.fsdp,
            "ema_device": self.command.ema_device,
            "optimizer": self.command.optimizer,
            "compiled": self.command.compile,
            "tf32": self.command.tf32,
        }


def plan_training(inputs: Sequence[str], run: str, command: TrainCommand, *, report: Report = ignore) -> TrainPlan:
    """Return the training that a command asks for: its system is made or loaded, its samples are found.

    Options that are not given are those of the preset, or those of the run that is resumed. What does not go together,
    or would change a run that is resumed, is a GatlasError. Nothing is written. The first process reports.
    """
    count = check_count(command.processes)
    system, options, origin = _system(run, command)
    samples = system.dataset(
        Sources(tuple(inputs), command.captions, command.views, command.stats, command.lpips_weights)
    )
    if is_first_process():
        for line in samples.report():
            report(line)
        weights = sum(weight.numel() for weight in system.network.parameters())
        processes = f" on {count} processes" if count > 1 else ""
        noun = f"{len(samples):,} sample{'s' * (len(samples) != 1)}"
        report(f"{noun}, {weights / 1e6:.1f} M parameters, {options.steps:,} steps{processes}")
    return TrainPlan(run, command, system, samples, options, origin)


def run_plan(
    plan: TrainPlan,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    report: Report = ignore,
    on_step: Callable[[int, float], None] | None = None,
) -> Outcome:
    """Train as planned and return how it ended: see `gatlas.train.train`. The time limit begins here."""
    command, started = plan.command, time.monotonic()

    def stop() -> bool:
        late = command.time_limit is not None and time.monotonic() - started > command.time_limit
        return late or should_stop()

    return train(**plan.arguments(), should_stop=stop, report=report, on_step=on_step)


def describe_outcome(plan: TrainPlan, outcome: Outcome) -> str:
    """Return one line about how a training ended, for the user."""
    if outcome.stopped:
        return f"stopped after {outcome.step:,} of {plan.options.steps:,} steps: continue with --resume latest"
    if outcome.loss is None:
        return f"all {outcome.step:,} steps are done already: {plan.run}"
    return f"{outcome.step:,} steps done, loss {outcome.loss:.4g}: {plan.run}"


def plan_memory(run: str | None, command: TrainCommand, *, report: Report = ignore) -> TrainingMemory:
    """Return the memory of the training that a command asks for. Neither samples nor weights are read.

    Without --device cpu it is that on CUDA. A preset that fine-tunes a model has the network of Stable Diffusion 2.1
    where no base is named, which is reported.
    """
    from gatlas.train.memory import count_memory

    if command.fsdp and command.processes is None:
        raise GatlasError("--fsdp: say with --processes over how many processes a training is divided")
    check_optimizer(command.optimizer, fsdp=command.fsdp)
    checkpoint = None if command.resume is None or run is None else find_checkpoint(run, command.resume)
    module, chosen, given, config = _chosen(command)
    preset = module.PRESETS[chosen]
    kind, base = type(preset.config), command.base
    if checkpoint is None:
        settings, options = replace(preset.config, **config), TrainOptions(**{**preset.training, **given})
    else:
        identity = _same_run(checkpoint, kind, command, config)
        settings = kind.from_json(identity.config, f"{checkpoint.folder}: its config")
        base, chosen = identity.origin["base"], str(identity.origin["preset"])
        options = replace(identity.options, **given)
    stats = None if command.stats is None else io.load_stats(command.stats)
    pretrained = module.PRESETS[chosen].with_base
    system = module.SYSTEM.outline(settings, base=base, stats=stats, pretrained=pretrained)
    if pretrained and base is None:
        report("no --base is named: the network is that of Stable Diffusion 2.1")
    device = "cpu" if command.device == "cpu" else "cuda"
    wanted = "bf16" if (device, options.precision) == ("cuda", "auto") else options.precision
    return count_memory(
        system,
        options,
        precision=choose_precision(device, wanted),
        processes=command.processes or 1,
        fsdp=command.fsdp,
        ema_host=command.ema_device == "host",
        eight_bit=command.optimizer == "adamw8bit",
    )


def _system(run: str, command: TrainCommand) -> tuple[System, TrainOptions, Mapping[str, str | None]]:
    """Return the system, the options of the loop and the origin of the weights."""
    checkpoint = None if command.resume is None else find_checkpoint(run, command.resume)
    if command.resume is None:
        check_new(run)
    module, chosen, given, config = _chosen(command)
    preset = module.PRESETS[chosen]
    if checkpoint is not None:
        return _resumed(module, type(preset.config), checkpoint, command, given, config)
    options = TrainOptions(**{**preset.training, **given})
    stats = None if command.stats is None else io.load_stats(command.stats)
    system = module.create(replace(preset.config, **config), base=command.base, stats=stats, seed=options.seed)
    return system, options, {"base": command.base, "preset": chosen}


def _chosen(command: TrainCommand) -> tuple[SystemModule, str, dict[str, Any], dict[str, Any]]:
    """Return the system's module, the preset, and what a command gives of the loop's options and of the config."""
    module = system_module(command.system)
    chosen = command.preset or default_preset(command.system, with_base=command.base is not None)
    if chosen not in module.PRESETS:
        raise GatlasError(f"--preset {chosen}: {command.system} has {', '.join(module.PRESETS)}")
    preset = module.PRESETS[chosen]
    settings, config = parse_settings(command.settings, TrainOptions, type(preset.config))
    given = command.of_loop()
    if twice := sorted(set(settings) & set(given)):
        raise GatlasError(f"--set {twice[0]}: given twice, as --{twice[0].replace('_', '-')} too")
    return module, chosen, given | settings, config


def _resumed(
    module: Any,
    config_class: Any,
    checkpoint: Checkpoint,
    command: TrainCommand,
    given: Mapping[str, Any],
    config: Mapping[str, Any],
) -> tuple[System, TrainOptions, Mapping[str, str | None]]:
    """Return those of a checkpoint's run, with the options that are given anew; others must be the run's own."""
    identity = _same_run(checkpoint, config_class, command, config)
    system = module.load(str(checkpoint.folder), device="cpu", dtype=None)
    return system, replace(identity.options, **given), identity.origin


def _same_run(
    checkpoint: Checkpoint, config_class: Any, command: TrainCommand, config: Mapping[str, Any]
) -> RunIdentity:
    """Return the identity of a checkpoint's run; what a command gives otherwise of its config is a GatlasError."""
    identity = read_identity(checkpoint, config_class)
    origin = {"base": command.base, "preset": command.preset}
    wanted = {**config, **{name: value for name, value in origin.items() if value is not None}}
    stored = {**identity.config, **identity.origin}
    require_equal(wanted, {name: stored.get(name) for name in wanted}, str(checkpoint.folder))
    return identity
