"""What `gatlas fit` fits, and how a fit is watched, stopped and gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatlas.fit import Fit, FitOptions
    from gatlas.fit.losses import LossWeights
    from gatlas.io import Blob


def mesh_work(
    source: str | Blob, init: str | None, options: FitOptions, *, scaffold: bool, up: str, ignore_vertex_colors: bool
) -> tuple[Callable[..., Fit], str, str]:
    """How to fit a mesh; its name; and what a checkpoint must share with it."""
    import hashlib
    from functools import partial

    from gatlas import io
    from gatlas.cli.terminal import say
    from gatlas.errors import GatlasError
    from gatlas.fit import fit_mesh
    from gatlas.meshes.render import resolve_shading, stand_up, without_vertex_colors

    blob = io.as_blob(source)
    mesh = stand_up(io.load_mesh(blob), up)
    if ignore_vertex_colors:
        mesh = without_vertex_colors(mesh)
    if options.shading == "auto" and resolve_shading(mesh) == "headlight":
        say("the mesh has no textures and no colours to tell apart: shading it with a head light")
    digest = hashlib.sha256(blob.data + f"{up} {ignore_vertex_colors}".encode())
    if scaffold:
        from gatlas.fit.scaffold import fit_scaffold

        return partial(fit_scaffold, mesh, options), blob.name, digest.hexdigest()
    start = None
    if init not in (None, "surface"):
        if not str(init).endswith(".ply"):
            raise GatlasError(f"--init {init} is for photos: a mesh begins at its surface, or at a splat FILE.ply")
        begin = io.read(str(init))
        start = io.load_gaussians(begin)
        digest.update(begin.data)
    return partial(fit_mesh, mesh, options, start=start), blob.name, digest.hexdigest()


def photos_work(
    path: str, init: str | None, options: FitOptions, *, scaffold: bool
) -> tuple[Callable[..., Fit], str, str]:
    """How to fit photos; their name; and what a checkpoint must share with them."""
    import hashlib
    import os
    from dataclasses import replace

    from gatlas import io
    from gatlas.errors import GatlasError
    from gatlas.fit.photo_start import INITS
    from gatlas.fit.photos import fit_photos

    if init == "surface":
        raise GatlasError("--init surface is for meshes: photos begin at their points, their hull or random places")
    views = io.load_views(path, side=options.resolution)
    digest = hashlib.sha256(views.images.tobytes() + views.cameras.viewmats.tobytes())
    begin: Any = init or "auto"
    if str(init).endswith(".ply"):
        splat = io.read(str(init))
        begin = io.load_gaussians(splat)
        digest.update(splat.data)
    elif begin not in INITS:
        raise GatlasError(f"--init {begin}: photos begin at points, hull, random or a splat FILE.ply")
    points = io.load_points(path)
    folder = os.path.dirname(path) if path.endswith(".json") else path
    name = os.path.basename(os.path.abspath(folder))

    def work(**running: Any) -> Fit:
        fit = fit_photos(views, options, points=points, init=begin, scaffold=scaffold, **running)
        origin = replace(fit.gaussians.origin, name=name)
        return fit._replace(gaussians=replace(fit.gaussians, origin=origin))

    return work, path, digest.hexdigest()


def run(
    work: Callable[..., Fit],
    source: str,
    belongs_to: dict[str, Any],
    iterations: int,
    running: dict[str, Any],
    *,
    preview: str | None,
    resume: str | None,
    time_limit: float | None,
) -> Fit:
    """The fit, with its progress on standard error; one that is stopped is saved and ends the process."""
    from contextlib import nullcontext

    from gatlas import io
    from gatlas.cli.interrupt import EXIT_REQUEUE, stopping
    from gatlas.cli.terminal import about, progress_bar, say
    from gatlas.errors import GatlasError
    from gatlas.fit.optimize import Interrupted
    from gatlas.fit.preview import Preview

    snapshot = None if resume is None else _load_snapshot(resume, belongs_to)
    between = None if preview is None else Preview(lambda image: io.save_image(preview, image, force=True))
    guard: Any = nullcontext() if resume is None else stopping(time_limit)
    try:
        with guard as stop, about(source), progress_bar("fit", iterations) as progress:
            watched = {"between": between, "stop": stop, "resume": snapshot}
            given = {name: value for name, value in watched.items() if value is not None}
            return work(progress=progress, **running, **given)
    except (KeyError, ValueError) as error:
        if snapshot is None:
            raise
        raise GatlasError(f"{resume}: the checkpoint is damaged ({error}): remove it to start afresh") from error
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
    if not isinstance(meta.get("step"), int) or not isinstance(meta.get("rng"), dict):
        raise GatlasError(f"{resume}: the checkpoint is damaged: remove it to start afresh")
    say(f"going on after {meta['step']} steps")
    return Snapshot(meta["step"], arrays, meta["rng"])


def lpips_network(path: str | None, weights: LossWeights) -> tuple[Any, str | None]:
    """The network that LPIPS is measured by, or None, and what the report says of it."""
    from gatlas import io
    from gatlas.cli.terminal import say

    if weights.lpips == 0:
        return None, None
    if path is None and (lack := io.missing_lpips_weights()) is not None:
        say(f"LPIPS is off: {lack}; --lambda-lpips 0 leaves it out without this line")
        return None, None
    from gatlas.metrics.lpips import Lpips

    found = io.load_lpips_weights(path)
    return Lpips(found.network, found.state), found.network
