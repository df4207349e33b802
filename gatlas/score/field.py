"""3D consistency by a field: Gaussians fitted to some views, compared with the others (Watson et al. 2023, 3DiM)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatlas.images.resize import resize_views
from gatlas.images.white_background import cut_views_from_white

if TYPE_CHECKING:
    from jaxtyping import Int

    from gatlas.score.options import ConsistencyOptions
    from gatlas.types import Views

HELD_OUT = 0.1  # of the views, in each split
MOST_PSNR = 100.0  # of equal pictures, as blank ones are


class FieldScore(NamedTuple):
    """Agreement of held-out views with fields of the other views."""

    psnr: float  # dB over white, mean over the held-out views
    ssim: float  # likewise; [0, 1] but for pictures that are each other's negatives
    held_out: tuple[tuple[int, ...], ...]  # the views of each split
    split_psnr: tuple[float, ...]  # of each split
    split_ssim: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the figures for a report."""
        splits = zip(self.held_out, self.split_psnr, self.split_ssim, strict=True)
        return {
            "psnr": self.psnr,
            "ssim": self.ssim,
            "fid": None,  # not measured
            "splits": [{"held_out": list(views), "psnr": psnr, "ssim": ssim} for views, psnr, ssim in splits],
        }


def score_field(views: Views, options: ConsistencyOptions, *, on_step: Callable[[], None]) -> FieldScore:
    """Return the PSNR and SSIM of held-out RGB views over white; `on_step` is called after each fit.

    Each fit begins at random places: a start on the views' silhouettes or surfaces would depend on their consistency
    itself, by a threshold. What the background is, white at the edges, is decided for each view alone.
    """
    from gatlas.fit.photos import fit_photos
    from gatlas.raster.devices import choose_device

    reduced = resize_views(views, options.resolution)
    cut = cut_views_from_white(reduced)
    settings, device = field_options(options), choose_device(options.device)
    splits = held_out_splits(len(views), options.splits, np.random.default_rng(options.seed))
    found = []
    for held_out in splits:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # views that do not agree are what is measured
            fit = fit_photos(cut, settings, init="random", held_out=held_out, device=device)
        found.append((min(fit.psnr, MOST_PSNR), fit.ssim))
        on_step()
    sizes = [len(held_out) for held_out in splits]
    psnr, ssim = (float(np.average(values, weights=sizes)) for values in zip(*found, strict=True))
    held = tuple(tuple(int(i) for i in held_out) for held_out in splits)
    return FieldScore(psnr, ssim, held, tuple(p for p, _ in found), tuple(s for _, s in found))


def field_options(options: ConsistencyOptions) -> Any:
    """Return the options of the fits."""
    from gatlas.fit.options import FitOptions

    return FitOptions(
        count=options.count,
        iterations=options.iterations,
        resolution=options.resolution,
        exposure="off",  # a gain per view would hide what differs between the views
        seed=options.seed,
    )


def held_out_splits(count: int, splits: int, rng: np.random.Generator) -> list[Int[np.ndarray, " _"]]:
    """Return the held-out views of each split: a tenth, at least one, no view twice; fewer splits of few views."""
    size = max(1, round(HELD_OUT * count))
    order = rng.permutation(count)
    return [np.sort(order[i * size : (i + 1) * size]) for i in range(min(splits, count // size))]
