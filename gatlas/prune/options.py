"""Options of `gatlas prune`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import ABSENT, Options, option
from gatlas.io.splats.options import drop_invalid_option, up_option


@dataclass(frozen=True)
class PruneOptions(Options):
    """Keep the COUNT Gaussians that contribute most to the rendered pictures.

    The scores visibility-sum and visibility-max are the transmittance x alpha of a Gaussian over random cameras around
    the object: summed over all pixels, or the largest in any. sampled draws at random in proportion to the sum, which
    keeps thin and faint parts covered. opacity and volume need no cameras.
    A splat of COUNT Gaussians or fewer keeps them all. If the splat was fitted with --lod and COUNT is one of its
    levels, that level is taken as it is: its first COUNT Gaussians. --min-opacity or a --score other than sampled rank.

    Scores are computed on the CPU; --device applies to --finetune, and auto uses CUDA if gsplat runs on a GPU.

    Example: gatlas prune bunny.ply -n 16384 -o small.ply
    """

    count: int = option(16_384, "-n", min=1, help="Number of Gaussians to keep.")
    score: Literal["visibility-sum", "visibility-max", "sampled", "opacity", "volume"] = option(
        "sampled", help="Ranking of the Gaussians; see above."
    )
    min_opacity: float = option(0.0, min=0, max=1, metavar="ALPHA", help="First drop Gaussians of lower opacity.")
    finetune: int = option(0, min=0, help="Finetuning steps after pruning.")
    reference: str | None = option(
        None, metavar="MESH|DIR", help="Mesh or photos to measure and finetune against; default the original splat."
    )
    reference_up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = option(
        None,
        metavar="AXIS",
        recorded=ABSENT,
        help="Vertical axis of the --reference mesh, as it was given to fit --up; default y.",
    )
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = up_option()
    drop_invalid: bool = drop_invalid_option()
    views: int = option(64, min=1, max=100_000, help="Random cameras for the visibility scores.")
    resolution: int = option(256, min=16, help="Width and height of their pictures in pixels.")
    seed: int = option(0, min=0, help="Random seed; the same seed gives the same bytes on the CPU.")
    report: str | None = option(
        None, metavar="FILE.json", output=".json", help="Write PSNR and SSIM before and after, as JSON."
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", affects_result=False, help="Device for rendering Gaussians; see above."
    )
