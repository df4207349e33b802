"""Statistics of a set of atlases in one pass, and a report on what is odd about the set."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from gatlas.atlas.statistics import NAMES, Accumulator, whitening
from gatlas.atlas.survey import LISTED, AtlasSummary, Survey, constant_channels, summarize_atlas

if TYPE_CHECKING:
    from gatlas.types import Atlas, AtlasStats


class LazyAtlas(NamedTuple):
    """An atlas that is still to be read."""

    name: str  # for messages
    key: str  # name of the object
    read: Callable[[], Atlas]


class SetStatistics(NamedTuple):
    """The statistics of a set, and what is odd about it."""

    stats: AtlasStats
    report: dict[str, Any]  # JSON-able: counts, layout, channels, problems, outliers, repeated objects


def measure_statistics(
    sources: Iterable[LazyAtlas],
    *,
    names: Sequence[str] | None = None,
    on_atlas: Callable[[], None] = lambda: None,
) -> SetStatistics:
    """Return the statistics of all atlases, each read once, by a few threads ahead, and added in order.

    `names` are those of all sources where they are known beforehand: repeated atlases are then called by name and
    not by number. Atlases of different layouts, and an empty set, are a GatlasError.
    """
    total, survey = Accumulator(), Survey()
    for source, measured in _read_ahead(sources):
        total.add_rows(measured.rows, measured.meta, source.name)
        survey.add(measured, source.name, source.key)
        on_atlas()
    stats = total.stats()
    found = describe(stats, survey.problems(stats))
    for name, (low, high) in survey.ranges().items():
        found["channels"][name] |= {"min": low, "max": high}
    found |= {"locality": survey.locality(), "outliers": survey.outliers()}
    for kind, pairs in zip(("same_content", "same_name"), survey.repeated(), strict=True):
        shown = [
            [f"number {place + 1}" if names is None else names[place] for place in pair] for pair in pairs[:LISTED]
        ]
        found[kind] = {"count": len(pairs), "pairs": shown}
    return SetStatistics(stats, found)


def _read_ahead(sources: Iterable[LazyAtlas]) -> Iterator[tuple[LazyAtlas, AtlasSummary]]:
    """Yield each source and what it measures, in order; a few threads are a few atlases ahead."""
    threads = min(4, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads)
    waiting: deque[tuple[LazyAtlas, Future[AtlasSummary]]] = deque()
    try:
        for source in sources:
            waiting.append((source, pool.submit(lambda each: summarize_atlas(each.read(), each.name), source)))
            if len(waiting) > 2 * threads:
                first, result = waiting.popleft()
                yield first, result.result()
        while waiting:
            first, result = waiting.popleft()
            yield first, result.result()
    finally:
        pool.shutdown(cancel_futures=True)


def describe(stats: AtlasStats, problems: Sequence[str] | None = None) -> dict[str, Any]:
    """Return count, layout, mean and deviation of each channel, and the problems, JSON-able.

    Without `problems` they are those that the statistics alone show.
    """
    problems = constant_channels(stats) if problems is None else problems
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
    return {"count": stats.count, "layout": dict(stats.meta), "channels": channels, "problems": list(problems)}


def warnings_of(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line for each thing of a report that the user should look at."""
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
