"""gatlas normalize-stats"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gatlas.cli.options import Force, Output

if TYPE_CHECKING:
    from gatlas.atlas.statistics import Accumulator
    from gatlas.atlas.survey import Measured, Survey
    from gatlas.io import Blob
    from gatlas.io.sets.inputs import Item
    from gatlas.types import AtlasStats


class Job(NamedTuple):
    """One input of many."""

    name: str  # for messages
    key: str  # of the object
    run: Callable[[], Any]  # reads and measures it


def normalize_stats(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="Atlases: files, folders, patterns, tar shards; - is standard input.",
            show_default=False,
        ),
    ] = None,
    output: Output = "-",
    merge: Annotated[
        bool, typer.Option("--merge", help="The inputs are statistics: write those of all their atlases together.")
    ] = False,
    report: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="Write what is odd about the set.", show_default=False)
    ] = None,
    force: Force = False,
) -> None:
    """Measure the mean and standard deviation of every pixel over any number of atlases.

    Each atlas is read once and dropped, so that a set of any size takes the same memory. Atlases of different sizes,
    value spaces or projections are refused. Objects that are unlike the others and channels that look wrong are named
    on standard error. Standard input holds one atlas or a tar stream of them.

    Parts of a set can be measured apart: --merge gives what one pass over all of them would give.

    Example: gatlas normalize-stats atlases/ -o stats.npz
    """
    from gatlas import io
    from gatlas.atlas.statistics import Accumulator
    from gatlas.atlas.survey import Survey, constant_channels
    from gatlas.cli.terminal import refuse_shared_names, say

    words = inputs or ["-"]
    io.check_output(output, force=force, suffix=".npz", what="statistics")
    if report is not None:
        io.check_output(report, force=force, suffix=".json", what="a report")
    refuse_shared_names(output, report)
    total = Accumulator()
    if merge:
        for job in _jobs(words, _load_stats)[0]:
            total.add_stats(job.run(), job.name)
        stats, survey, items = total.stats(), None, None
        problems = constant_channels(stats)
    else:
        survey = Survey()
        items = _collect(words, total, survey)
        stats = total.stats()
        problems = survey.problems(stats)
    size = stats.meta["size"]
    found = _describe(stats, problems, survey, items)
    if report is not None:
        io.save_json(report, found, force=force)
    io.save_stats(output, stats, force=force)  # last: where it stands, all is done
    say(f"measured {stats.count:,} atlas{'es' * (stats.count > 1)} of {size} x {size}")
    for line in _warnings(found):
        say(line)


def _collect(words: list[str], total: Accumulator, survey: Survey) -> list[Item] | None:
    """Measure every atlas, read ahead by threads and added up in order."""
    jobs, items = _jobs(words, _measure)
    from gatlas.cli.terminal import counting_bar

    with counting_bar("atlases", None if items is None else len(items)) as step:
        for name, key, measured in _read_ahead(jobs):
            total.add_rows(measured.rows, measured.meta, name)
            survey.add(measured, name, key)
            step()
    return items


def _jobs(words: list[str], load: Callable[[Blob], Any]) -> tuple[Iterator[Job], list[Item] | None]:
    """What the words of the command line name, and the list of it; None where a stream must tell."""
    import warnings

    from gatlas.io.sets.inputs import gather

    plain = [word for word in words if not _is_streamed(word)]
    items = gather(plain) if plain else []
    listed = (Job(item.name, item.key, partial(_load_item, item, load)) for item in items)
    if len(plain) == len(words):
        return listed, items
    if words.count("-") > 1:
        warnings.warn("standard input is named twice and read once", stacklevel=2)
    streamed = dict.fromkeys(word for word in words if _is_streamed(word))
    return chain(listed, *(_streamed(word, load) for word in streamed)), None


def _load_item(item: Item, load: Callable[[Blob], Any]) -> Any:
    from gatlas.io.sets.inputs import read_item

    return load(read_item(item))


def _is_streamed(word: str) -> bool:
    """Standard input, a named pipe or a compressed tar: what is read from front to back."""
    from pathlib import Path

    try:
        return word == "-" or word.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")) or Path(word).is_fifo()
    except OSError:
        return False  # what cannot be looked at cannot be gathered: the reason is given there


def _streamed(word: str, load: Callable[[Blob], Any]) -> Iterator[Job]:
    from gatlas.errors import GatlasError
    from gatlas.io.sets.inputs import without_suffix
    from gatlas.io.sets.shards import stream_members

    empty = True
    for blob in stream_members(word):
        split = without_suffix(blob.name, (".npz",))
        if blob.key is None or split is not None:
            empty = False
            key = blob.name if split is None else split[0]
            yield Job(blob.name, key.rpartition(":")[2], partial(load, blob))
    if empty:
        raise GatlasError(f"{'standard input' if word == '-' else word}: there are no .npz files in it")


def _measure(blob: Blob) -> Measured:
    from gatlas import io
    from gatlas.atlas.survey import measure
    from gatlas.errors import GatlasError

    try:
        atlas = io.load_atlas(blob)
    except GatlasError as error:
        if blob.kind == "stats":
            raise GatlasError(f"{blob.name}: statistics, not an atlas: to merge statistics, use --merge") from None
        if blob.kind in ("atlas", "npz"):
            raise GatlasError(f"{error}: leave it out, or encode it again") from None
        raise
    return measure(atlas, blob.name)


def _load_stats(blob: Blob) -> AtlasStats:
    from gatlas import io
    from gatlas.errors import GatlasError

    if blob.kind == "atlas":
        raise GatlasError(f"{blob.name}: an atlas, not statistics: to measure atlases, leave out --merge")
    return io.load_stats(blob)


def _read_ahead(jobs: Iterator[Job]) -> Iterator[tuple[str, str, Any]]:
    """The results of the jobs, in order; a few threads are a few atlases ahead."""
    import os
    from collections import deque
    from concurrent.futures import Future, ThreadPoolExecutor

    threads = min(4, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads)
    waiting: deque[tuple[Job, Future[Any]]] = deque()
    try:
        for job in jobs:
            waiting.append((job, pool.submit(job.run)))
            if len(waiting) > 2 * threads:
                job, result = waiting.popleft()
                yield job.name, job.key, result.result()
        while waiting:
            job, result = waiting.popleft()
            yield job.name, job.key, result.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _describe(
    stats: AtlasStats, problems: list[str], survey: Survey | None, items: list[Item] | None
) -> dict[str, Any]:
    """The report, as JSON has it."""
    from gatlas.atlas.statistics import NAMES, whitening
    from gatlas.atlas.survey import LISTED

    within = stats.m2.mean(axis=(0, 1)) / stats.count
    between = stats.mean.var(axis=(0, 1))
    floored = whitening(stats, deviation="channel").std[0, 0]
    channels: dict[str, dict[str, Any]] = {
        name: {
            "mean": float(stats.mean[..., i].mean()),
            "std": float((within[i] + between[i]) ** 0.5),
            "pixel_std": float(within[i] ** 0.5),  # root mean square over the pixels
            "at_floor": bool(floored[i] ** 2 > 1.0001 * within[i]),
        }
        for i, name in enumerate(NAMES)
    }
    found = {"count": stats.count, "layout": dict(stats.meta), "channels": channels, "problems": problems}
    if survey is None:
        return found
    for name, (low, high) in survey.ranges().items():
        channels[name] |= {"min": low, "max": high}

    def call(place: int) -> str:
        return items[place].name if items is not None else f"number {place + 1}"

    contents, keys = survey.repeated()
    return {
        **found,
        "locality": survey.locality(),
        "outliers": survey.outliers(),
        "same_content": {
            "count": len(contents),
            "pairs": [[call(place) for place in pair] for pair in contents[:LISTED]],
        },
        "same_name": {"count": len(keys), "pairs": [[call(place) for place in pair] for pair in keys[:LISTED]]},
    }


def _warnings(found: dict[str, Any]) -> Iterator[str]:
    for problem in found["problems"]:
        yield f"warning: {problem}"
    for key, what in (("same_content", "hold the same atlas"), ("same_name", "have the same name")):
        record = found.get(key, {"count": 0})
        if record["count"]:
            first, second = record["pairs"][0]
            more = record["count"] - 1
            others = f", and so {'do' if more > 1 else 'does'} {more:,} more" if more else ""
            yield f"warning: {first} and {second} {what}{others}; each counts"
    outliers = found.get("outliers", [])
    for outlier in outliers[:5]:
        yield f"outlier: {outlier['name']}: {outlier['reason']}"
    if len(outliers) > 5:
        yield f"and {len(outliers) - 5} more outliers: see --report"
