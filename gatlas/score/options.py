"""Options of `gatlas score`, a class for each measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option


@dataclass(frozen=True)
class ConsistencyOptions(Options):
    """Score how well views of an object agree on one 3D object.

    VIEWS is a folder of pictures with a transforms.json, a folder of such folders, or a tar of them; - is a tar on
    standard input. No other weights or truth are needed. Transparency is put on white. A table goes to standard output,
    or all figures as JSON to FILE.

    field (Watson et al. 2023, 3DiM): Gaussians without view-dependent color are fitted to 90 % of the views, and PSNR
    and SSIM are measured on the others, over several splits. FID is not measured. Blank views agree with each other,
    and noise of little contrast has a high PSNR: look at SSIM and at epipolar, too.

    epipolar: SIFT keypoints of neighboring views are matched, and the residuals of the matches to the given cameras
    make a score from 0, as good as chance, to 1. A view whose matches no camera explains beyond chance, as those of
    noise, of a blank view or of another object, counts as 0, and so does a picture that is the same from several sides.
    The score depends on texture: compare sets of views of the same object, or with --reference.

    Example: gatlas score consistency views/ --reference true-views/
    """

    measure: Literal["field", "epipolar", "both"] = option("both", help="Measure; see above.")
    reference: str | None = option(
        None, metavar="VIEWS", help="True views, on which the same is measured for comparison."
    )
    splits: int = option(4, min=1, help="Fits of field, each with other held-out views.")
    count: int = option(2048, "-n", min=16, help="Gaussians of a fit of field.")
    iterations: int = option(600, min=1, help="Optimization steps of a fit of field.")
    resolution: int = option(128, min=16, help="Largest side of the pictures of field in pixels; larger are reduced.")
    seed: int = option(0, min=0, help="Random seed; the same seed gives the same bytes on the CPU.")
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", affects_result=False, help="Device for rendering Gaussians, as in fit."
    )
