"""What `gatlas train` is asked for: a new run, or one that goes on with what is given on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from gatlas import io
from gatlas.config import parse_settings
from gatlas.errors import GatlasError
from gatlas.io.runs.train_run import check_new, find_checkpoint
from gatlas.systems import system_module
from gatlas.train.begin import read_belongings
from gatlas.train.options import TrainOptions, refuse_changes

if TYPE_CHECKING:
    from gatlas.config import Options
    from gatlas.io.runs.train_run import Checkpoint
    from gatlas.systems.contract import Preset, System


@dataclass(frozen=True)
class Wish:
    """What the command line says, apart from the samples."""

    system: str
    run: str
    resume: str | None = None
    base: str | None = None
    preset: str | None = None
    stats: str | None = None
    lpips_weights: str | None = None
    flags: dict[str, Any] = field(default_factory=dict)  # of TrainOptions, those that were given
    settings: Sequence[str] = ()  # KEY=VALUE

    def chosen(self, presets: Mapping[str, Preset]) -> str:
        """The preset that is named, or the system's first one with or without a base."""
        fitting = (name for name, each in presets.items() if each.with_base == (self.base is not None))
        return self.preset or next(fitting, next(iter(presets)))


class Plan(NamedTuple):
    """What is to be trained, and how."""

    system: System
    options: TrainOptions
    origin: dict[str, str | None]  # what the first weights came from


def plan(wish: Wish) -> Plan:
    """The system and the options. What does not go together, or would change a run that goes on, is a GatlasError."""
    checkpoint = None if wish.resume is None else find_checkpoint(wish.run, wish.resume)
    if wish.resume is None:
        check_new(wish.run)
    module = system_module(wish.system)
    chosen = wish.chosen(module.PRESETS)
    if chosen not in module.PRESETS:
        raise GatlasError(f"--preset {chosen}: {wish.system} has {', '.join(module.PRESETS)}")
    preset = module.PRESETS[chosen]
    given, fields = parse_settings(wish.settings, TrainOptions, type(preset.config))
    if twice := sorted(set(given) & set(wish.flags)):
        raise GatlasError(f"--set {twice[0]}: given twice, as --{twice[0].replace('_', '-')} too")
    given |= wish.flags
    if checkpoint is None:
        options = TrainOptions(**{**preset.training, **given})
        stats = None if wish.stats is None else io.load_stats(wish.stats)
        system = module.create(replace(preset.config, **fields), base=wish.base, stats=stats, seed=options.seed)
        result = Plan(system, options, {"base": wish.base, "preset": chosen})
    else:
        result = _going_on(module, type(preset.config), checkpoint, wish, given, fields)
    return result


def _going_on(
    module: Any,
    config: type[Options],
    checkpoint: Checkpoint,
    wish: Wish,
    given: dict[str, Any],
    fields: dict[str, Any],
) -> Plan:
    belongings = read_belongings(checkpoint, config)
    origin = {"base": wish.base, "preset": wish.preset}
    wanted = {**fields, **{name: value for name, value in origin.items() if value is not None}}
    stored = {**belongings.config, **belongings.origin}
    refuse_changes(wanted, {name: stored.get(name) for name in wanted}, str(checkpoint.folder))
    system = module.load(str(checkpoint.folder), device="cpu", dtype=None)
    options = replace(belongings.options, **given)
    return Plan(system, options, dict(belongings.origin))
