"""Pruning a splat to a number of Gaussians."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from gatlas.config import Report, ignore
from gatlas.geometry.sh import degree_of
from gatlas.prune.options import PruneOptions
from gatlas.prune.ranking import drop_faint, keep_highest, rank
from gatlas.raster.flat_color import view_dependent

if TYPE_CHECKING:
    from gatlas.types import AnyViews, Gaussians, Mesh


def prune(
    gaussians: Gaussians,
    options: PruneOptions,
    *,
    reference: Mesh | AnyViews | None = None,
    report: Report = ignore,
    on_step: Callable[[int, float], None] | None = None,
) -> Gaussians:
    """Return the `options.count` Gaussians of highest score, in their order, finetuned where asked for (numpy).

    Where the Gaussians have a level of detail of that many, that level, as it is, unless the options choose another way
    to rank or drop some first.

    `reference` is what the finetuning compares with; None: the Gaussians themselves. `options.reference` and
    `options.report` name files and are not read here. `on_step` is called with (steps done, PSNR in dB or NaN). That no
    Gaussian reaches `options.min_opacity` is a GatlasError.
    """
    rng = np.random.default_rng(options.seed)
    kept = drop_faint(gaussians, options.min_opacity) if options.min_opacity > 0 else gaussians
    if takes_level(gaussians, options):
        kept = gaussians.level(options.count)
    elif options.count < len(kept):
        scores = rank(kept, options.score, rng, views=options.views, resolution=options.resolution)
        kept = keep_highest(kept, scores, options.count)
    if not options.finetune:
        return kept
    if view_dependent(kept).any():
        report(f"finetuning keeps the spherical harmonics of degree {degree_of(kept.sh.shape[1])}")
    from gatlas.fit.finetune import finetune
    from gatlas.raster.devices import choose_device

    return finetune(
        kept,
        gaussians if reference is None else reference,
        options.finetune,
        rng,
        views=options.views,
        resolution=options.resolution,
        device=choose_device(options.device),
        on_step=on_step,
    )


def takes_level(gaussians: Gaussians, options: PruneOptions) -> bool:
    """Return True where pruning takes the first Gaussians: a fit made them to stand for the whole object."""
    as_fitted = options.score == PruneOptions.score and options.min_opacity == 0
    return as_fitted and options.count < len(gaussians) and options.count in gaussians.origin.levels


def measure_pruning(
    before: Gaussians, after: Gaussians, reference: Mesh | AnyViews | None, *, resolution: int = 256
) -> dict[str, float]:
    """Return the "psnr" (dB, inf for equal pictures) and "ssim" of the pruned Gaussians against the reference.

    With a reference other than the Gaussians themselves, "psnr_before" and "ssim_before" are those of the Gaussians
    before pruning.
    """
    from gatlas.fit.quality import picture_quality

    psnr, ssim = picture_quality(after, before if reference is None else reference, resolution=resolution)
    result = {"psnr": psnr, "ssim": ssim}
    if reference is not None:
        result["psnr_before"], result["ssim_before"] = picture_quality(before, reference, resolution=resolution)
    return result
