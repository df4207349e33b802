"""The pixel sizes and the mode that Gaussians were fitted to, in the meta of atlases and of their statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gatlas.errors import GatlasError
from gatlas.geometry.cameras import plausible_pixels

if TYPE_CHECKING:
    from gatlas.types import Atlas


def fitted_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Origin` that a JSON record holds of a fit; values that it cannot have are a ValueError.

    Where they are no numbers at all, it is a TypeError.
    """
    fields: dict[str, Any] = {}
    for name, count in (("pixel_sizes", 2), ("ball", 4)):
        if record.get(name) is not None:
            fields[name] = tuple(float(value) for value in record[name])
            if len(fields[name]) != count:
                raise ValueError(f"{name} {record[name]}")
    ball = fields.get("ball")
    sizes = fields.get("pixel_sizes", (1.0, 1.0) if ball is None else (ball[-1], ball[-1]))
    if not plausible_pixels(sizes, ball) or record.get("antialiased") not in (None, False, True):
        raise ValueError(f"pixel_sizes {record.get('pixel_sizes')}, ball {record.get('ball')}")
    if record.get("antialiased"):
        fields["antialiased"] = True
    return fields


def fitted_meta(atlas: Atlas, name: str) -> dict[str, Any]:
    """Return what statistics keep of an atlas's fit: its "pixel_sizes" in the unit ball, and "antialiased" if it is."""
    origin = atlas.meta.get("origin")
    if not isinstance(origin, Mapping) or not {"pixel_sizes", "antialiased"} & set(origin):
        return {}
    try:
        fields = fitted_fields(origin)
        scale = float(atlas.meta.get("normalization", {"scale": 1.0})["scale"])
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale {scale}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise GatlasError(f"{name}: damaged: its meta has a broken 'origin' or 'normalization': {error}") from error
    kept: dict[str, Any] = {"antialiased": True} if "antialiased" in fields else {}
    if "pixel_sizes" in fields:
        kept["pixel_sizes"] = [size / scale for size in fields["pixel_sizes"]]
    return kept


def check_fitted(meta: Mapping[str, Any], name: str) -> None:
    """Raise a GatlasError where the meta of statistics holds another thing than `fitted_meta` gives."""
    try:
        fitted_fields(meta)
    except (TypeError, ValueError, OverflowError) as error:
        raise GatlasError(f"{name}: damaged: its meta has a broken record of the fits: {error}") from error


def joined_sizes(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return the "pixel_sizes" of a set of both: from the smallest to the largest; none where one of them has none."""
    sizes = [meta.get("pixel_sizes") for meta in (first, second)]
    if None in sizes:
        return {}
    lows, highs = zip(*sizes, strict=True)
    return {"pixel_sizes": [min(lows), max(highs)]}
