"""A measure of single objects, on many of them: one document of all, or a file per object with a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gatlas import io
from gatlas.batch.options import SHARD, STEM, Batchable, BatchOptions
from gatlas.batch.work import BatchWork
from gatlas.cli.batch import EXIT_SOME_FAILED, run_work, watched_batch
from gatlas.cli.score_output import check_score_outputs, give_document
from gatlas.cli.terminal import message, messages_to
from gatlas.cli.verb import set_threads
from gatlas.config import output_fields
from gatlas.errors import GatlasError, Requeue
from gatlas.io.json_reader import read_json
from gatlas.io.sets.inputs import stream_objects
from gatlas.io.sets.scratch import temporary_folder
from gatlas.score.documents import checked_document, merge_documents

if TYPE_CHECKING:
    from gatlas.config import Options, Report

Measure = Callable[[io.Blob, str, Any], dict[str, Any]]  # an object, its name and the options, to a document


@dataclass(frozen=True)
class _WrittenScore:
    """A measure as a batch calls it in a worker: its document is written to a file."""

    measure: Measure
    threads: int | None

    def __call__(
        self, source: Any, output: str, options: Options, *, force: bool, report: Report, key: str
    ) -> Mapping[str, Any] | None:
        set_threads(self.threads)
        with messages_to(report):
            document = self.measure(io.as_blob(source), key, options)
        io.save_json(output, document, force=force)
        return None


def run_measure(
    name: str,
    measure: Measure,
    spec: Batchable,
    inputs: list[str],
    output: str | None,
    options: Options,
    batch: BatchOptions,
    *,
    force: bool,
    threads: int | None,
) -> None:
    """Score objects: a file per object where `output` is for many, else one document, or a table where it is None."""
    plot = getattr(options, "plot", None)
    plain = replace(options, **dict.fromkeys(output_fields(options)))
    work = BatchWork(f"score_{name}", _WrittenScore(measure, threads), plain, spec)
    if output is not None and _is_for_many(output):
        if plot is not None:
            raise GatlasError("--plot is of all objects together: gatlas score table DIR/ --plot x.png makes it")
        run_work(work, inputs, output, batch, force)
        return
    if batch.dry_run or batch.tar:
        raise GatlasError(f"--{'tar' if batch.tar else 'dry-run'} is for a file per object: give -o DIR/")
    check_score_outputs(output, plot, force=force)
    with temporary_folder() as scratch:
        if batch.files_from is None and inputs in ([], ["-"]):
            failed, total = _measure_stream(work, scratch)
        else:
            failed, total = _measure_all(work, inputs, scratch, batch)
        documents = read_documents(scratch)
    give_scores(merge_documents(documents) if documents else None, failed, total, output, plot, force=force)


def give_scores(
    document: Mapping[str, Any] | None, failed: int, total: int, output: str | None, plot: str | None, *, force: bool
) -> None:
    """Write or show a document, None where nothing could be scored; exit with 1 then, with 3 where some failed."""
    if document is not None:
        give_document(document, output, plot, force=force)
    if failed:
        if total > 1:
            message(f"{failed} of {total} objects failed")
        raise typer.Exit(EXIT_SOME_FAILED if document is not None else 1)


def _is_for_many(output: str) -> bool:
    return STEM in output or SHARD in output or output.lower().endswith(".tar") or io.is_folder(output)


def _measure_all(work: BatchWork, inputs: list[str], scratch: Path, batch: BatchOptions) -> tuple[int, int]:
    outcome = watched_batch(work, inputs, f"{scratch}/", batch, force=False)
    if outcome.stopped:
        raise Requeue(f"stopped after {outcome.done:,} objects: run the same command to start over; -o DIR/ keeps them")
    for note, count in outcome.notes.items():
        message(note if count == outcome.done else f"{count} of {outcome.done} objects: {note}")
    return outcome.failed, outcome.total


def _measure_stream(work: BatchWork, scratch: Path) -> tuple[int, int]:
    """Score what comes through a pipe: an object, or a tar of them, one after the other."""
    failed = total = 0
    for found in stream_objects(io.stream_members("-"), work.spec.accepts):
        total += 1
        key = found.key or "object"
        place = scratch / f"{io.shard_key(key)}.json"
        io.make_folder(place.parent, parents=True)
        try:
            work.function(found.blob, str(place), work.options, force=False, report=message, key=key)
        except GatlasError as error:
            if found.key is None:
                raise
            message(f"{found.blob.name}: {error}" if found.blob.name not in str(error) else str(error))
            failed += 1
    if not total:
        raise GatlasError(f"standard input: holds no object: none of {', '.join(work.spec.accepts)}")
    return failed, total


def read_documents(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the documents of the files of a folder and of those in it, by their path, in the order of their names."""
    paths = sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))
    return {str(path): read_document(path) for path in paths}


def read_document(path: str | Path) -> dict[str, Any]:
    """Return a document of scores; anything else is a GatlasError."""
    return checked_document(read_json(io.as_blob(str(path)), fault="no scores"), str(path))
