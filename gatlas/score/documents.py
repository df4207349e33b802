"""Documents of scores: the figures of objects with all that they depend on, and their summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gatlas import __version__
from gatlas.config import Options, option_fields
from gatlas.errors import GatlasError
from gatlas.score.figures import FIGURES
from gatlas.score.poses import pooled_areas

HEADER = ("version", "score", "options", "cameras", "weights")


def make_document(
    score: str,
    options: Options,
    objects: Sequence[Mapping[str, Any]],
    *,
    pooled: Mapping[str, Any] | None = None,
    **more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the JSON-able document of objects, each with its "name" and its figures: null is not measured.

    `more` are "cameras" and "weights", where the figures depend on some; `pooled` are figures of all objects together.
    """
    fields = option_fields(type(options))
    chosen = {name: value for name, value in options.to_json().items() if fields[name].info.output is None}
    header = {"version": __version__, "score": score, "options": chosen, **more}
    return {**header, **_body(score, objects, pooled)}


def merge_documents(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one document of the objects of documents (by name of their file), as one call would have written it.

    They are in the order of their names. Documents of other options, versions or weights and an object that is in two
    of them are a GatlasError.
    """
    (first, head), *others = documents.items()
    if others and head["score"] == "distribution":
        raise GatlasError(f"{first}: scores of whole sets of objects are not merged: score the whole set in one call")
    for name, document in others:
        for part in HEADER:
            if document.get(part) != head.get(part):
                raise GatlasError(
                    f"{name}: its {part} {'are' if part.endswith('s') else 'is'} not as in {first}: scores that were "
                    "made in another way are not merged"
                )
    found: dict[str, tuple[str, Any]] = {}
    for name, document in documents.items():
        for each in document["objects"]:
            other, _ = found.setdefault(each["name"], (name, each))
            if other != name:
                raise GatlasError(f"{name}: has {each['name']}, which is in {other} too")
    objects = [found[name][1] for name in sorted(found)]
    kept = {part: head[part] for part in HEADER if part in head}
    return {**kept, **_body(head["score"], objects)}


def _body(score: str, objects: Sequence[Mapping[str, Any]], pooled: Mapping[str, Any] | None = None) -> dict[str, Any]:
    pooled = pooled_areas(objects) if score == "poses" else pooled
    return {"summary": summarize(score, objects), **({"set": dict(pooled)} if pooled else {}), "objects": list(objects)}


def summarize(score: str, objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean, median, and the worst with its name, of each figure over the objects that have it; else null."""
    summary: dict[str, Any] = {}
    for figure in FIGURES[score]:
        held = [(each[figure.key], each["name"]) for each in objects if each.get(figure.key) is not None]
        if not held or not figure.form:  # a name has no mean
            summary[figure.key] = None
            continue
        values = [value for value, _ in held]
        found: dict[str, Any] = {
            "objects": len(held),
            "mean": float(np.mean(values)),
            "median": float(np.median(values)),
        }
        if figure.better is not None:
            value, name = (max if figure.better == "low" else min)(held, key=lambda pair: pair[0])
            found["worst"] = {"name": name, "value": value}
        summary[figure.key] = found
    return summary


def figures_of(document: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the values of each measured figure over the objects, by its heading, for a plot."""
    found = {}
    for figure in FIGURES[document["score"]]:
        values = [each[figure.key] for each in document["objects"] if each.get(figure.key) is not None]
        if values and figure.form:
            found[figure.heading] = values
    return found


def checked_document(held: Any, name: str) -> dict[str, Any]:
    """Return what was read from a file of scores, with its summary; what is no such document is a GatlasError."""
    objects = held.get("objects") if isinstance(held, dict) else None
    if not isinstance(objects, list) or not isinstance(held.get("score"), str):
        raise GatlasError(f"{name}: not the scores that gatlas score writes with --json")
    score = held["score"]
    if score not in FIGURES:
        raise GatlasError(f"{name}: scores of {score!r:.80}, which this gatlas does not know: upgrade it")
    for each in objects:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise GatlasError(f"{name}: damaged: an object has no name")
        _check_figures(score, each, f"{name}: damaged: {each['name']!r:.80}")
        if score == "poses" and not _has_photos(each):
            raise GatlasError(f"{name}: damaged: {each['name']!r:.80} has no errors of photos")
    pooled = held.get("set", {})
    if not isinstance(pooled, dict):
        raise GatlasError(f"{name}: damaged: its 'set' is no table of figures")
    _check_figures(score, pooled, f"{name}: damaged: 'set'")
    return {**held, "summary": summarize(score, objects)}


def _check_figures(score: str, row: Mapping[str, Any], where: str) -> None:
    for figure in FIGURES[score]:
        value = row.get(figure.key)
        kinds: tuple[type, ...] = (int, float) if figure.form else (str,)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise GatlasError(f"{where} has the {figure.key} {value!r:.80}")


def _has_photos(each: Mapping[str, Any]) -> bool:
    photos = each.get("photos")
    return isinstance(photos, list) and all(
        isinstance(photo, dict)
        and all(photo.get(key) is None or isinstance(photo[key], (int, float)) for key in ("rotation", "position"))
        for photo in photos
    )
