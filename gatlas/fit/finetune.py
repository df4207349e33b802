"""A few more steps for Gaussians that lost some of their number."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.fit.optimize import optimize
from gatlas.fit.photos import held_out_indices
from gatlas.fit.quality import in_one_frame, reference_views
from gatlas.geometry.cameras import fibonacci_views
from gatlas.geometry.frames import scaled
from gatlas.raster.flat_color import view_dependent
from gatlas.types import MixedViews, Views

if TYPE_CHECKING:
    from gatlas.fit.optimize import OnStep
    from gatlas.types import AnyViews, Gaussians, Mesh

RATE = 0.3  # of a fit's learning rates: what is near its place already should not be thrown about


def finetune(
    gaussians: Gaussians,
    reference: Gaussians | Mesh | AnyViews,
    iterations: int,
    rng: np.random.Generator,
    *,
    views: int = 64,
    resolution: int = 256,
    device: str = "cpu",
    on_step: OnStep | None = None,
) -> Gaussians:
    """The same number of Gaussians after `iterations` steps towards pictures of the reference (numpy).

    View-dependent color stays and is optimized; the degree is 0 where there is none. The reference is the mesh or the
    photos (in their own units) that they were fitted to, or the Gaussians before some were taken. Of photos those that
    a fit holds out are left out here as well, and `views` and `resolution` are not for them.
    """
    unit, judged, center, scale = in_one_frame(gaussians, reference)
    if isinstance(judged, Views | MixedViews):
        pictures = judged[np.setdiff1d(np.arange(len(judged)), held_out_indices(len(judged)))]
    else:
        pictures = reference_views(judged, fibonacci_views(views, resolution, resolution))
    start = unit if view_dependent(unit).any() else replace(unit, sh=unit.sh[:, :1])
    tuned = optimize(start, pictures, iterations, rng, rate=RATE, device=device, on_step=on_step)
    # The steps are towards all of them together: their levels of detail are none any more.
    return replace(scaled(tuned, center, scale), origin=replace(gaussians.origin, levels=(), growth=0.0))
