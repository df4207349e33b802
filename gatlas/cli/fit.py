"""gatlas fit"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatlas.cli.options import Device, DeviceOption, Force, Input, Output, Seed, Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatlas.fit import Fit, FitOptions


class Profile(str, Enum):
    quick = "quick"
    default = "default"
    quality = "quality"


def fit(
    mesh: Input = "-",
    output: Output = "-",
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="Gaussians, exactly.")] = 16_384,
    profile: Annotated[
        Profile,
        typer.Option(metavar="quick|default|quality", help="A named budget; the options below override it."),
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
    init: Annotated[
        str | None,
        typer.Option(
            metavar="surface|points|hull|random|FILE.ply",
            help="Where the fit begins; a mesh at its surface, photos at their points, hull or random places.",
            show_default=False,
        ),
    ] = None,
    denormalize: Annotated[
        bool, typer.Option("--denormalize", help="Write the object in its own units and not in the unit ball.")
    ] = False,
    seed: Seed = 0,
    report: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="Write held-out PSNR and SSIM, seconds and arguments.")
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
) -> None:
    """Fit exactly COUNT Gaussians to a mesh or to photos with known cameras.

    INPUT is a GLB, glTF, OBJ or PLY mesh, or a folder of photos with a transforms.json or a COLMAP model. The result is
    a splat PLY in the unit ball; its header holds the centre and scale that lead back to the object's own units.

    A mesh is photographed from all sides; photos are reduced to --resolution on the longer side, and --views is not for
    them. Held-out pictures are never trained on: PSNR and SSIM are measured on those.

    --device auto is CUDA where there is a GPU on which gsplat runs, else the CPU.

    Example: gatlas fit obj.glb --profile quick -o obj.ply
    """
    import time
    from dataclasses import asdict, replace

    from gatlas import __version__, io
    from gatlas.cli.terminal import say
    from gatlas.errors import GatlasError
    from gatlas.fit import PROFILES
    from gatlas.frames import denormalized
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
    if time_limit is not None and resume is None:
        raise GatlasError("--time-limit needs --resume FILE.npz, where the fit is saved when the time is over")
    overrides = {"iterations": iterations, "views": views, "resolution": resolution}
    chosen = {name: value for name, value in overrides.items() if value is not None}
    options = replace(PROFILES[profile.value], count=count, seed=seed, **chosen)

    work, source, fingerprint = (_photos if io.is_folder(mesh) or mesh.endswith(".json") else _mesh)(
        mesh, init, options
    )
    result = _run(
        work,
        source,
        {"input": fingerprint, "options": asdict(options), "init": init},
        options.iterations,
        device=choose_device(device.value),
        preview=preview,
        resume=resume,
        time_limit=time_limit,
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
                "held_out": {"psnr": result.psnr, "ssim": result.ssim},
                "seconds": seconds,
                "cpu_seconds": time.process_time() - started[1],
                "seed": seed,
                "version": __version__,
                "arguments": {"input": mesh, "output": output, "profile": profile.value, **asdict(options)},
            },
            force=force,
        )
    io.save_gaussians(output, denormalized(result.gaussians) if denormalize else result.gaussians, force=force)
    if resume is not None:
        io.remove_checkpoint(resume)


def _mesh(path: str, init: str | None, options: FitOptions) -> tuple[Callable[..., Fit], str, str]:
    """How to fit a mesh; its name; and what a checkpoint must share with it."""
    import hashlib
    from functools import partial

    from gatlas import io
    from gatlas.cli.terminal import say
    from gatlas.errors import GatlasError
    from gatlas.fit import fit_mesh
    from gatlas.raster.mesh import resolve_shading

    blob = io.read(path)
    mesh = io.load_mesh(blob)
    if resolve_shading(mesh) == "headlight":
        say("the mesh has no textures and no colours to tell apart: shading it with a head light")
    start = None
    if init not in (None, "surface"):
        if not str(init).endswith(".ply"):
            raise GatlasError(f"--init {init} is for photos: a mesh begins at its surface, or at a splat FILE.ply")
        start = io.load_gaussians(str(init))
    return partial(fit_mesh, mesh, options, start=start), blob.name, hashlib.sha256(blob.data).hexdigest()


def _photos(path: str, init: str | None, options: FitOptions) -> tuple[Callable[..., Fit], str, str]:
    """How to fit photos; their name; and what a checkpoint must share with them."""
    import hashlib
    from functools import partial

    from gatlas import io
    from gatlas.errors import GatlasError
    from gatlas.fit.photos import fit_photos

    if init == "surface":
        raise GatlasError("--init surface is for meshes: photos begin at their points, their hull or random places")
    views = io.load_views(path, side=options.resolution)
    begin = io.load_gaussians(str(init)) if str(init).endswith(".ply") else init or "auto"
    digest = hashlib.sha256(views.images.tobytes() + views.cameras.viewmats.tobytes()).hexdigest()
    return partial(fit_photos, views, options, points=io.load_points(path), init=begin), path, digest


def _run(
    work: Callable[..., Fit],
    source: str,
    belongs_to: dict[str, Any],
    iterations: int,
    *,
    device: str,
    preview: str | None,
    resume: str | None,
    time_limit: float | None,
) -> Fit:
    """The fit, with its progress on standard error; one that is stopped is saved and ends the process."""
    from contextlib import nullcontext

    from gatlas import io
    from gatlas.cli.interrupt import EXIT_REQUEUE, stopping
    from gatlas.cli.terminal import about, progress_bar, say
    from gatlas.fit.optimize import Interrupted
    from gatlas.fit.preview import Preview

    snapshot = None if resume is None else _load_snapshot(resume, belongs_to)
    between = None if preview is None else Preview(lambda image: io.save_image(preview, image, force=True))
    guard: Any = nullcontext() if resume is None else stopping(time_limit)
    try:
        with guard as stop, about(source), progress_bar("fit", iterations) as progress:
            return work(device=device, progress=progress, between=between, stop=stop, resume=snapshot)
    except Interrupted as interrupted:
        if resume is None:
            raise
        at = interrupted.snapshot
        io.save_checkpoint(resume, at.arrays, {**belongs_to, "step": at.step, "rng": at.rng})
        say(f"stopped after {at.step} of {iterations} steps, saved in {resume}: run the same command to go on")
        raise typer.Exit(EXIT_REQUEUE) from None


def _load_snapshot(resume: str, belongs_to: dict[str, Any]) -> Any:
    from gatlas import io
    from gatlas.cli.terminal import say
    from gatlas.errors import GatlasError
    from gatlas.fit.optimize import Snapshot

    stored = io.load_checkpoint(resume)
    if stored is None:
        return None
    arrays, meta = stored
    if {name: meta.get(name) for name in belongs_to} != belongs_to:
        raise GatlasError(f"{resume}: the checkpoint of another mesh or of other options: remove it to start afresh")
    say(f"going on after {meta['step']} steps")
    return Snapshot(int(meta["step"]), arrays, meta["rng"])
