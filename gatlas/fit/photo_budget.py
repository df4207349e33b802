"""The number of Gaussians that photos can fill, where none is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.config import Report, ignore
from gatlas.fit.options import MESH_COUNT
from gatlas.types import Views

if TYPE_CHECKING:
    from gatlas.fit.options import FitOptions
    from gatlas.types import AnyViews

OPAQUE = 0.999  # mean alpha above which photos have no silhouettes
PIXELS = 100  # of the photos, for each Gaussian of a scene
LARGEST = 65_536  # what 1,200 steps still fit well
STEP = 1024


def with_count(options: FitOptions, views: AnyViews, report: Report = ignore) -> FitOptions:
    """Return the options with a number of Gaussians: the given one, or one by what the photos show, which is reported.

    Photos with transparency show an object, which gets as many as a mesh. Opaque ones show all that is around it as
    well: a Gaussian for every PIXELS pixels of all of them together, as reduced to the fit's resolution.
    """
    if options.count is not None:
        return options
    fixed = options.lod is not None or options.model == "scaffold"  # levels end with the number
    if fixed or not is_opaque(views):
        return replace(options, count=MESH_COUNT)
    shrink = [min(1.0, options.budget.resolution / max(size)) for size in views.cameras.sizes]
    pixels = sum(w * h * s * s for (w, h), s in zip(views.cameras.sizes, shrink, strict=True))
    count = int(np.clip(round(pixels / PIXELS / STEP) * STEP, MESH_COUNT, LARGEST))
    report(f"{count:,} Gaussians for {len(views)} photos without transparency; -n sets another number")
    return replace(options, count=count)


def is_opaque(views: AnyViews) -> bool:
    """Return True for photos that show something in every pixel."""
    if views.channels == 3:
        return True
    if isinstance(views, Views):
        return float(views.images[..., 3].mean()) > OPAQUE
    return float(np.concatenate([image[..., 3].ravel() for image in views.images]).mean()) > OPAQUE
