"""gatlas fit"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from gatlas.cli.many import Output, many
from gatlas.cli.options import (
    Device,
    DeviceOption,
    Force,
    IgnoreVertexColors,
    Input,
    Seed,
    Shading,
    ShadingOption,
    Supersample,
    Threads,
    Up,
    UpOption,
)


def _weight(help_text: str) -> Any:
    return typer.Option(min=0, metavar="X", help=help_text, show_default=False)


class Model(str, Enum):
    direct = "direct"
    scaffold = "scaffold"


class Profile(str, Enum):
    quick = "quick"
    default = "default"
    quality = "quality"


@many(".ply", accepts=(".glb", ".gltf", ".obj", ".ply"), photos=True)
def fit(
    mesh: Input = "-",
    output: Output = "-",
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="Gaussians, exactly.")] = 16_384,
    profile: Annotated[
        Profile,
        typer.Option(metavar="quick|default|quality", help="A budget; the options below override it. See above."),
    ] = Profile.default,
    iterations: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Optimisation steps; default the profile's.", show_default=False),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000, metavar="N", help="Training pictures; default the profile's.", show_default=False
        ),
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            min=16,
            metavar="N",
            help="Pixels a side of the training pictures; default the profile's.",
            show_default=False,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="surface|points|hull|random|FILE.ply",
            help="Where the fit begins; a mesh at its surface, photos at their points, hull or random places.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Model,
        typer.Option(
            metavar="direct|scaffold",
            help="The Gaussians themselves, or the paper's anchors with offsets and networks, baked in the end.",
        ),
    ] = Model.direct,
    lpips_weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="VGG16 or AlexNet in torchvision's format, for LPIPS.", show_default=False),
    ] = None,
    lambda_rgb: Annotated[float | None, _weight("Weight of L1 in the loss; default 0.8.")] = None,
    lambda_ssim: Annotated[float | None, _weight("Weight of 1 - SSIM; default 0.2.")] = None,
    lambda_lpips: Annotated[float | None, _weight("Weight of LPIPS; default 0.1 where its weights are found.")] = None,
    lambda_reg: Annotated[
        float | None, _weight("Weight of the mean product of the scales; default 0, of scaffold 0.01.")
    ] = None,
    shading: ShadingOption = Shading.auto,
    up: UpOption = Up.plus_y,
    ignore_vertex_colors: IgnoreVertexColors = False,
    supersample: Supersample = 4,
    denormalize: Annotated[
        bool, typer.Option("--denormalize", help="Write the object in its own units and not in the unit ball.")
    ] = False,
    seed: Seed = 0,
    report: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="Write held-out PSNR and SSIM, seconds, arguments.")
    ] = None,
    views_out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write the training pictures with their transforms.json.")
    ] = None,
    preview: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="A picture that is refreshed as the fit goes.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.npz",
            help="Save the fit here when a signal or --time-limit stops it (exit status 75), and go on from there.",
        ),
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Stop and save after this long; needs --resume.")
    ] = None,
    device: DeviceOption = Device.auto,
    threads: Threads = None,
    force: Force = False,
) -> dict[str, Any]:
    """Fit exactly COUNT Gaussians to a mesh or to photos with known cameras.

    INPUT is a GLB, glTF, OBJ or PLY mesh, or a folder of photos with a transforms.json or a COLMAP model. The result is
    a splat PLY in the unit ball; its header holds the centre and scale that lead back to the object's own units.

    A mesh is photographed from all sides; photos are reduced to --resolution on the longer side, and --views is not for
    them. Held-out pictures are never trained on: PSNR and SSIM are measured on those, which are 20 of a mesh and every
    eighth of photos. Photos whose cameras are not known go through COLMAP first, whose model is looked for in sparse/0,
    sparse, the folder itself and colmap/sparse.

    --profile quick is 200 steps on 48 pictures of 256 x 256, default 1,000 on 64 of 512 x 512, quality 4,000 on 96.

    --model scaffold ends at or under COUNT (at most 36,864), as the paper's fits do. The loss is lambda-rgb L1 +
    lambda-ssim (1 - SSIM) + lambda-lpips LPIPS + lambda-reg times the mean product of the scales. LPIPS is on where its
    weights are found: in --lpips-weights, or where torchvision keeps its VGG16 (~/.cache/torch/hub/checkpoints).

    The units of what is written, splat and --views-out, are those of the unit ball; --denormalize is for the splat.

    --device auto is CUDA where there is a GPU on which gsplat runs, else the CPU.

    Example: gatlas fit obj.glb --profile quick -o obj.ply
    """
    import time
    from dataclasses import asdict, replace

    from gatlas import __version__, io
    from gatlas.cli.fit_work import lpips_network, mesh_work, photos_work, run
    from gatlas.cli.terminal import finite, refuse_shared_names, say
    from gatlas.errors import GatlasError
    from gatlas.fit import PROFILES
    from gatlas.fit.losses import DIRECT_WEIGHTS, SCAFFOLD_WEIGHTS
    from gatlas.geometry.frames import denormalized
    from gatlas.raster.devices import choose_device
    from gatlas.raster.threads import set_num_threads

    set_num_threads(threads)
    started = time.perf_counter(), time.process_time()
    io.check_output(output, force=force, suffix=".ply", what="Gaussians")
    if report is not None:
        io.check_output(report, force=force, suffix=".json", what="a report")
    if views_out is not None:
        io.check_output(views_out, force=force, folder=True)
    if preview is not None:
        io.check_output(preview, force=True, suffix=".png", what="a picture")
    if resume is not None:
        io.check_output(resume, force=True, suffix=".npz", what="a checkpoint")
    refuse_shared_names(output, report, views_out, preview, resume)
    if time_limit is not None and resume is None:
        raise GatlasError("--time-limit needs --resume FILE.npz, where the fit is saved when the time is over")
    overrides = {"iterations": iterations, "views": views, "resolution": resolution}
    chosen = {name: value for name, value in overrides.items() if value is not None}
    options = replace(
        PROFILES[profile.value], count=count, seed=seed, supersample=supersample, shading=shading.value, **chosen
    )

    lambdas = {"rgb": lambda_rgb, "ssim": lambda_ssim, "lpips": lambda_lpips, "scales": lambda_reg}
    weights = replace(
        DIRECT_WEIGHTS if model is Model.direct else SCAFFOLD_WEIGHTS,
        **{name: value for name, value in lambdas.items() if value is not None},
    )
    photos = isinstance(mesh, str) and (io.is_folder(mesh) or mesh.endswith(".json"))
    if model is Model.scaffold:
        refused = {"--init": None if photos else init, "--resume": resume, "--preview": preview}
        for name, given in refused.items():
            if given:
                raise GatlasError(f"--model scaffold does not go with {name}: use --model direct")
    if photos and isinstance(mesh, str):
        work, source, fingerprint = photos_work(mesh, init, options, scaffold=model is Model.scaffold)
    else:
        work, source, fingerprint = mesh_work(
            mesh,
            init,
            options,
            scaffold=model is Model.scaffold,
            up=up.value,
            ignore_vertex_colors=ignore_vertex_colors,
        )
    lpips, lpips_name = lpips_network(lpips_weights, weights)
    belongs_to = {
        "version": __version__,
        "input": fingerprint,
        "options": asdict(options),
        "init": init,
        "loss": {**asdict(weights), "lpips_network": lpips_name},
    }
    running: dict[str, Any] = {"weights": weights, "lpips": lpips}
    if model is Model.direct:
        running["device"] = choose_device(device.value)
    result = run(
        work, source, belongs_to, options.iterations, running, preview=preview, resume=resume, time_limit=time_limit
    )
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
                "source": result.gaussians.origin.name,
                "count": len(result.gaussians),
                "held_out": {"psnr": finite(result.psnr), "ssim": result.ssim},
                "seconds": seconds,
                "cpu_seconds": time.process_time() - started[1],
                "seed": seed,
                "version": __version__,
                "lpips": lpips_name,
                "arguments": {
                    "input": mesh if isinstance(mesh, str) else mesh.name,
                    "model": model.value,
                    "profile": profile.value,
                    "init": init,
                    **asdict(options),
                    "lambda": asdict(weights),
                },
            },
            force=force,
        )
    io.save_gaussians(output, denormalized(result.gaussians) if denormalize else result.gaussians, force=force)
    if resume is not None:
        io.remove_checkpoint(resume)
    return {"count": len(result.gaussians), "psnr": finite(result.psnr), "ssim": result.ssim}
