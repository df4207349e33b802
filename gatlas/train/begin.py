"""From a system, a set and a folder to a training under way, new or going on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gatlas import __version__
from gatlas.errors import GatlasError
from gatlas.io.runs import train_run as folder
from gatlas.raster.devices import choose_device
from gatlas.train.loop import Loop, Outcome
from gatlas.train.options import TrainOptions, refuse_changes, refuse_other_training
from gatlas.train.processes import choose_precision, joined

if TYPE_CHECKING:
    from gatlas.config import Options
    from gatlas.io.runs.train_run import Checkpoint
    from gatlas.systems.contract import SampleSet, System

FORMAT = 1  # of training.json


def train(
    system: System,
    scenes: SampleSet,
    options: TrainOptions,
    run: str,
    *,
    resume: str | None = None,
    device: str = "auto",
    processes: int | None = None,
    origin: Mapping[str, str | None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda message: None,
    progress: Callable[[int, float], None] | None = None,
) -> Outcome:
    """Train `system.network` on the set and keep everything in the folder `run`.

    `resume` is None for a new folder, "latest" to go on from the newest checkpoint (from the start where there is
    none yet) or the step of a checkpoint, behind which everything is then replaced. Going on gives the weights of a
    run without a break, bit for bit on the CPU. `processes` is how many there have to be; `origin` names what the
    first weights came from, and a run goes on with the same one. `stop` is asked after each step: where any process
    says so, all of them save and end. `progress` is told (steps done, loss).

    Every draw follows from (seed, step, process, batch of the step), the order of the samples from (seed, epoch).
    What the user can fix, such as a damaged sample, a full disk or a loss that is not finite, is a GatlasError in all
    processes; the checkpoints written before it stay.
    """
    device = choose_device(device, gsplat=False)
    precision = choose_precision(device, options.precision)
    with ExitStack() as stack:
        crew = stack.enter_context(joined(device, precision, processes))
        if len(scenes) == 0:
            raise GatlasError("there are no samples to train on")
        checkpoint = folder.find_checkpoint(run, resume) if resume is not None else None
        tell = say if crew.first else (lambda message: None)
        now = Belongings(
            options,
            crew.count,
            system.name,
            system.config.to_json(),
            origin or {},
            len(scenes),
            precision,
            digests_of(scenes),
        )
        if checkpoint is not None:
            for remark in refuse_another_run(checkpoint, now, type(system.config)):
                tell(remark)
        versions = {"gatlas": __version__, "torch": torch.__version__}
        meta = {"format": FORMAT, **now._asdict(), "options": options.to_json(), "versions": versions}
        crew.on_first(lambda: _open(stack, system, run, checkpoint, resume, tell))
        loop = Loop(system, scenes, options, run, crew, meta, tell, progress)
        if checkpoint is not None:
            loop.go_on(checkpoint)
        return loop.go(stop)


class Belongings(NamedTuple):
    """What a checkpoint belongs to."""

    options: TrainOptions
    processes: int
    system: str
    config: Mapping[str, Any]  # of the system
    origin: Mapping[str, str | None]  # what the first weights came from
    samples: int
    precision: str
    scenes: Mapping[str, str]  # what the set was, a digest of each part of its identity


def digests_of(scenes: SampleSet) -> dict[str, str]:
    """A digest (SHA-256, hex) of each part of a set's identity."""
    found = {}
    for name, values in scenes.identity().items():
        digest = hashlib.sha256()
        for value in values:
            digest.update(json.dumps(value).encode() + b"\n")
        found[name] = digest.hexdigest()
    return found


def read_belongings(checkpoint: Checkpoint, config: type[Options]) -> Belongings:
    """What a checkpoint belongs to. One that is damaged or of another version is a GatlasError.

    `config` is the class of the system's settings, so that an earlier version's names are read as today's.
    """
    meta, where = checkpoint.meta, checkpoint.folder / folder.META
    if meta.get("format") != FORMAT:
        raise GatlasError(f"{where}: of another version of gatlas: its format is {meta.get('format')}, not {FORMAT}")
    try:
        rest = {name: meta[name] for name in Belongings._fields if name != "options"}
        rest["config"] = config.from_json(rest["config"], f"{where}: its config").to_json()
        return Belongings(TrainOptions.from_json(meta["options"], f"{where}: its options", complete=True), **rest)
    except (KeyError, TypeError, AttributeError) as error:
        raise GatlasError(f"{where}: damaged ({error!r}): resume another step") from None


def refuse_another_run(checkpoint: Checkpoint, now: Belongings, config: type[Options]) -> list[str]:
    """Refuse, by name, what differs from the checkpoint's run and would change its result; remarks on the rest."""
    stored, where = read_belongings(checkpoint, config), str(checkpoint.folder)
    refuse_changes(now.config, stored.config, where)
    refuse_changes(now.origin, stored.origin, where)
    here, there = ({name: getattr(each, name) for name in ("system", "samples", "precision")} for each in (now, stored))
    refuse_changes(here, there, where)
    if others := [name for name, digest in now.scenes.items() if stored.scenes.get(name) != digest]:
        raise GatlasError(
            f"{where}: cannot go on with another set: its {' and '.join(others)} are not those that the run was begun "
            "with; name the same ones again, or begin another run with a new -o"
        )
    if now.options.steps < checkpoint.step:
        raise GatlasError(f"{where}: {checkpoint.step} steps are done, so that steps cannot be {now.options.steps}")
    return refuse_other_training(now.options, now.processes, stored.options, stored.processes, where)


def _open(
    stack: ExitStack,
    system: System,
    run: str,
    checkpoint: Checkpoint | None,
    resume: str | None,
    tell: Callable[[str], None],
) -> None:
    """Make or open the run's folder, which stays locked until the stack is left."""
    if checkpoint is None and resume is None:
        folder.check_new(run)
    fresh = checkpoint is None
    if not stack.enter_context(folder.opened(run, system.save_frozen, fresh=fresh, resume=resume is not None)):
        tell(f"{run} is on a file system without locks: see that no other process trains in it")
    if checkpoint is not None:
        folder.point_to(run, system.part, folder.list_steps(run)[-1])
