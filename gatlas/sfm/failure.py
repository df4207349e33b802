"""Reasons why photos have no cameras, and what helps, in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gatlas.io.photos.colmap_library import load_pycolmap, opened_database

FEW_FEATURES = 200  # in the median photo
FLAT = 0.5  # of the pairs that match: so many show a plane only, or were taken from one place
NEARLY_ALL = 0.8  # of them: what is found of these is doubtful, too
ADVICE = "what helps is a sharp photo every 10 degrees around a subject that stands still"


def doubt(database: Path) -> str | None:
    """Return why cameras that were found may be wrong, and what helps, by the matches; None where they are sound.

    Without known lenses a camera that only turns, and a flat surface, can be explained by other cameras as well.
    """
    flat, matched = flat_pairs(database)
    return _flat(flat, matched) if flat > NEARLY_ALL * matched else None


def flat_pairs(database: Path) -> tuple[int, int]:
    """Return the number of pairs that show a plane only or were taken from one place, and that of all that match."""
    kind = load_pycolmap().TwoViewGeometryConfiguration
    with opened_database(database) as held:
        _, geometries = held.read_two_view_geometries()
    kinds = [each.config for each in geometries if len(each.inlier_matches)]
    return sum(each in (kind.PLANAR, kind.PANORAMIC, kind.PLANAR_OR_PANORAMIC) for each in kinds), len(kinds)


def _flat(flat: int, matched: int) -> str:
    return (
        f"{flat} of {matched} pairs that match show a flat surface, or the camera only turned: walk around the "
        "subject, with things at several distances in the picture; --fov DEGREES helps, too"
    )


def why_not(database: Path, count: int) -> str:
    """Return why few of `count` photos have cameras, by their features and matches, and what helps."""
    pycolmap = load_pycolmap()
    with opened_database(database) as held:
        features = np.array([held.num_keypoints_for_image(number) for number in range(1, count + 1)])
        pairs, geometries = held.read_two_view_geometries()
    linked = {number for pair, each in zip(pairs, geometries, strict=True) if len(each.inlier_matches)
              for number in pycolmap.pair_id_to_image_pair(pair)}  # fmt: skip
    flat, matched = flat_pairs(database)
    if count < 3:
        return "three photos of it or more are needed"
    if np.median(features) < FEW_FEATURES:
        return (
            f"the photos show little that can be recognized ({np.median(features):.0f} features in the median photo): "
            "they are blurred, or plain; take them sharp, with a textured surface around the subject"
        )
    if len(linked) < 3:
        return f"{len(linked) or 'none'} of them show the same things: they have to overlap; {ADVICE}"
    if flat > FLAT * matched:
        return _flat(flat, matched)
    return f"{len(linked)} of them match others, by too little or in parts that are not connected; {ADVICE}"
