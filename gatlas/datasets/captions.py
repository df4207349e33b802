"""The atlases that captions belong to: ids of caption files matched with the keys of a set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

Captions = dict[str, tuple[str, ...]]  # by id or key


class Matched(NamedTuple):
    """Captions by the keys of the atlases, and what found no partner."""

    captions: Captions
    without: tuple[str, ...]  # keys that no id belongs to
    unmatched: tuple[str, ...]  # ids that no key belongs to
    ambiguous: tuple[str, ...]  # ids that belong to several keys alike, or share one with other ids


def match_captions(captions: Mapping[str, tuple[str, ...]], keys: Sequence[str]) -> Matched:
    """Return the captions of each atlas, those of the id with its name or with most of its path's last parts.

    "dir/id" belongs to the key "id" and the key "set/dir/id" to "dir/id"; an id's suffix (".glb") does not count. An id
    that fits two keys equally well, or a key that two ids fit equally well, is ambiguous and gets nothing.
    """
    by_base: dict[str, list[str]] = {}
    for key in keys:
        for base in _bases(key):
            by_base.setdefault(base, []).append(key)
    best_of_id: dict[str, list[str]] = {}
    fits: dict[str, list[tuple[int, str]]] = {}
    for identity in captions:
        candidates = dict.fromkeys(key for base in _bases(identity) for key in by_base.get(base, ()))
        scored = [(_closeness(identity, key), key) for key in candidates]
        top = max((score for score, _ in scored), default=0)
        best_of_id[identity] = [key for score, key in scored if score == top]
        for score, key in scored:
            fits.setdefault(key, []).append((score, identity))
    found: Captions = {}
    ambiguous, unmatched = [], []
    for identity, best in best_of_id.items():
        if not best:
            unmatched.append(identity)
            continue
        own = fits[best[0]]
        top = max(score for score, _ in own)
        rivals = [other for score, other in own if score == top]
        if identity not in rivals:
            unmatched.append(identity)  # another id fits the only key better
        elif len(best) > 1 or len(rivals) > 1:
            ambiguous.append(identity)
        else:
            found[best[0]] = captions[identity]
    without = tuple(key for key in keys if key not in found)
    return Matched(found, without, tuple(unmatched), tuple(ambiguous))


def _bases(name: str) -> tuple[str, ...]:
    """Return the last part of a path, whole and up to its first dot."""
    base = PurePosixPath(name).name
    return tuple(dict.fromkeys((base, base.partition(".")[0] or base)))


def _closeness(identity: str, key: str) -> int:
    """Return twice the number of last parts that are equal, one less where only the suffix differs."""
    left, right = PurePosixPath(identity).parts[::-1], PurePosixPath(key).parts[::-1]
    if identity == key:
        return 2 * len(left) + 1  # "a" is "a" rather than "b/a"
    equal = 2 if left[0] == right[0] else 1
    for one, other in zip(left[1:], right[1:], strict=False):
        if one != other:
            break
        equal += 2
    return equal
