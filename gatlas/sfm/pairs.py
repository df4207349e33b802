"""Pairs of photos that are compared: all of few, of many those that are near in order or look alike."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

ALL_UP_TO = 100  # photos, of which all pairs are compared
OVERLAP = 10  # photos after each one, and then those at distances that double
ALIKE = 20  # photos that look most like each one
WORDS = 64  # of the vocabulary
SAMPLED = 20_000  # descriptors, of all photos together, that the vocabulary is made of

Descriptors = Sequence["UInt8[np.ndarray, 'n 128']"]


def all_pairs(count: int) -> list[tuple[int, int]]:
    """Return all pairs of so many photos."""
    return list(combinations(range(count), 2))


def pairs_in_order(count: int) -> list[tuple[int, int]]:
    """Return pairs of photos that were taken one after another, at distances 1 to OVERLAP, and 16, 32, 64 …"""
    far = [1 << power for power in range(4, count.bit_length())]
    return [(i, i + step) for step in (*range(1, OVERLAP + 1), *far) for i in range(count - step)]


def pairs_alike(descriptors: Descriptors, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return each photo with the ALIKE ones most like it, by their residuals to a vocabulary of its features.

    Jégou et al. 2010, Aggregating local descriptors into a compact image representation (VLAD).
    """
    vectors = _vlad(descriptors, rng)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, : min(ALIKE, len(vectors) - 1)]
    return sorted({(min(i, int(j)), max(i, int(j))) for i, row in enumerate(nearest) for j in row})


def _vlad(descriptors: Descriptors, rng: np.random.Generator) -> Float[np.ndarray, "c d"]:
    """Return a unit vector per photo; zeros of one without features."""
    from scipy.cluster.vq import kmeans2, vq

    every = np.concatenate([_rooted(each) for each in descriptors])
    if not len(every):
        return np.zeros((len(descriptors), 1))
    sample = every[rng.permutation(len(every))[:SAMPLED]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of words that nothing is near to
        words, _ = kmeans2(sample, min(WORDS, len(sample)), iter=10, minit="points", rng=rng)
    vectors = np.zeros((len(descriptors), *words.shape))
    for vector, each in zip(vectors, descriptors, strict=True):
        if len(each):
            rooted = _rooted(each)
            nearest, _ = vq(rooted, words)
            np.add.at(vector, nearest, rooted - words[nearest])
    lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
    flat = (vectors / np.maximum(lengths, 1e-9)).reshape(len(vectors), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def _rooted(descriptors: UInt8[np.ndarray, "n 128"]) -> Float[np.ndarray, "n 128"]:
    return descriptors.astype(np.float32) / 512.0  # COLMAP's descriptors are square roots already
