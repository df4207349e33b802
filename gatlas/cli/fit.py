"""gatlas fit"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from gatlas.cli.options import Force, Input, Output, Seed


class Profile(str, Enum):
    quick = "quick"
    default = "default"
    quality = "quality"


def fit(
    mesh: Input = "-",
    output: Output = "-",
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="Gaussians, exactly.")] = 16_384,
    profile: Annotated[
        Profile, typer.Option(metavar="quick|default|quality", help="A named budget; the options below override it.")
    ] = Profile.default,
    iterations: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Optimisation steps.", show_default=False)
    ] = None,
    views: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Training pictures.", show_default=False)
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(min=16, metavar="N", help="Pixels a side of the training pictures.", show_default=False),
    ] = None,
    seed: Seed = 0,
    report: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="Write held-out PSNR and SSIM, seconds and arguments.")
    ] = None,
    views_out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write the training pictures with their transforms.json.")
    ] = None,
    force: Force = False,
) -> None:
    """Fit exactly COUNT Gaussians to a mesh.

    INPUT is a GLB, glTF, OBJ or PLY mesh. The result is a splat PLY in the unit ball; its header holds the centre and
    scale that lead back to the mesh's own units.

    Example: gatlas fit obj.glb --profile quick -o obj.ply
    """
    import time
    from dataclasses import asdict, replace

    from gatlas import __version__, io
    from gatlas.cli.terminal import about, progress_bar, say
    from gatlas.fit import PROFILES, fit_mesh
    from gatlas.raster.mesh import resolve_shading

    started = time.perf_counter(), time.process_time()
    io.check_output(output, force=force, suffix=".ply", what="Gaussians")
    if report is not None:
        io.check_output(report, force=force, suffix=".json", what="a report")
    if views_out is not None:
        io.check_output(views_out, force=force, folder=True)
    overrides = {"iterations": iterations, "views": views, "resolution": resolution}
    chosen = {name: value for name, value in overrides.items() if value is not None}
    options = replace(PROFILES[profile.value], count=count, seed=seed, **chosen)

    loaded = io.load_mesh(mesh)
    if resolve_shading(loaded) == "headlight":
        say("the mesh has no textures and no colours to tell apart: shading it with a head light")
    with about(mesh), progress_bar("fit", options.iterations) as progress:
        result = fit_mesh(loaded, options, progress=progress)
    seconds = time.perf_counter() - started[0]
    say(
        f"{len(result.gaussians):,} Gaussians, held-out PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.4f}, "
        f"{seconds:.1f} s"
    )
    if views_out is not None:
        io.save_views(views_out, result.views, force=force)
    if report is not None:
        io.save_json(
            report,
            {
                "source": loaded.origin.name,
                "count": len(result.gaussians),
                "held_out": {"views": options.held_out, "psnr": result.psnr, "ssim": result.ssim},
                "seconds": seconds,
                "cpu_seconds": time.process_time() - started[1],
                "seed": seed,
                "version": __version__,
                "arguments": {"input": mesh, "output": output, "profile": profile.value, **asdict(options)},
            },
            force=force,
        )
    io.save_gaussians(output, result.gaussians, force=force)
