"""gatlas normalize-stats"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gatlas import io
from gatlas.atlas import StatisticsOptions, measure_statistics, merge_statistics
from gatlas.atlas.set_statistics import LazyAtlas, describe, warnings_of
from gatlas.atlas.statistics import NAMES
from gatlas.atlas.statistics import SHARD as MARK
from gatlas.batch.options import SHARD
from gatlas.batch.shards import parse_shard
from gatlas.cli.terminal import check_outputs, counting_bar, message
from gatlas.errors import GatlasError
from gatlas.images.plots import maps, require_matplotlib
from gatlas.io.sets.one_pass import read_inputs

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.io.sets.one_pass import Readable
    from gatlas.types import Atlas, AtlasStats


def run(
    inputs: list[str] | None, output: str, options: StatisticsOptions, *, force: bool, given: frozenset[str]
) -> None:
    """Measure atlases, or merge statistics."""
    share = (0, 1) if options.shard is None else parse_shard(options.shard)
    if options.shard is not None:
        if options.merge:
            raise GatlasError("--merge takes the statistics of all shards: leave --shard out")
        output = output.replace(SHARD, f"{share[0]:05d}")
    check_outputs(output, options, noun="stats", force=force)
    if options.plot is not None:
        require_matplotlib()
    listed, names = read_inputs(inputs or ["-"], share=share)
    if names == []:
        raise GatlasError(f"--shard {options.shard}: there are fewer atlases than shards: use fewer shards")
    if options.merge:
        stats = merge_statistics((each.name, _load_stats(each)) for each in listed)
        found = describe(stats)
    else:
        sources = (LazyAtlas(each.name, each.key, partial(_load_atlas, each)) for each in listed)
        with counting_bar("atlases", None if names is None else len(names)) as count:
            stats, found = measure_statistics(sources, names=names, on_atlas=count)
    if options.shard is not None:
        stats = replace(stats, meta={**stats.meta, MARK: f"{share[0]}/{share[1]}"})
    if options.report is not None:
        io.save_json(options.report, found, force=force)
    if options.plot is not None:
        io.save_image(options.plot, _plot(stats), force=force)
    io.save_stats(output, stats, force=force)  # last: where it stands, all is done
    size = stats.meta["size"]
    message(f"measured {stats.count:,} atlas{'es' * (stats.count > 1)} of {size} x {size}")
    for line in warnings_of(found):
        message(line)


def _plot(stats: AtlasStats) -> Float[np.ndarray, "h w 3"]:
    """Return the mean of each channel, in half of the rows, and then its standard deviation."""
    deviation = np.sqrt(stats.m2 / stats.count)
    planes = {f"mean {name}": stats.mean[..., i] for i, name in enumerate(NAMES)}
    planes |= {f"deviation {name}": deviation[..., i] for i, name in enumerate(NAMES)}
    size = stats.meta["size"]
    return maps(planes, len(NAMES) // 2, f"{stats.count:,} atlas{'es' * (stats.count > 1)} of {size} x {size}")


def _load_atlas(source: Readable) -> Atlas:
    blob = source.read()
    try:
        return io.load_atlas(blob)
    except GatlasError as error:
        if blob.kind == "stats":
            raise GatlasError(f"{blob.name}: statistics, not an atlas: to merge statistics, use --merge") from None
        if blob.kind in ("atlas", "npz"):
            raise GatlasError(f"{error}: leave it out, or encode it again") from None
        raise


def _load_stats(source: Readable) -> AtlasStats:
    blob = source.read()
    if blob.kind == "atlas":
        raise GatlasError(f"{blob.name}: an atlas, not statistics: to measure atlases, leave out --merge")
    return io.load_stats(blob)
