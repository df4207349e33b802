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
