"""Per-pixel mean and deviation of many atlases: collected one atlas at a time, merged exactly, and used to whiten.

Statistics hold raw sums, so that they merge; floors and shrinkage are applied where they are used, by `whitening`.
Xiang et al. 2025, sec. 4.3, normalize with the mean and standard deviation of each pixel over the whole set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.atlas.fitted import check_fitted, fitted_meta, joined_sizes
from gatlas.errors import GatlasError
from gatlas.types import Atlas, AtlasStats

if TYPE_CHECKING:
    from jaxtyping import Float

    Array = Any  # a numpy array or a torch tensor

CHANNELS = {
    "offset": slice(0, 3),
    "color": slice(3, 6),
    "opacity": slice(6, 7),
    "scale": slice(7, 10),
    "rotation": slice(10, 14),
}
NAMES = tuple(f"{name}[{i}]" for name, part in CHANNELS.items() for i in range(part.stop - part.start))
COUNT = len(NAMES)

# Least deviation of a channel in raw units: what is smaller is hardly seen, and must not become noise of variance 1.
FLOORS = {"offset": 0.05, "color": 0.05, "opacity": 0.05, "scale": 0.25, "rotation": 0.05}

# From this many atlases on a pixel's own variance is trusted alone.
ENOUGH = 100

CLIP = 5.0  # deviations

SHARD = "shard"  # in the meta of statistics: "I/N", the part of a set that they are of

# What a set must share, of the atlases' meta, and what each is called in a message.
_SHARED = {
    "gatlas_atlas": "format version",
    "size": "size",
    "sphere": "sphere layout",
    "projection": "projection",
    "frame": "frame of the axes",
}


def stack(atlas: Atlas) -> Float[np.ndarray, "h h 14"]:
    """The planes side by side, in the order of `CHANNELS` (numpy, float32)."""
    planes = [np.asarray(getattr(atlas, name), dtype=np.float32) for name in CHANNELS]
    return np.concatenate(planes, axis=-1)


def channel_rows(atlas: Atlas) -> Float[np.ndarray, "14 cells"]:
    """The channels of `stack`, each in a row of its own: the order in which sums over a channel are fast."""
    rows = np.empty((COUNT, atlas.size**2), dtype=np.float32)
    for name, part in CHANNELS.items():
        rows[part] = np.asarray(getattr(atlas, name)).reshape(-1, part.stop - part.start).T
    return rows


def unstack(planes: Float[Array, "h h c"], meta: Mapping[str, Any]) -> Atlas:
    """The inverse of `stack`."""
    if planes.shape[-1] != COUNT:
        raise ValueError(f"planes must have {COUNT} channels, got {planes.shape[-1]}")
    return Atlas(**{name: planes[..., part] for name, part in CHANNELS.items()}, meta=dict(meta))


def shared_meta(atlas: Atlas, name: str) -> dict[str, Any]:
    """Return the meta that all atlases of a set share (size, spaces, sphere, projection, frame) and of their fits."""
    meta = {key: atlas.meta.get(key) for key in (*_SHARED, "spaces")}
    if meta["size"] not in (None, atlas.size):
        raise GatlasError(f"{name}: damaged: its meta says size {meta['size']}, its planes have {atlas.size}")
    return meta | {"size": atlas.size} | fitted_meta(atlas, name)


class Accumulator:
    """Mean and sum of squared deviations of the atlases added so far, in constant memory (float64).

    The order of the atlases changes the result by rounding alone (below 1e-12), and the same order gives the same bits.
    """

    def __init__(self) -> None:
        self._first = ""
        self._sources = 0  # atlases and statistics added
        self._meta: dict[str, Any] | None = None
        self._count = 0

    @property
    def count(self) -> int:
        """Atlases so far."""
        return self._count

    def add(self, atlas: Atlas, name: str) -> None:
        """Take in one atlas. One that does not share the layout of those before it is a GatlasError."""
        self.add_rows(channel_rows(atlas), shared_meta(atlas, name), name)

    def add_rows(self, rows: Float[np.ndarray, "14 cells"], meta: Mapping[str, Any], name: str) -> None:
        """The same for what `channel_rows` and `shared_meta` gave."""
        self._join(meta, name)
        # Welford 1962, with all the arrays in place.
        count = self._count + 1
        np.subtract(rows, self._mean, out=self._delta)
        np.multiply(self._delta, 1 / count, out=self._step)
        np.add(self._mean, self._step, out=self._mean)
        np.multiply(self._delta, self._delta, out=self._delta)
        np.multiply(self._delta, self._count / count, out=self._delta)
        np.add(self._m2, self._delta, out=self._m2)
        self._count = count

    def add_stats(self, stats: AtlasStats, name: str) -> None:
        """Take in the statistics of atlases that are not among those so far. Chan, Golub and LeVeque 1979, eq. 2.1."""
        size = int(stats.mean.shape[0])
        meta = {key: value for key, value in stats.meta.items() if key != SHARD} | {"size": size}
        check_fitted(meta, name)
        self._join(meta, name)
        count = self._count + stats.count
        mean, m2 = (np.asarray(part, dtype=np.float64).reshape(-1, COUNT).T for part in (stats.mean, stats.m2))
        delta = mean - self._mean
        self._mean += delta * (stats.count / count)
        self._m2 += m2 + delta * delta * (self._count * (stats.count / count))
        self._count = count

    def stats(self) -> AtlasStats:
        """The statistics of what was added."""
        if self._meta is None:
            raise GatlasError("there are no atlases to measure")
        size = int(self._meta["size"])
        mean, m2 = (np.ascontiguousarray(rows.T).reshape(size, size, COUNT) for rows in (self._mean, self._m2))
        return AtlasStats(mean, m2, self._count, dict(self._meta))

    def _join(self, meta: Mapping[str, Any], name: str) -> None:
        if self._meta is None:
            self._meta, self._first = dict(meta), name
            shape = (COUNT, int(meta["size"]) ** 2)
            self._mean, self._m2, self._delta, self._step = (np.zeros(shape) for _ in range(4))
        else:
            _refuse_mixture(self._meta, self._first, self._sources, meta, name)
            sizes = joined_sizes(self._meta, meta)
            self._meta = {key: value for key, value in self._meta.items() if key != "pixel_sizes"} | sizes
        self._sources += 1


def merge_statistics(parts: Iterable[tuple[str, AtlasStats]]) -> AtlasStats:
    """Return the statistics of the union of sets that share no atlas: what one pass over all of them gives.

    The difference is rounding, below 1e-12 of a value. `parts` are (name for messages, statistics). Sets of another
    layout are a GatlasError, as are shards of which one is missing or comes twice.
    """
    total, shards = Accumulator(), _Shards()
    for name, stats in parts:
        shards.add(stats.meta.get(SHARD), name)
        total.add_stats(stats, name)
    shards.require_all()
    return total.stats()


class _Shards:
    """The shards of a set whose statistics are merged."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}  # of the parts, by shard
        self._number = 0

    def add(self, shard: Any, name: str) -> None:
        """Take in the shard that statistics are of, "I/N" or None. One that cannot be right is a GatlasError."""
        if shard is None:
            return
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard) if isinstance(shard, str) else None
        if match is None or int(match[1]) >= int(match[2]):
            raise GatlasError(f"{name}: damaged: its meta says shard {shard!r:.40}")
        index, number = int(match[1]), int(match[2])
        if self._number not in (0, number):
            raise GatlasError(f"{name}: is shard {shard}, and others are of {self._number}: measure them in one way")
        if index in self._names:
            raise GatlasError(f"{name}: is shard {shard}, as {self._names[index]} is: name each once")
        self._number, self._names[index] = number, name

    def require_all(self) -> None:
        """Raise a GatlasError where there are shards, and not all."""
        missing = [str(index) for index in range(min(self._number, 10**6)) if index not in self._names]
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise GatlasError(
                f"shard{'s' * (len(missing) > 1)} {shown} of {self._number} {'are' if len(missing) > 1 else 'is'} "
                "missing: measure what is left with --shard, and name all parts"
            )


def _refuse_mixture(known: Mapping[str, Any], first: str, count: int, meta: Mapping[str, Any], name: str) -> None:
    """Name what keeps an atlas or statistics from joining a set of `count` that begins with `first`."""
    spaces, other_spaces = (_mapping(record.get("spaces")) for record in (known, meta))
    pairs = [(what, known.get(key), meta.get(key)) for key, what in _SHARED.items()]
    pairs += [
        (f"value space of {plane!r}", spaces.get(plane), other_spaces.get(plane))
        for plane in sorted({*spaces, *other_spaces})
    ]
    pairs.append(("mode of the rasterizer", _mode(known), _mode(meta)))
    for what, wanted, got in pairs:
        if wanted != got:
            others = "" if count == 1 else f" and {count - 1} other{'s' if count > 2 else ''}"
            have = "has" if count == 1 else "have"
            raise GatlasError(
                f"{name}: {what} {_show(got)}, but {first}{others} {have} {_show(wanted)}: measure each kind on its own"
            )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {"all planes": value}


def _mode(meta: Mapping[str, Any]) -> str:
    return "antialiased" if meta.get("antialiased") else "classic"


def _show(value: Any) -> str:
    return "none" if value is None else repr(value) if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True, eq=False)
class Whitening:
    """The affine map between raw atlases and what a network sees. Works on arrays of its own kind, [... h h 14]."""

    mean: Float[Array, "h h 14"]  # raw units
    std: Float[Array, "h h 14"]  # raw units, > 0
    clip: float = CLIP  # deviations

    def whiten(self, planes: Float[Array, "*b h h 14"]) -> Float[Array, "*b h h 14"]:
        """Raw planes in deviations from the mean, clipped."""
        return ((planes - self.mean) / self.std).clip(-self.clip, self.clip)

    def unwhiten(self, values: Float[Array, "*b h h 14"]) -> Float[Array, "*b h h 14"]:
        """The inverse of `whiten`, but for what it clipped."""
        return values * self.std + self.mean

    def to_torch(self, device: Any = "cpu") -> Whitening:
        """The same with float32 tensors."""
        import torch

        mean, std = (torch.as_tensor(np.asarray(array), dtype=torch.float32) for array in (self.mean, self.std))
        return replace(self, mean=mean.to(device), std=std.to(device))


def whitening(stats: AtlasStats, *, deviation: str = "pixel") -> Whitening:
    """Mean and deviation to whiten with (float32): `deviation` "pixel", or "channel" for one deviation a channel.

    The mean is each pixel's own. With n atlases, a pixel's variance v and the mean v' of its channel's over all pixels,

        sigma^2 = w v + (1 - w) v',   w = min(1, (n - 1) / (ENOUGH - 1)),

    which trusts the pixel alone from ENOUGH atlases on and not at all for one; "channel" is w = 0. Then
    sigma >= FLOORS of the plane, so that a constant channel whitens to nothing and not to noise.
    """
    if deviation not in ("pixel", "channel"):
        raise ValueError(f"deviation must be 'pixel' or 'channel', got {deviation!r}")
    variance = np.asarray(stats.m2, dtype=np.float64) / stats.count
    weight = min(1.0, (stats.count - 1) / (ENOUGH - 1)) if deviation == "pixel" else 0.0
    variance = weight * variance + (1 - weight) * variance.mean(axis=(0, 1))
    floors = np.concatenate([np.full(part.stop - part.start, FLOORS[name]) for name, part in CHANNELS.items()])
    std = np.maximum(np.sqrt(variance), floors)
    return Whitening(np.asarray(stats.mean).astype(np.float32), std.astype(np.float32))
