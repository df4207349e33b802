"""Codebooks of numbers and palettes of vectors that stand for many: k-means in one and in many dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

BOOK = 256  # numbers of a codebook
_BINS = 1 << 16
_DIRECT = 256  # entries that are sought at once; more are sought in parts
_SAMPLE = 20_000  # vectors that the entries are moved by
_STEPS = 6


def codebook(values: Float[np.ndarray, "*n"]) -> tuple[Float[np.ndarray, " 256"], UInt8[np.ndarray, "*n"]]:
    """Return BOOK numbers, ascending, and the index of the one that is nearest to each value.

    Numbers of which there are no more than BOOK are kept as they are. Lloyd's steps on a histogram, from the spacing
    that is best for many numbers: density^(1/3) (Panter and Dite 1951).
    """
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    found = np.unique(flat)
    if len(found) > BOOK:
        counts, edges = np.histogram(flat, bins=_BINS)
        places = (edges[1:] + edges[:-1]) / 2
        density = np.cumsum(np.cbrt(np.convolve(counts, np.ones(257) / 257, "same")) + 1e-3)
        shares = (np.arange(BOOK) + 0.5) / BOOK * density[-1]
        found = places[np.searchsorted(density, shares).clip(0, _BINS - 1)]
        for _ in range(4 * _STEPS):
            nearest = np.searchsorted((found[1:] + found[:-1]) / 2, places)
            weights = np.bincount(nearest, counts, BOOK)
            sums = np.bincount(nearest, counts * places, BOOK)
            found = np.sort(np.where(weights > 0, sums / np.where(weights > 0, weights, 1), found))
    book = np.concatenate([found, np.full(BOOK - len(found), found[-1])]).astype(np.float32).astype(np.float64)
    used = book[: len(found)]
    indices = np.searchsorted((used[1:] + used[:-1]) / 2, np.asarray(values, dtype=np.float64))
    return book, indices.astype(np.uint8)


def palette(vectors: Float[np.ndarray, "n d"], most: int) -> tuple[Float[np.ndarray, "k d"], Int[np.ndarray, " n"]]:
    """Return at most `most` vectors and the index of the one that stands for each vector; the same ones every time.

    k-means: of more than `_DIRECT` entries, of the parts into which a k-means of few has divided the vectors.
    """
    if len(vectors) <= most:
        return vectors, np.arange(len(vectors))
    if most <= _DIRECT:
        return _lloyd(vectors, most)
    _, part = _lloyd(vectors, min(_DIRECT, most // 16))
    sizes = np.bincount(part)
    shares = np.maximum(1, np.floor(sizes * (most - len(sizes)) / len(vectors)).astype(int))
    entries, labels, first = [], np.empty(len(vectors), dtype=np.int64), 0
    order = np.split(np.argsort(part, kind="stable"), np.cumsum(sizes)[:-1])
    for members, share in zip(order, shares, strict=True):
        if not len(members):
            continue
        chosen, nearest = palette(vectors[members], int(share)) if share > 1 else _one(vectors[members])
        entries.append(chosen)
        labels[members] = first + nearest
        first += len(chosen)
    return np.concatenate(entries), labels


def _one(vectors: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "1 d"], Int[np.ndarray, " n"]]:
    return vectors.mean(axis=0, keepdims=True), np.zeros(len(vectors), dtype=np.int64)


def _lloyd(vectors: Float[np.ndarray, "n d"], count: int) -> tuple[Float[np.ndarray, "k d"], Int[np.ndarray, " n"]]:
    sample = vectors[:: max(1, len(vectors) // _SAMPLE)]
    rng = np.random.default_rng(0)
    centers = sample[np.sort(rng.permutation(len(sample))[:count])].copy()
    for step in range(_STEPS + 1):
        chosen = sample if step < _STEPS else vectors
        nearest = _nearest(chosen, centers)
        if step == _STEPS and len(sample) < len(vectors):
            break
        weights = np.bincount(nearest, minlength=len(centers))
        sums = np.stack([np.bincount(nearest, column, len(centers)) for column in chosen.T], axis=1)
        centers = np.where(weights[:, None] > 0, sums / np.maximum(weights, 1)[:, None], centers).astype(vectors.dtype)
    return centers, _nearest(vectors, centers)


def _nearest(vectors: Float[np.ndarray, "n d"], centers: Float[np.ndarray, "k d"]) -> Int[np.ndarray, " n"]:
    squares = (centers**2).sum(axis=1) / 2
    found = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), 1 << 14):  # a matrix of a few megabytes at a time
        part = slice(start, start + (1 << 14))
        found[part] = (vectors[part] @ centers.T - squares).argmax(axis=1)
    return found
