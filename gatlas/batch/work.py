"""The function that a batch calls for each object, and one call of it in a worker process."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from gatlas import io
from gatlas.batch.options import STEM, Batchable
from gatlas.batch.workers import JobResult
from gatlas.config import Options, output_fields, result_fields
from gatlas.errors import GatlasError, Requeue
from gatlas.io.descriptors import is_special
from gatlas.io.sets.shards import CAPTIONS
from gatlas.io.streams import is_disk_full, is_transient


@dataclass(frozen=True)
class BatchWork:
    """A function that makes one output of one input, with its options.

    It is called in a worker process as `function(source, output, options, force=..., report=...)` and returns what the
    manifest records of the object, or None. `source` is a path (str) or a Blob, `output` a path; that of a folder ends
    in "/". What it cannot do it raises as a GatlasError; `report` takes messages. In the options, `{stem}` in the name
    of an output stands for the name of the object; with `spec.keyed` the function gets that name as `key`, too.
    """

    name: str  # in manifests and fingerprints
    function: Callable[..., Mapping[str, Any] | None]  # of a module, so that it can be pickled
    options: Options
    spec: Batchable

    @property
    def suffix(self) -> str:
        """The suffix of a result; "/" is a folder."""
        return self.spec.result_suffix(self.options)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the name and of the options that affect the result."""
        return fingerprint_of(self.name, result_fields(self.options))

    def outputs(self, key: str) -> dict[str, Path]:
        """Return the paths of an object's outputs that its options name, by option."""
        return {name: Path(getattr(self.options, name).replace(STEM, key)) for name in output_fields(self.options)}

    def sidecars(self, key: str) -> dict[str, Path]:
        """Return those of the outputs that are made once, together with the result."""
        fields = output_fields(self.options)
        return {name: place for name, place in sorted(self.outputs(key).items()) if fields[name].info.once}


def fingerprint_of(name: str, options: Mapping[str, Any]) -> str:
    """Return a hash of a function's name and its options (JSON-able), whatever their order."""
    return hashlib.sha256(json.dumps([name, options], sort_keys=True).encode()).hexdigest()[:16]


class Task(NamedTuple):
    """One object and the place of its result."""

    key: str  # its name, and its id in the manifest
    source: Path | io.Member | io.Blob
    name: str  # of the source, for messages
    output: Path | None  # None: it goes into a tar
    captions: Mapping[str, bytes] | None = None  # suffix -> content, of one from a pipe; else `io.captions_of`
    sidecars: tuple[Path, ...] = ()  # files and folders that are stored together with the result: reports, views
    found: str = ""  # name of an input in the place of the result, left out as an earlier result of this task

    @property
    def caption_places(self) -> dict[str, Path]:
        """Return the paths of the captions of an object in a shard, by suffix: next to its result."""
        if self.output is None or isinstance(self.source, (Path, io.Blob)):
            return {}
        return {suffix: caption_place(self.output, suffix) for suffix in CAPTIONS}


def caption_place(output: Path, suffix: str) -> Path:
    """Return the place of a caption of that suffix, next to a result."""
    return output.with_name(output.stem + suffix)


def failure(error: Exception) -> JobResult:
    """Return the result of a job that raised an error."""
    fault = f"a fault of gatlas, please report it: {type(error).__name__}: {error}"
    message = str(error) if isinstance(error, GatlasError) else fault
    return JobResult("failed", error=message, transient=is_transient(error), disk_full=is_disk_full(error))


class Job(NamedTuple):
    """One object for a worker."""

    task: Task
    output: str  # where its result goes, in the scratch folder

    def sidecar_paths(self, work: BatchWork) -> dict[Path, Path]:
        """Return place -> path in the scratch folder of the sidecars."""
        places = work.sidecars(self.task.key)
        return {place: Path(f"{self.output.rstrip('/')}.{name}{place.suffix}") for name, place in places.items()}


def call_function(work: BatchWork, force: bool, sidecars_in_scratch: bool, job: Job) -> JobResult:
    """Return the result of a job, in a worker. No error of the function ends the worker."""
    started = time.monotonic()
    notes: list[str] = []
    try:
        source, digest = _read(job.task.source)
        options = _options_of(work, job, sidecars_in_scratch)
        named = {"key": job.task.key} if work.spec.keyed else {}
        record = work.function(source, job.output, options, force=force, report=notes.append, **named) or {}
        hashed = {} if Path(job.output).is_dir() else {"output_sha256": io.sha256_of(Path(job.output))}
        result = JobResult("ok", {"input_sha256": digest, **record, **hashed})
    except Requeue as stop:
        result = JobResult("stopped", error=str(stop))
    except MemoryError:
        result = JobResult("failed", error="not enough memory for this input", transient=True)
    except Exception as error:
        result = failure(error)
    return result._replace(seconds=time.monotonic() - started, notes=tuple(notes))


def _read(source: Path | io.Member | io.Blob) -> tuple[str | io.Blob, str]:
    """Return a source as the function takes it, and its SHA-256. What cannot be read twice is read."""
    if isinstance(source, Path) and is_special(source):
        source = io.as_blob(source)  # a pipe, as the shell's <(command)
    digest = io.sha256_of(source)
    if isinstance(source, io.Member):
        source = io.read_member(source)
    return str(source) if isinstance(source, Path) else source, digest


def _options_of(work: BatchWork, job: Job, sidecars_in_scratch: bool) -> Options:
    """Return the options with the paths of this object's outputs, and make their folders."""
    scratch = job.sidecar_paths(work) if sidecars_in_scratch else {}
    paths = work.outputs(job.task.key)
    for name, place in paths.items():
        io.make_folder(place.parent, parents=True)
        if place in scratch:  # before the work, as for a single object
            io.check_output(place, force=True, folder=output_fields(work.options)[name].info.output == "")
    return replace(work.options, **{name: str(scratch.get(place, place)) for name, place in paths.items()})
