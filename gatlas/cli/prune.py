"""gatlas prune"""

from __future__ import annotations

from typing import Annotated

import typer

from gatlas.cli.options import Force, Input, Output, Seed


def prune(
    splat: Input = "-",
    output: Output = "-",
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="Gaussians to keep.")] = 16_384,
    views: Annotated[int, typer.Option(min=1, metavar="N", help="Random cameras that judge.")] = 64,
    resolution: Annotated[int, typer.Option(min=16, metavar="N", help="Pixels a side of their pictures.")] = 256,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Keep the COUNT most visible Gaussians.

    The score of a Gaussian is its transmittance x alpha, summed over the pixels of random cameras around the object.
    A splat that has no more than COUNT Gaussians passes unchanged.

    Example: gatlas prune bunny.ply -n 16384 -o small.ply
    """
    import numpy as np

    from gatlas import io
    from gatlas.cli.terminal import say
    from gatlas.prune import keep_most_visible, rank_visibility

    io.check_output(output, force=force, suffix=".ply", what="Gaussians")
    gaussians = io.load_gaussians(splat)
    if count >= len(gaussians):
        say(f"{len(gaussians):,} Gaussians, none pruned")
        io.save_gaussians(output, gaussians, force=force)
        return
    scores = rank_visibility(gaussians, np.random.default_rng(seed), views=views, resolution=resolution)
    kept = keep_most_visible(gaussians, scores, count)
    share = np.sort(scores)[-count:].sum() / max(scores.sum(), 1e-30)
    say(f"kept {count:,} of {len(gaussians):,} Gaussians, {share:.2%} of the summed visibility")
    io.save_gaussians(output, kept, force=force)
