"""Options of `gatlas prune`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option


@dataclass(frozen=True)
class PruneOptions(Options):
    """Keep COUNT Gaussians, those that matter most to what is seen.

    The scores visibility-sum and visibility-max are the transmittance x alpha of a Gaussian over random cameras around
    the object: summed over all pixels, or the largest in any. sampled draws at random in proportion to the sum, which
    keeps thin and faint parts covered. opacity and volume look at the Gaussians alone.
    A splat that has no more than COUNT Gaussians keeps them all.

    The scores are computed on the CPU; --device is for --finetune, and auto is CUDA where gsplat runs on a GPU.

    Example: gatlas prune bunny.ply -n 16384 -o small.ply
    """

    count: int = option(16_384, "-n", min=1, help="Gaussians to keep.")
    score: Literal["visibility-sum", "visibility-max", "sampled", "opacity", "volume"] = option(
        "sampled", help="What is kept: see above."
    )
    min_opacity: float = option(0.0, min=0, max=1, metavar="ALPHA", help="Drop what is fainter first.")
    finetune: int = option(0, min=0, help="Optimisation steps that let the rest make up for the loss.")
    reference: str | None = option(
        None, metavar="MESH|DIR", help="Mesh or photos to measure and finetune against; else the splat as it was."
    )
    views: int = option(64, min=1, max=100_000, help="Random cameras that judge.")
    resolution: int = option(256, min=16, help="Pixels a side of their pictures.")
    seed: int = option(0, min=0, help="Seed of everything random; the same seed gives the same bytes.")
    report: str | None = option(
        None, metavar="FILE.json", output=".json", help="Write PSNR and SSIM, before and after."
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", affects_result=False, help="Where Gaussians are rendered; see above."
    )
