"""gatlas prune"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from gatlas.cli.many import Output, many
from gatlas.cli.options import Device, DeviceOption, Force, Input, Seed, Threads


class Score(str, Enum):
    visibility_sum = "visibility-sum"
    visibility_max = "visibility-max"
    sampled = "sampled"
    opacity = "opacity"
    volume = "volume"


@many(".ply", accepts=(".ply", ".splat", ".spz"))
def prune(
    splat: Input = "-",
    output: Output = "-",
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="Gaussians to keep.")] = 16_384,
    score: Annotated[
        Score,
        typer.Option(metavar="visibility-sum|visibility-max|sampled|opacity|volume", help="What is kept: see above."),
    ] = Score.sampled,
    min_opacity: Annotated[
        float, typer.Option(min=0, max=1, metavar="ALPHA", help="Drop what is fainter first.")
    ] = 0.0,
    finetune: Annotated[
        int, typer.Option(min=0, metavar="N", help="Optimisation steps that let the rest make up for the loss.")
    ] = 0,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="MESH|DIR",
            help="Mesh or photos to measure and finetune against; else the splat as it was.",
            show_default=False,
        ),
    ] = None,
    views: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="Random cameras that judge.")] = 64,
    resolution: Annotated[int, typer.Option(min=16, metavar="N", help="Pixels a side of their pictures.")] = 256,
    seed: Seed = 0,
    report: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="Write PSNR and SSIM, before and after.", show_default=False)
    ] = None,
    device: DeviceOption = Device.auto,
    threads: Threads = None,
    force: Force = False,
) -> dict[str, Any]:
    """Keep COUNT Gaussians, those that matter most to what is seen.

    The scores visibility-sum and visibility-max are the transmittance x alpha of a Gaussian over random cameras around
    the object: summed over all pixels, or the largest in any. sampled draws at random in proportion to the sum, which
    keeps thin and faint parts covered. opacity and volume look at the Gaussians alone.
    A splat that has no more than COUNT Gaussians keeps them all.

    The scores are computed on the CPU; --device is for --finetune, and auto is CUDA where gsplat runs on a GPU.

    Example: gatlas prune bunny.ply -n 16384 -o small.ply
    """
    import numpy as np

    from gatlas import io
    from gatlas.cli.terminal import about, progress_bar, refuse_shared_names, say
    from gatlas.prune import drop_faint, keep_highest, rank
    from gatlas.raster.threads import set_num_threads

    set_num_threads(threads)
    io.check_output(output, force=force, suffix=".ply", what="Gaussians")
    if report is not None:
        io.check_output(report, force=force, suffix=".json", what="a report")
    refuse_shared_names(output, report)
    gaussians = io.load_gaussians(splat)
    if reference is None:
        truth: Any = gaussians
    elif io.is_folder(reference) or reference.endswith(".json"):
        truth = io.load_views(reference, side=resolution)
    else:
        truth = io.load_mesh(reference)
    rng = np.random.default_rng(seed)
    with about(splat):
        kept = drop_faint(gaussians, min_opacity) if min_opacity > 0 else gaussians
    if count < len(kept):
        kept = keep_highest(kept, rank(kept, score.value, rng, views=views, resolution=resolution), count)
    if finetune:
        if kept.sh.shape[1] > 1:
            say("finetuning keeps no view-dependent colour")
        from gatlas.fit.finetune import finetune as run_finetune
        from gatlas.raster.devices import choose_device

        with progress_bar("finetune", finetune) as progress:
            kept = run_finetune(
                kept,
                truth,
                finetune,
                rng,
                views=views,
                resolution=resolution,
                device=choose_device(device.value),
                progress=progress,
            )
    told = f"kept {len(kept):,} of {len(gaussians):,} Gaussians"
    if finetune or reference is not None or report is not None:
        against = "the splat as it was" if reference is None else reference
        cost = _cost(gaussians, kept, truth, resolution)
        told += f", PSNR {_shown(cost, 'psnr', '.2f', ' dB')}, SSIM {_shown(cost, 'ssim', '.4f')} against {against}"
        if report is not None:
            chosen = {"score": score.value, "finetune": finetune, "count": len(kept), "against": against}
            io.save_json(report, chosen | cost, force=force)
    say(told)
    io.save_gaussians(output, kept, force=force)
    return {"count": len(kept)}


def _cost(before: Any, after: Any, truth: Any, resolution: int) -> dict[str, Any]:
    """PSNR and SSIM after pruning, and before it where the truth is not the splat itself."""
    from gatlas.cli.terminal import finite
    from gatlas.fit.finetune import picture_quality

    psnr, ssim = picture_quality(after, truth, resolution=resolution)
    result = {"psnr": finite(psnr), "ssim": ssim}
    if truth is not before:
        psnr, ssim = picture_quality(before, truth, resolution=resolution)
        result |= {"psnr_before": finite(psnr), "ssim_before": ssim}
    return result


def _shown(cost: dict[str, Any], name: str, form: str, unit: str = "") -> str:
    """A value, and what it was before where that was measured. Equal pictures have no PSNR in a report: it is inf."""
    values = [cost[key] for key in (name, f"{name}_before") if key in cost]
    after, *before = (format(float("inf") if value is None else value, form) for value in values)
    return after + unit + "".join(f" (before {value})" for value in before)
