"""Fitting Gaussians to a mesh or to photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from gatlas import __version__
from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.fit.losses import DIRECT_WEIGHTS, SCAFFOLD_WEIGHTS, LossWeights
from gatlas.fit.photo_start import INITS
from gatlas.io.registry import names_a
from gatlas.meshes.edits import stand_up, without_vertex_colors
from gatlas.types import Mesh

if TYPE_CHECKING:
    from gatlas.fit.mesh import Fit
    from gatlas.fit.optimize import OnParameters, OnStep
    from gatlas.fit.options import FitOptions
    from gatlas.fit.photo_start import Cloud
    from gatlas.fit.snapshot import Snapshot
    from gatlas.metrics.lpips import Lpips
    from gatlas.types import AnyViews, Gaussians

MESH_INITS = ("surface", "even")


def fit(
    source: Mesh | AnyViews,
    options: FitOptions,
    *,
    start: Gaussians | None = None,
    points: Cloud | None = None,
    lpips: Lpips | None = None,
    report: Report = ignore,
    on_step: OnStep | None = None,
    on_loss: OnStep | None = None,
    on_parameters: OnParameters | None = None,
    should_stop: Callable[[], bool] | None = None,
    resume: Snapshot | None = None,
) -> Fit:
    """Return the Gaussians fitted to a mesh, or to photos with their cameras, and their held-out PSNR and SSIM.

    `start` are Gaussians to begin with in place of `options.init`, and `points` the positions and sRGB colors that
    photos may begin at. Files that the options name are not read or written here. `on_step` is called with (steps done,
    PSNR in dB), `on_loss` with (steps done, loss), `on_parameters` as described in `gatlas.fit.optimize.optimize`;
    where `should_stop` returns True, the fit ends with `Interrupted`, whose snapshot given as `resume` continues it.
    Options that do not go together are a GatlasError.
    """
    check_fit(options, photos=not isinstance(source, Mesh), video=not isinstance(source, Mesh))
    if start is not None and options.lod is not None:
        raise GatlasError("levels of detail do not begin at given Gaussians")
    if isinstance(source, Mesh):
        from gatlas.meshes.shading import choose_shading

        source = prepare_mesh(source, options)
        options = replace(options, shading=choose_shading(source, options.shading, report))
        if options.profile == "instant":
            return _fit_instant(source, options, start)
    from gatlas.raster.devices import choose_device

    device = choose_device(options.device)
    if lpips is not None:
        lpips = lpips.to(device)
    running: dict[str, Any] = {"weights": loss_weights(options), "lpips": lpips, "device": device, "on_step": on_step}
    running |= {} if on_loss is None else {"on_loss": on_loss}
    scaffold = options.model == "scaffold"
    if not scaffold:
        running |= {"should_stop": should_stop, "resume": resume}
    if not isinstance(source, Mesh):
        from gatlas.fit.photos import fit_photos

        begin: Any = start if start is not None else options.init or "auto"
        return fit_photos(
            source, options, points=points, init=begin, scaffold=scaffold, on_parameters=on_parameters, **running
        )
    if scaffold:
        from gatlas.fit.scaffold import fit_scaffold

        return fit_scaffold(source, options, **running)
    from gatlas.fit.mesh import fit_mesh

    return fit_mesh(source, options, start=start, on_parameters=on_parameters, **running)


def _fit_instant(mesh: Mesh, options: FitOptions, start: Gaussians | None) -> Fit:
    from gatlas.fit.instant import fit_instant

    if start is not None:
        raise GatlasError("--profile instant starts from the surface, not from given Gaussians: use --profile quick")
    return fit_instant(mesh, options)


def check_fit(options: FitOptions, *, photos: bool, video: bool = False) -> None:
    """Raise a GatlasError where the options do not go together, or not with a mesh, photos or a video."""
    init = options.init
    if options.time_limit is not None and options.resume is None:
        raise GatlasError("--time-limit needs --resume FILE.npz, where the fit is saved when the time is up")
    if options.model_dir is not None and not photos:
        raise GatlasError("--model-dir names a COLMAP model of photos: the input is a mesh")
    if (options.frames is not None or options.frames_out is not None) and not video:
        raise GatlasError("--frames and --frames-out are for videos: the input is none")
    masked = {"--masks": options.masks, "--mask-command": options.mask_command, "--matting": options.matting}
    masks = [name for name, value in masked.items() if value is not None]
    if not photos and masks:
        raise GatlasError(f"{masks[0]} is for photos: the input is a mesh")
    if options.background != "none" and (masks or not photos):
        other = f"{masks[0]} cuts it away" if masks else "the input is a mesh"
        raise GatlasError(f"--background {options.background} is for photos that show it: {other}")
    if options.background != "none" and options.model == "scaffold":
        raise GatlasError(f"--model scaffold does not go with --background {options.background}: use --model direct")
    if options.background != "none" and options.lod is not None:
        raise GatlasError(f"--lod does not go with --background {options.background}")
    if options.scene and (masks or not photos):
        other = f"{masks[0]} cuts an object out" if masks else "the input is a mesh"
        raise GatlasError(f"--scene is for photos that show all that is around: {other}")
    if options.scene and options.model == "scaffold":
        raise GatlasError("--model scaffold does not go with --scene: use --model direct")
    if options.mask_command is not None and options.matting is not None:
        raise GatlasError("--mask-command and --matting both make masks: give one")
    if not photos:
        for name in ("camera_model", "fov", "principal_point", "cameras_out"):
            if getattr(options, name) is not None:
                raise GatlasError(f"--{name.replace('_', '-')} is for photos: the input is a mesh")
    if options.max_offset is not None and photos:
        raise GatlasError("--max-offset bounds the distance from a mesh's surface, which photos do not have")
    if options.profile == "instant":
        _check_instant(options, photos=photos)
    if options.model == "scaffold":
        refused = {
            "--lod": options.lod,
            "--max-offset": options.max_offset,
            "--init": None if photos else init,
            "--resume": options.resume,
            "--preview": options.preview,
        }
        for name, given in refused.items():
            if given:
                raise GatlasError(f"--model scaffold does not go with {name}: use --model direct")
        if options.sh_degree:
            raise GatlasError("--model scaffold has no view-dependent color: use --sh-degree 0, or --model direct")
    if options.exposure == "on" and not photos:
        raise GatlasError("--exposure on is for photos: the pictures of a mesh are all exposed alike")
    if options.exposure == "on" and options.model == "scaffold":
        raise GatlasError("--model scaffold does not go with --exposure on: use --model direct")
    starts_from_splat = init is not None and names_a("splat", init)
    if options.lod is not None and starts_from_splat:
        raise GatlasError(
            f"--lod does not go with --init {init}: levels of detail begin at a surface, at points or the like"
        )
    if photos and options.up is not None and not starts_from_splat:
        raise GatlasError("--up is for meshes and for --init FILE.ply: photos have the axes of their cameras")
    if init is None or starts_from_splat:
        return
    if photos and init in MESH_INITS:
        raise GatlasError(
            f"--init {init} is for meshes: photos start from their points, their hull or random positions"
        )
    if photos and init not in INITS:
        named = ", ".join(name for name in INITS if name != "auto")
        raise GatlasError(f"--init {init}: photos start from {named} or a splat FILE.ply")
    if not photos and init not in MESH_INITS:
        raise GatlasError(
            f"--init {init} is for photos: a mesh starts from its surface (surface, even) or a splat FILE.ply"
        )
    if init == "even" and options.lod is not None:
        raise GatlasError("--init even does not go with --lod, whose levels have an order of their own")


def _check_instant(options: FitOptions, *, photos: bool) -> None:
    """Raise a GatlasError for what belongs to an optimization."""
    if photos:
        raise GatlasError("--profile instant is for meshes: photos need an optimization, such as --profile quick")
    refused = {
        "--model scaffold": options.model == "scaffold",
        "--device cuda": options.device == "cuda",
        f"--init {options.init}": options.init not in (None, "surface"),
        "--sh-degree": options.sh_degree > 0,
    }
    names = (
        "iterations",
        "lod",
        "preview",
        "plot",
        "resume",
        "lambda_rgb",
        "lambda_ssim",
        "lambda_lpips",
        "lambda_reg",
    )
    refused |= {f"--{name.replace('_', '-')}": getattr(options, name) is not None for name in names}
    refused |= {"--lpips-weights": options.lpips_weights is not None, "--antialiased": options.antialiased}
    for name, given in refused.items():
        if given:
            raise GatlasError(f"--profile instant does not go with {name}: it does not optimize; use --profile quick")


def prepare_mesh(mesh: Mesh, options: FitOptions) -> Mesh:
    """Return the mesh with its vertical axis up and, where asked for, without vertex colors."""
    mesh = stand_up(mesh, options.up or "y")
    return without_vertex_colors(mesh) if options.ignore_vertex_colors else mesh


def loss_weights(options: FitOptions) -> LossWeights:
    """Return the weights of the loss: the model's defaults, and those that the options give."""
    given = {
        "rgb": options.lambda_rgb,
        "ssim": options.lambda_ssim,
        "lpips": options.lambda_lpips,
        "scales": options.lambda_reg,
    }
    defaults = SCAFFOLD_WEIGHTS if options.model == "scaffold" else DIRECT_WEIGHTS
    return replace(defaults, **{name: value for name, value in given.items() if value is not None})


def run_identity(options: FitOptions, source_digest: str, lpips: str | None) -> dict[str, Any]:
    """Return what a fit must keep unchanged to be resumed, JSON-able: its input, options and loss.

    `source_digest` is of the input's content, `lpips` the name of the network that LPIPS is measured with.
    """
    return {
        "version": __version__,
        "input": source_digest,
        "options": options.as_record(),
        "init": options.init,
        "loss": {**asdict(loss_weights(options)), "lpips_network": lpips},
    }
