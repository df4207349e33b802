"""The identity of a training run: what must stay as it is for the run to be resumed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.runs.train_run import META
from gatlas.train.options import TrainOptions

if TYPE_CHECKING:
    from gatlas.config import Options
    from gatlas.io.runs.train_run import Checkpoint
    from gatlas.systems.contract import SampleSet

FORMAT = 1  # of training.json

# Options that may change when a run is resumed: the weights are the same whatever they are.
FREE = ("gradient_checkpointing", "checkpoint_every", "keep", "sample_every", "log_every", "diagnose_every", "workers")
# Options that may change together: with the number of processes they split the samples of a step.
SPLIT = ("batch", "accumulate")


_KINDS = {
    "processes": int, "system": str, "config": dict, "origin": dict, "samples": int, "precision": str, "scenes": dict,
}  # fmt: skip


class RunIdentity(NamedTuple):
    """Identity of the run that wrote a checkpoint."""

    options: TrainOptions
    processes: int
    system: str
    config: Mapping[str, Any]  # of the system
    origin: Mapping[str, str | None]  # what the first weights came from
    samples: int
    precision: str
    scenes: Mapping[str, str]  # the set: a digest of each part of its identity

    def to_json(self) -> dict[str, Any]:
        """Return what `read_identity` reads, without the step."""
        return {"format": FORMAT, **self._asdict(), "options": self.options.to_json()}


def set_digests(samples: SampleSet) -> dict[str, str]:
    """Return a digest (SHA-256, hex) of each part of a set's identity."""
    result = {}
    for name, values in samples.identity().items():
        digest = hashlib.sha256()
        for value in values:
            digest.update(json.dumps(value).encode() + b"\n")
        result[name] = digest.hexdigest()
    return result


def read_identity(checkpoint: Checkpoint, config: type[Options]) -> RunIdentity:
    """Return the identity that a checkpoint keeps. One that is damaged or of another version is a GatlasError.

    `config` is the class of the system's settings, so that names of earlier versions are read as today's.
    """
    meta, where = checkpoint.meta, checkpoint.folder / META
    if meta.get("format") != FORMAT:
        raise GatlasError(
            f"{where}: of another version of gatlas: its format is {meta.get('format')!r:.80}, not {FORMAT}"
        )
    try:
        rest = {name: meta[name] for name in RunIdentity._fields if name != "options"}
        if wrong := [name for name, kind in _KINDS.items() if type(rest[name]) is not kind]:
            raise TypeError(f"{wrong[0]} is {rest[wrong[0]]!r:.80}")
        rest["config"] = config.from_json(rest["config"], f"{where}: its config").to_json()
        options = TrainOptions.from_json(meta["options"], f"{where}: its options", complete=True)
    except (KeyError, TypeError, AttributeError) as error:
        raise GatlasError(f"{where}: damaged ({error!r}): resume another step") from None
    return RunIdentity(options, **rest)


def require_same_run(checkpoint: Checkpoint, now: RunIdentity, config: type[Options]) -> list[str]:
    """Return remarks on what may differ from the checkpoint's run; what would change its result is a GatlasError."""
    stored, where = read_identity(checkpoint, config), str(checkpoint.folder)
    require_equal(now.config, stored.config, where)
    require_equal(now.origin, stored.origin, where)
    current, before = (
        {name: getattr(each, name) for name in ("system", "samples", "precision")} for each in (now, stored)
    )
    require_equal(current, before, where)
    if others := [name for name, digest in now.scenes.items() if stored.scenes.get(name) != digest]:
        raise GatlasError(
            f"{where}: cannot resume with another set: its {' and '.join(others)} are not those of the run; name the "
            "same ones again, or start another run with a new -o"
        )
    if now.options.steps < checkpoint.step:
        raise GatlasError(f"{where}: {checkpoint.step} steps are done, so steps cannot be {now.options.steps}")
    return require_same_training(now.options, now.processes, stored.options, stored.processes, where)


def require_equal(now: Mapping[str, Any], stored: Mapping[str, Any], where: str) -> None:
    """Raise a GatlasError that names each of the values that differ between a run and its checkpoint."""
    changed = [
        f"{name} is {_shown(stored.get(name))} there and {_shown(now.get(name))} here"
        for name in sorted({*now, *stored})
        if _as_json(now.get(name)) != _as_json(stored.get(name))
    ]
    if changed:
        raise GatlasError(f"{where}: cannot resume with other options: {'; '.join(changed)}")


def require_same_training(
    options: TrainOptions, processes: int, stored: TrainOptions, stored_processes: int, where: str
) -> list[str]:
    """Return remarks on options that differ from a checkpoint's; those that would change the result are a GatlasError.

    The options of `FREE` may change. `steps` may change where the learning rate does not depend on it. `batch`,
    `accumulate` and the number of processes may change where their product does not.
    """
    now, before = options.to_json(), stored.to_json()
    for name in (*FREE, "precision"):  # what auto came to is compared where the device is known
        now.pop(name), before.pop(name)
    remarks = []
    if options.schedule == "constant" or options.schedule_steps is not None:
        if now["steps"] != before["steps"]:
            remarks.append(
                f"steps is {before['steps']} in {where} and {now['steps']} here: terms of the loss that grow with the "
                "share of the steps follow the new number"
            )
        now.pop("steps"), before.pop("steps")
    split, split_before = (options.batch, options.accumulate, processes), (stored.batch, stored.accumulate)
    if math.prod(split) == math.prod(split_before) * stored_processes:
        if split != (*split_before, stored_processes):
            remarks.append(
                f"{math.prod(split)} samples per step are split in another way than in {where}: the training is the "
                "same with other random draws, not bit for bit"
            )
        for name in SPLIT:
            now.pop(name), before.pop(name)
    else:
        now["processes"], before["processes"] = processes, stored_processes
    require_equal(now, before, where)
    return remarks


def _as_json(value: Any) -> Any:
    return [_as_json(each) for each in value] if isinstance(value, (list, tuple)) else value


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value)
