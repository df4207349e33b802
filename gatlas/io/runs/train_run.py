"""The folder of a training run.

    RUN/            a model folder of the diffusers layout, with gatlas.json, that is written whole at the start
        unet -> checkpoint-000200/unet      the newest averaged weights, under the name of the trained part
        checkpoint-000200/                  appears whole, by one rename
            unet/                           averaged weights
            training.safetensors            weights, averages and moments, by name
            training.json                   step, options, versions, checksums
        log.jsonl  loss.png  curves.png  samples/  samples.png  tensorboard/

Scratch folders have names that begin with a dot; those of a killed process are removed when the run is opened.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gatlas.errors import GatlasError
from gatlas.io.json_reader import read_json_object
from gatlas.io.models.tensors import StoredTensors, write_tensors
from gatlas.io.outputs import check_parent, remove, scratch_beside
from gatlas.io.runs.checksums import damaged_file, sealed
from gatlas.io.streams import os_errors, read

if TYPE_CHECKING:
    import torch

DESCRIPTION = "gatlas.json"
TENSORS, META = "training.safetensors", "training.json"
_NAME = re.compile(r"checkpoint-(\d{6,})")


class Checkpoint(NamedTuple):
    """A checkpoint on disk."""

    step: int
    folder: Path
    meta: dict[str, Any]  # what training.json holds


def check_new(run: str | Path) -> None:
    """Raise a GatlasError where the folder of a new run exists and is not empty, or could not be made."""
    path = Path(run)
    with os_errors(path):
        if not str(run) or str(run) == "-":
            raise GatlasError("a run needs a folder: name one with -o")
        if path.is_dir() and any(path.iterdir()):
            raise GatlasError(f"{path} exists and is not empty: use --resume latest to continue it")
        if path.exists() and not path.is_dir():
            raise GatlasError(f"{path}: is a file; a run is a folder")
        check_parent(path)


@contextmanager
def opened(run: str | Path, fill: Callable[[str], None], *, fresh: bool, resume: bool) -> Iterator[bool]:
    """Open the run's folder for one process at a time, make it where it is missing, and yield True if it is locked.

    A `fresh` run begins with what `fill` writes into a folder: RUN appears whole with it or, with `resume`, an
    existing run without a checkpoint has it replaced. Where the file system has no locks there is none.
    """
    path = Path(run)
    with os_errors(path):
        if fresh and not (resume and path.is_dir() and any(path.iterdir())):
            _make(path, fill)
            fresh = False
        if not (path / DESCRIPTION).is_file():
            raise GatlasError(f"{path}: not a training run: it has no {DESCRIPTION}; name a new folder")
        lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        locked = _lock(lock, path)
        with os_errors(path):
            for scratch in path.glob(".gatlas-*.tmp"):
                remove(scratch)
            if fresh:
                _replace(path, fill)
        yield locked
    finally:
        os.close(lock)  # which unlocks it


def _make(path: Path, fill: Callable[[str], None]) -> None:
    target = Path(os.path.realpath(path))
    scratch = target.parent / f".{target.name}.gatlas-new.tmp"  # one name: what a killed start leaves is removed
    remove(scratch)
    scratch.mkdir()
    try:
        fill(str(scratch))
        _sync(scratch)
        try:
            os.rename(scratch, target)  # also over an empty folder
        except OSError as error:
            if target.is_dir() and any(target.iterdir()):
                raise GatlasError(f"{path} exists and is not empty: another run has just started there") from None
            raise error
    except BaseException:
        remove(scratch)
        raise


def _replace(path: Path, fill: Callable[[str], None]) -> None:
    """Write the frozen files of a run without a checkpoint anew, gatlas.json last."""
    with scratch_beside(path / DESCRIPTION) as scratch:
        scratch.mkdir()
        fill(str(scratch))
        for new in sorted(scratch.iterdir(), key=lambda each: each.name == DESCRIPTION):
            if (path / new.name).is_dir():
                remove(path / new.name)
            os.replace(new, path / new.name)
        scratch.rmdir()


def _lock(lock: int, path: Path) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise GatlasError(f"{path}: another process trains in this folder: wait for it or stop it first") from None
    except OSError:  # a network file system without locks
        return False
    return True


def list_steps(run: str | Path) -> list[int]:
    """Return the steps of a run's checkpoints, ascending."""
    path = Path(run)
    with os_errors(path):
        names = [each.name for each in path.iterdir() if each.is_dir()] if path.is_dir() else []
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def find_checkpoint(run: str | Path, which: str) -> Checkpoint | None:
    """Return the checkpoint of a step, or the "latest"; None where there is none yet.

    A step that is not there is a GatlasError, as is a checkpoint that is not as it was written: its checksums differ.
    """
    if which != "latest" and not which.isdigit():
        raise GatlasError(f"--resume {which}: must be latest or the step of a checkpoint")
    steps = list_steps(run)
    if which == "latest":
        if not steps:
            return None
        step = steps[-1]
    else:
        step = int(which)
        if step not in steps:
            others = f"there are {', '.join(map(str, steps))}" if steps else "there is none"
            raise GatlasError(f"{run}: no checkpoint of step {step}: {others}")
    checkpoint = _read_checkpoint(Path(run), step)
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    before = (each for each in reversed(steps) if each < step)
    whole = next((each for each in before if isinstance(_read_checkpoint(Path(run), each), Checkpoint)), None)
    advice = "there is none before it" if whole is None else f"the one before it is whole: --resume {whole}"
    raise GatlasError(f"{checkpoint}; {advice}")


def _read_checkpoint(run: Path, step: int) -> Checkpoint | str:
    """Return a checkpoint, or what is wrong with it."""
    folder = _folder(run, step)
    source = folder / META
    try:
        meta = read_json_object(read(source))
    except GatlasError as error:
        return str(error)
    if meta.get("step") != step:
        return f"{source}: damaged: it is of another step"
    damaged = damaged_file(folder, meta, META)
    if damaged is not None:
        return f"{folder / damaged}: damaged: it is not what was written there"
    return Checkpoint(step, folder, meta)


def load_tensors(checkpoint: Checkpoint) -> StoredTensors:
    """Return the tensors of a checkpoint by name, each of which is read when it is asked for."""
    return StoredTensors(checkpoint.folder / TENSORS, remedy="resume another step")


def save_checkpoint(
    run: str | Path,
    step: int,
    tensors: Mapping[str, torch.Tensor],
    meta: Mapping[str, Any],
    *,
    part: str,
    fill: Callable[[str, Mapping[str, torch.Tensor]], None],
    keep: int,
    fetch: Callable[[str, torch.Tensor], object] | None = None,
) -> Path:
    """Write the checkpoint of a step, whole or not at all, and link RUN/`part` to it.

    With `fetch`, `tensors` are shapes: see `write_tensors`. `fill` writes the averaged weights into the folder that it
    is given, and is given the tensors as they were written, too. Checkpoints of later steps, from before the run was
    resumed at an earlier one, are removed, and in the end the oldest beyond `keep`. A failure changes nothing.
    """
    path = Path(run)
    folder = _folder(path, step)
    with os_errors(folder):
        with scratch_beside(folder) as scratch, _errors_of(scratch, folder):
            (scratch / part).mkdir(parents=True)
            write_tensors(scratch / TENSORS, tensors, fetch=fetch)
            fill(str(scratch / part), StoredTensors(scratch / TENSORS))
            text = json.dumps(sealed(scratch, {**meta, "step": step}), indent=2, allow_nan=False) + "\n"
            (scratch / META).write_text(text, encoding="utf-8")
            for file in scratch.rglob("*.safetensors"):  # which are written for their owner only
                file.chmod((scratch / META).stat().st_mode)
            _sync(scratch)
            # The later ones go first: a process that is killed here must not leave them as the newest.
            for each in reversed(list_steps(path)):
                if each >= step:
                    _remove_whole(_folder(path, each))
            os.rename(scratch, folder)
        point_to(path, part, step)
    remove_old(path, step, keep)
    return folder


def make_room(run: str | Path, step: int, keep: int, needed: int, *, remove_oldest: bool = True) -> list[int]:
    """Make room for `needed` bytes, the checkpoint of a step, and return the steps of those that were removed for it.

    Where the disk has room, none is: the oldest go only when the new one is whole. Where it has not, the oldest go
    before, but only as many as are needed of those that the new one would put beyond `keep`, and never the last one:
    they would go in any case, and a whole one is left if the writing fails. Without `remove_oldest` it is only looked
    whether there would be room. Too little room is one line, a GatlasError, and nothing is removed.
    """
    path, free = Path(run), free_space(run)
    removed: list[int] = []
    with os_errors(path):
        before = [each for each in list_steps(path) if each < step]
        beyond = before[: max(0, len(before) - max(keep - 1, 1))]
        sizes = {each: _size(_folder(path, each)) for each in beyond} if free < needed else {}
        if free + sum(sizes.values()) < needed:
            advice = "free some space"
            if keep > 2 and len(before) > 1:
                advice += f", or lower --keep, which is {keep}"
            has = f"the disk has {shown_size(free)} free"
            if sizes:
                has += f" and {shown_size(sum(sizes.values()))} in checkpoints that --keep {keep} lets go"
            raise GatlasError(f"{_folder(path, step)}: {has}; the checkpoint needs {shown_size(needed)}: {advice}")
        for each, size in sizes.items():
            if remove_oldest and free < needed:
                _remove_whole(_folder(path, each))
                free, removed = free + size, [*removed, each]
    return removed


def free_space(run: str | Path) -> int:
    """Return the bytes that are free on the disk of a run, whose folder may not be there yet."""
    path = Path(os.path.realpath(run))
    with os_errors(run):
        return shutil.disk_usage(path if path.is_dir() else path.parent).free


def shown_size(count: int) -> str:
    """Return a number of bytes for a message: MB below one GB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


def _size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def remove_old(run: str | Path, step: int, keep: int) -> None:
    """Remove the oldest checkpoints up to a step beyond the `keep` newest of them: also where a process died before."""
    path = Path(run)
    with os_errors(path):
        for each in [each for each in list_steps(path) if each <= step][:-keep]:
            _remove_whole(_folder(path, each))


@contextmanager
def _errors_of(scratch: Path, folder: Path) -> Iterator[None]:
    """Convert what safetensors raises, also for a full disk, to a GatlasError; all name `folder` for `scratch`."""
    from safetensors import SafetensorError

    try:
        yield
    except GatlasError as error:
        raise GatlasError(str(error).replace(str(scratch), str(folder))) from None
    except SafetensorError as error:  # its text for a full disk ends in "(os error 28)"
        raise GatlasError(f"{folder}: {error}") from None


def point_to(run: str | Path, part: str, step: int) -> None:
    """Replace RUN/`part` by a relative link to that of a checkpoint, atomically."""
    path = Path(run)
    with os_errors(path / part):
        if (path / part).is_dir() and not (path / part).is_symlink():
            raise GatlasError(f"{path / part}: is a folder; in a run it is a link to the newest checkpoint")
        with scratch_beside(path / part) as scratch:
            os.symlink(os.path.join(_folder(path, step).name, part), scratch)
            os.replace(scratch, path / part)


def _folder(run: Path, step: int) -> Path:
    return run / f"checkpoint-{step:06d}"


def _remove_whole(folder: Path) -> None:
    """Remove a checkpoint atomically: no half of it is ever found under its name."""
    with scratch_beside(folder) as scratch:
        os.rename(folder, scratch)
        remove(scratch)


def _sync(folder: Path) -> None:
    """Write a folder's content to the disk before its name, so that a power cut leaves no empty files."""
    for each in [*folder.rglob("*"), folder]:
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
