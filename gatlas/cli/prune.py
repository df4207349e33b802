"""gatlas prune"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.cli.terminal import about, check_outputs, finite, message, progress_bar
from gatlas.cli.verb import Input
from gatlas.errors import GatlasError
from gatlas.meshes.edits import stand_up
from gatlas.prune import PruneOptions, measure_pruning, prune
from gatlas.prune.pruning import takes_level

if TYPE_CHECKING:
    from gatlas.types import AnyViews, Mesh


def run(source: Input, output: str, options: PruneOptions, *, force: bool) -> dict[str, Any]:
    """Prune one splat."""
    check_outputs(output, options, noun="splat", force=force)
    gaussians = io.load_gaussians(source, up=options.up, drop_invalid=options.drop_invalid, report=message)
    name, reference = options.reference, _load_reference(options)
    bar = progress_bar("finetune", options.finetune) if options.finetune else nullcontext()
    with about(source), bar as progress:
        kept = prune(gaussians, options, reference=reference, report=message, on_step=progress)
    by_level = takes_level(gaussians, options)
    summary = f"kept {'the level of ' if by_level else ''}{len(kept):,} of {len(gaussians):,} Gaussians"
    if options.finetune or name is not None or options.report is not None:
        against = "the original splat" if name is None else name
        quality = measure_pruning(gaussians, kept, reference, resolution=options.resolution)
        summary += f", PSNR {_shown(quality, 'psnr', '.2f', ' dB')}, SSIM {_shown(quality, 'ssim', '.4f')}"
        summary += f" against {against}"
        if options.report is not None:
            chosen = {
                "score": "level" if by_level else options.score,
                "finetune": options.finetune,
                "count": len(kept),
                "against": against,
            }
            io.save_json(options.report, chosen | {key: finite(value) for key, value in quality.items()}, force=force)
    message(summary)
    io.save_gaussians(output, kept, force=force)
    return {"count": len(kept)}


def _load_reference(options: PruneOptions) -> Mesh | AnyViews | None:
    """Return the mesh, upright, or the photos to compare with; None where there are none."""
    name, up = options.reference, options.reference_up
    photos = name is not None and (io.is_folder(name) or name.endswith(".json"))
    if up is not None and (name is None or photos):
        raise GatlasError("--reference-up is the vertical axis of a mesh: give --reference MESH with it")
    if name is None:
        return None
    return io.load_views(name, side=options.resolution) if photos else stand_up(io.load_mesh(name), up or "y")


def _shown(quality: dict[str, float], name: str, form: str, unit: str = "") -> str:
    """Return a value and, where it was measured, the one before pruning."""
    after, *before = (format(quality[key], form) for key in (name, f"{name}_before") if key in quality)
    return after + unit + "".join(f" (before {value})" for value in before)
