"""Anomalies of a set of atlases: outliers, channels that look wrong, duplicates.

Every atlas is reduced to a few dozen numbers. A set is judged by a fixed sample of them and by the extremes of
each, so that a set of any size takes the same memory (but for 16 bytes per object to find duplicates).
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.atlas.spaces import SPACES
from gatlas.atlas.statistics import CHANNELS, COUNT, NAMES, channel_rows, shared_meta
from gatlas.io.atlases.plane_cache import load_permutation
from gatlas.transport import SPHERE_NAME, fibonacci_sphere
from gatlas.types import LOG_SCALE_RANGE

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Atlas, AtlasStats

SAMPLE = 2000  # objects whose summaries are kept for the medians
EXTREMES = 16  # objects kept at either end of each summary
LISTED = 20  # names in a report, at most

# An object is an outlier from this many deviations on, by median and median absolute deviation; with fewer objects
# than FEWEST there is no telling.
OUTLIER = 6.0
FEWEST = 20

# Squared distance of grid neighbors over that of random pairs: scrambled cells give 1, real objects a few thousandths.
SCRAMBLED = 0.5

_SHARES = (
    "share of padding",
    "share of opaque cells",
    "share of scales at the lower bound",
    "share at the upper bound",
)
_LOCALITY = "squared distance of grid neighbors over that of random pairs"
FEATURES = (*(f"mean of {name}" for name in NAMES), *(f"spread of {name}" for name in NAMES), *_SHARES, _LOCALITY)

# Least deviation that a difference is measured in, so that what hardly varies does not make outliers of all else.
_FLOORS = np.array(
    [
        size
        for _ in range(2)
        for name, part in CHANNELS.items()
        for size in [{"scale": 0.3, "offset": 0.05}.get(name, 0.1)] * (part.stop - part.start)
    ]
    + [0.1] * (len(_SHARES) + 1)
)

FAULTS = {
    "color": "colors outside 0..1",
    "opacity": "opacities outside 0..1",
    "scale": "log-scales outside -9..-1.5",
    "offset": "offsets longer than the unit ball allows",
    "rotation": "quaternions that are not of unit length",
    "sign": "quaternions with w < 0",
    "transparent": "no opaque cell at all",
}


class AtlasSummary(NamedTuple):
    """One atlas, as the statistics and the survey need it."""

    rows: Float[np.ndarray, "14 cells"]  # `channel_rows`
    meta: dict[str, Any]  # what its set must share
    features: Float[np.ndarray, " f"]  # FEATURES; NaN if undefined
    low: Float[np.ndarray, " 14"]  # least value of each channel
    high: Float[np.ndarray, " 14"]
    faults: dict[str, int]  # cells that break the value spaces which the atlas names


def summarize_atlas(atlas: Atlas, name: str) -> AtlasSummary:
    """Return the summary statistics of an atlas. Thread-safe."""
    rows = channel_rows(atlas)
    meta = shared_meta(atlas, name)
    mean = rows.mean(axis=1)
    spread = np.array([row.std() for row in rows])  # row by row: small arrays stay in the cache
    opacity, scale = rows[CHANNELS["opacity"]], rows[CHANNELS["scale"]]
    lowest, highest = LOG_SCALE_RANGE
    shares = [
        np.mean(opacity == 0),
        np.mean(opacity == 1),
        np.mean(scale <= lowest + 1e-4),
        np.mean(scale >= highest - 1e-4),
    ]
    features = np.concatenate([mean, spread, shares, [_locality(rows[CHANNELS["offset"]], meta)]])
    return AtlasSummary(rows, meta, features, rows.min(axis=1), rows.max(axis=1), _faults(rows, meta))


def _locality(offset: Float[np.ndarray, "3 cells"], meta: Mapping[str, Any]) -> float:
    """Mean squared distance of grid neighbors over that of random pairs (which is twice the variance)."""
    size = int(meta["size"])
    sphere = _sphere(size, str(meta["projection"])) if meta["sphere"] == SPHERE_NAME else None
    if sphere is None or size < 2:
        return float("nan")
    positions = offset + sphere
    random = 2 * float(positions.var(axis=1).sum())
    if random < 1e-6:
        return float("nan")  # all at one place
    grid = positions.reshape(3, size, size)
    steps = (np.diff(grid, axis=1), np.diff(grid, axis=2))
    near = sum(float(np.einsum("cij,cij->", step, step)) for step in steps) / (2 * size * (size - 1))
    return near / random


@lru_cache(maxsize=2)
def _sphere(size: int, projection: str) -> Float[np.ndarray, "3 cells"] | None:
    """The sphere point of every cell; None where the permutation is neither shipped nor cached (it takes long)."""
    cells = load_permutation(size, projection)
    return None if cells is None else np.ascontiguousarray(fibonacci_sphere(size * size)[cells].T, dtype=np.float32)


def _faults(rows: Float[np.ndarray, "14 cells"], meta: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of cells that violate each value space named in the atlas's meta."""
    part = {name: rows[channels] for name, channels in CHANNELS.items()}
    lowest, highest = LOG_SCALE_RANGE
    squares = np.einsum("ij,ij->j", part["rotation"], part["rotation"])
    counts = {
        "offset": int(np.count_nonzero(np.einsum("ij,ij->j", part["offset"], part["offset"]) > 2.02**2)),
        "color": _outside(part["color"], -1e-4, 1 + 1e-4),
        "opacity": _outside(part["opacity"], 0.0, 1.0),
        "scale": _outside(part["scale"], lowest - 1e-3, highest + 1e-3),
        "rotation": int(np.count_nonzero(np.abs(squares - 1) > 2e-3)),
    }
    spaces: Mapping[str, Any] = meta["spaces"] if isinstance(meta["spaces"], Mapping) else {}
    found = {plane: count for plane, count in counts.items() if count and spaces.get(plane) == SPACES[plane]}
    if spaces.get("rotation") == SPACES["rotation"] and (turned := np.count_nonzero(part["rotation"][0] < -1e-6)):
        found["sign"] = int(turned)
    if not part["opacity"].any():
        found["transparent"] = int(part["opacity"].size)
    return found


def _outside(values: Float[np.ndarray, "c cells"], low: float, high: float) -> int:
    if values.min() >= low and values.max() <= high:
        return 0
    return int(np.count_nonzero(((values < low) | (values > high)).any(axis=0)))


class Survey:
    """Collects measured atlases, in the order of the set, and reports what is odd about them."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)  # which objects are sampled; not what is found in them
        self._sample = np.empty((SAMPLE, len(FEATURES)))
        self._count = 0
        self._tops: list[list[tuple[float, int, str]]] = [[] for _ in range(2 * len(FEATURES))]  # heaps: high, then low
        self._bars = np.full(2 * len(FEATURES), -np.inf)  # what gets into each heap
        self._sum = np.zeros(len(FEATURES))
        self._low = np.full(COUNT, np.inf)
        self._high = np.full(COUNT, -np.inf)
        self._faults: dict[str, dict[str, Any]] = {}
        self._contents, self._keys = array("Q"), array("Q")

    def add(self, measured: AtlasSummary, name: str, key: str) -> None:
        """Take in one atlas; `key` is the object's name, which should not come twice."""
        features = measured.features
        self._sum += np.nan_to_num(features)
        self._low = np.minimum(self._low, measured.low)
        self._high = np.maximum(self._high, measured.high)
        for fault, cells in measured.faults.items():
            record = self._faults.setdefault(fault, {"objects": 0, "cells": 0, "first": []})
            record["objects"] += 1
            record["cells"] += cells
            if len(record["first"]) < 3:
                record["first"].append(name)
        both = np.concatenate([features, -features])
        for place in np.flatnonzero(both > self._bars):
            heap = self._tops[place]
            entry = (float(both[place]), -self._count, name)
            (heapq.heappush if len(heap) < EXTREMES else heapq.heapreplace)(heap, entry)
            if len(heap) == EXTREMES:
                self._bars[place] = heap[0][0]
        # Reservoir sampling: each object so far is in the sample with the same probability.
        slot = self._count if self._count < SAMPLE else int(self._rng.integers(self._count + 1))
        if slot < SAMPLE:
            self._sample[slot] = features
        self._contents.append(_digest(features.tobytes() + measured.low.tobytes() + measured.high.tobytes()))
        self._keys.append(_digest(key.encode("utf-8", "surrogatepass")))
        self._count += 1

    def outliers(self) -> list[dict[str, Any]]:
        """Objects unlike the others, the oddest first: name, reason and robust z."""
        if self._count < FEWEST:
            return []
        sample = self._sample[: min(self._count, SAMPLE)]
        found: dict[str, dict[str, Any]] = {}
        for place, heap in enumerate(self._tops):
            feature = place % len(FEATURES)
            values = sample[:, feature][np.isfinite(sample[:, feature])]
            if not len(values):
                continue
            median = float(np.median(values))
            deviation = max(1.4826 * float(np.median(np.abs(values - median))), _FLOORS[feature])
            for extreme, _, name in heap:
                value = extreme if place < len(FEATURES) else -extreme
                z = abs(value - median) / deviation
                if z > OUTLIER and z > found.get(name, {"z": 0.0})["z"]:
                    reason = f"{FEATURES[feature]} is {value:.3g}, that of most is {median:.3g}"
                    found[name] = {"name": name, "reason": reason, "z": round(z, 2)}
        return sorted(found.values(), key=lambda outlier: (-outlier["z"], outlier["name"]))[:LISTED]

    def repeated(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Pairs (earlier, later) of places in the set that hold the same atlas, and that have the same key."""
        return _pairs(self._contents), _pairs(self._keys)

    def problems(self, stats: AtlasStats) -> list[str]:
        """Channels that look wrong, in words."""
        cells = self._count * int(stats.meta["size"]) ** 2
        found = constant_channels(stats)
        for fault, record in self._faults.items():
            names = ", ".join(record["first"]) + (" …" if record["objects"] > len(record["first"]) else "")
            objects = f"{record['objects']:,} of {self._count:,} atlases ({names})"
            found.append(f"{FAULTS[fault]}: {record['cells']:,} cells in {objects}")
        shares = dict(zip(FEATURES, self._sum / max(self._count, 1), strict=True))
        padding, _, low, high = (shares[name] for name in _SHARES)
        if padding > 0.5:
            found.append(f"{padding:.0%} of the {cells:,} cells are padding")
        for share, bound in ((low, LOG_SCALE_RANGE[0]), (high, LOG_SCALE_RANGE[1])):
            if share > 0.5:
                found.append(f"{share:.0%} of the log-scales are stuck at the bound {bound:g}")
        locality = self.locality()
        if locality is not None and locality > SCRAMBLED:
            found.append(
                "neighbors in the grid are hardly nearer than random pairs: the cells are scrambled, as by an index "
                "map used the wrong way round (gatlas atlas-decode --check looks at one atlas)"
            )
        return found

    def locality(self) -> float | None:
        """Median over the objects; None if undefined."""
        values = self._sample[: min(self._count, SAMPLE), -1]
        values = values[np.isfinite(values)]
        return float(np.median(values)) if len(values) else None

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Least and largest value of each channel."""
        return {name: (float(self._low[i]), float(self._high[i])) for i, name in enumerate(NAMES)}


def constant_channels(stats: AtlasStats) -> list[str]:
    """Channels that have one value everywhere, or that no two atlases differ in."""
    within = stats.m2.mean(axis=(0, 1)) / stats.count
    total = within + stats.mean.var(axis=(0, 1))
    found = []
    for i, name in enumerate(NAMES):
        if total[i] < 1e-10:
            found.append(f"{name} is {stats.mean[..., i].mean():.4g} in every cell of every atlas")
        elif within[i] < 1e-10 and stats.count > 1:
            found.append(f"{name} is the same in all atlases")
    return found


def _digest(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def _pairs(digests: array[int]) -> list[tuple[int, int]]:
    """Each place whose digest came before, with the place where it came first."""
    values = np.frombuffer(digests, dtype=np.uint64) if len(digests) else np.empty(0, np.uint64)
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    earlier = first[inverse.reshape(-1)]
    later = np.flatnonzero(earlier != np.arange(len(values)))
    return [(int(earlier[place]), int(place)) for place in later]
