"""gatlas fit"""

from __future__ import annotations

import hashlib
import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas import __version__, io
from gatlas.cli.interrupt import stopping
from gatlas.cli.mask_input import fit_masks
from gatlas.cli.photo_cameras import model_of_photos
from gatlas.cli.terminal import about, check_outputs, finite, message, progress_bar
from gatlas.cli.verb import Input
from gatlas.cli.video_input import frames_folder
from gatlas.errors import GatlasError, Requeue
from gatlas.fit import FitOptions, Interrupted, Snapshot, fit
from gatlas.fit.course import FitCourse
from gatlas.fit.fitting import check_fit, loss_weights, run_identity
from gatlas.fit.photo_budget import with_count
from gatlas.geometry.far_coordinates import extent_and_step, float32_holds
from gatlas.geometry.frames import denormalized
from gatlas.images.plots import require_matplotlib
from gatlas.io.photos.object_views import is_over_white
from gatlas.io.photos.videos import is_video
from gatlas.io.registry import names_a
from gatlas.types import MixedViews, Views

FRAMES = 60  # of a video

if TYPE_CHECKING:
    from gatlas.fit import Fit
    from gatlas.fit.backgrounds import FittedBackground
    from gatlas.fit.exposure import FittedExposure
    from gatlas.fit.photo_start import Cloud
    from gatlas.metrics.lpips import Lpips
    from gatlas.types import AnyViews, Gaussians, Mesh


def run(source: Input, output: str, options: FitOptions, *, force: bool) -> dict[str, Any]:
    """Fit one mesh or one folder of photos."""
    started = time.perf_counter(), time.process_time()
    check_outputs(output, options, noun="splat", force=force)
    video = source if isinstance(source, str) and is_video(source) else None
    photos = isinstance(source, str) and (video is not None or io.is_folder(source) or source.endswith(".json"))
    check_fit(options, photos=photos, video=video is not None)
    if options.plot is not None:
        require_matplotlib()
    if video is not None:
        source = str(frames_folder(video, options.frames or FRAMES, options.frames_out, force=force))
    model_dir = None
    loaded: Mesh | AnyViews
    if photos:
        loaded, name, digest, model_dir = _load_photos(source, options, sequential=video is not None, force=force)
    else:
        loaded, name, digest = _load_mesh(source, options)
    if isinstance(loaded, Views | MixedViews):
        options = with_count(options, loaded, message)
    inputs: dict[str, Any] = {"points": io.load_points(name, model_dir=model_dir) if photos else None}
    if options.init is not None and names_a("splat", options.init):
        blob = io.read(options.init)
        up = options.up if photos else None  # of a mesh it is the mesh's
        inputs["start"] = io.load_gaussians(blob, up=up, drop_invalid=options.drop_invalid, report=message)
        digest.update(blob.data + (up or "").encode())
    inputs["lpips"], lpips = lpips_network(options)
    identity = run_identity(options, digest.hexdigest(), lpips)
    if isinstance(loaded, Views | MixedViews):
        identity["geometry"] = _geometry_digest(loaded, inputs["points"])

    course = FitCourse()
    with _interruptible(name, options, identity) as running:
        if options.plot is not None:
            running |= course.callbacks(running["on_step"])
        result = fit(loaded, options, report=message, **inputs, **running)
    if photos:
        origin = replace(result.gaussians.origin, name=_subject(video or name))
        result = result._replace(gaussians=replace(result.gaussians, origin=origin))

    seconds = time.perf_counter() - started[0]
    summary = f"{len(result.gaussians):,} Gaussians, held-out PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.4f}"
    if result.exposure is not None:
        summary += f", {result.exposure.psnr:.2f} dB with each photo's exposure corrected"
    message(f"{summary}, {seconds:.1f} s")
    if result.background is not None and result.background.shared:
        message(f"background {hex_color(result.background.colors[0])}")
    if result.levels:
        message("levels: " + ", ".join(f"{level.number:,} {level.psnr:.2f} dB" for level in result.levels))
    if options.views_out is not None:
        io.save_views(options.views_out, result.views, force=force)
    if options.plot is not None:
        io.save_image(options.plot, course.picture(result), force=force)
    if options.report is not None:
        spent = {"seconds": seconds, "cpu_seconds": time.process_time() - started[1]}
        path = video or (source if isinstance(source, str) else source.name)
        held = fit_report(result, options, path, lpips, spent)
        of_photos = result.exposure is not None or result.background is not None
        names = io.photo_names(name, model_dir=model_dir) if of_photos else []
        if result.exposure is not None:
            held["exposure"] = exposure_report(result.exposure, names)
        if result.background is not None:
            held["background"] = background_report(result.background, names)
        io.save_json(options.report, held, force=force)
    gaussians = _denormalized(result.gaussians) if options.denormalize else result.gaussians
    io.save_gaussians(output, gaussians, force=force)
    if options.resume is not None:
        io.remove_checkpoint(options.resume)
    return {"count": len(result.gaussians), "psnr": finite(result.psnr), "ssim": result.ssim}


def _subject(source: str) -> str:
    """Return what photos are called: by their folder, or by their video."""
    if io.is_folder(source):
        return os.path.basename(os.path.abspath(source))
    if source.endswith(".json"):
        return os.path.basename(os.path.abspath(os.path.dirname(source)))
    return os.path.splitext(os.path.basename(source))[0]


def _denormalized(gaussians: Gaussians) -> Gaussians:
    """Return the Gaussians in own units, with a message where these are too far away for the float32 of the file."""
    origin = gaussians.origin
    places = gaussians.means.astype(np.float64) * origin.scale + origin.center
    if not float32_holds(places):
        extent, step = extent_and_step(places)
        message(
            f"--denormalize: float32 has steps of {step:.2g} at these coordinates, and the object is {extent:.2g} "
            f"across: positions are rounded to them; without --denormalize the file holds them exactly, and the way "
            "back in its header"
        )
    return denormalized(gaussians)


def _load_mesh(source: Input, options: FitOptions) -> tuple[Mesh, str, Any]:
    """Return the mesh, its name and a digest of what a checkpoint must share with it."""
    blob = io.as_blob(source)
    digest = hashlib.sha256(blob.data + f"{options.up or 'y'} {options.ignore_vertex_colors}".encode())
    return io.load_mesh(blob), blob.name, digest


def _load_photos(
    path: Any, options: FitOptions, *, sequential: bool, force: bool
) -> tuple[AnyViews, str, Any, str | None]:
    """Return the photos, their path, a digest of what a checkpoint must share with them, and the folder of their model.

    The latter is None where their own folder holds their cameras. `sequential` is of the frames of a video.
    """
    with fit_masks(path, options) as masks:
        model_dir = model_of_photos(path, options, masks, sequential=sequential, force=force)
        with warnings.catch_warnings():
            if model_dir is not None and model_dir != options.model_dir:  # found above, with a line on what it lacks
                warnings.filterwarnings("ignore", rf"{re.escape(model_dir)}: \d+ of \d+ photos have cameras")
            views = io.load_views(path, side=options.budget.resolution, model_dir=model_dir, masks=masks)
    if views.channels == 3 and model_dir is None and is_over_white(path):
        from gatlas.images.white_background import cut_views_from_white

        views = cut_views_from_white(views)
        message(f"{path}: its views were sampled over white, which is taken for transparent")
    if isinstance(views, Views):
        content = views.images.tobytes() + views.cameras.viewmats.tobytes()
    else:
        sizes = repr(views.cameras.sizes).encode()
        content = b"".join([*(image.tobytes() for image in views.images), views.cameras.viewmats.tobytes(), sizes])
    return views, path, hashlib.sha256(content), model_dir


def _geometry_digest(views: AnyViews, points: Cloud | None) -> str:
    """Return a digest of what else a checkpoint must share: the photos' lenses, and the points that place the scene."""
    digest = hashlib.sha256(np.ascontiguousarray(views.cameras.Ks).tobytes())
    for array in points or ():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def lpips_network(options: FitOptions) -> tuple[Lpips | None, str | None]:
    """Return the network that LPIPS is measured with and its name; (None, None) where LPIPS is off."""
    if loss_weights(options).lpips == 0 or options.profile == "instant":
        return None, None
    if options.lpips_weights is None and (lack := io.missing_lpips_weights()) is not None:
        message(f"LPIPS is off: {lack}; --lambda-lpips 0 silences this message")
        return None, None
    from gatlas.metrics.lpips import load_lpips

    network = load_lpips(options.lpips_weights)
    return network, network.network


@contextmanager
def _interruptible(name: str, options: FitOptions, identity: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the callbacks of a fit: progress on standard error, the preview, and what to resume from.

    A fit that is stopped inside the block is saved and ends as a `Requeue`.
    """
    resume, preview = options.resume, options.preview
    snapshot = None if resume is None else _load_snapshot(resume, identity)
    picture = None
    if preview is not None:
        from gatlas.fit.preview import Preview

        picture = Preview(lambda image: io.save_image(preview, image, force=True), antialiased=options.antialiased)
    guard: Any = nullcontext() if resume is None else stopping(options.time_limit)
    iterations = options.budget.iterations
    try:
        with guard as should_stop, about(name), progress_bar("fit", iterations) as on_step:
            yield {"on_step": on_step, "on_parameters": picture, "should_stop": should_stop, "resume": snapshot}
    except (KeyError, ValueError) as error:
        if snapshot is None:
            raise
        raise GatlasError(f"{resume}: the checkpoint is damaged ({error}): remove it to start afresh") from error
    except Interrupted as interrupted:
        if resume is None:
            raise
        at = interrupted.snapshot
        io.save_checkpoint(resume, at.arrays, {**identity, "step": at.step, "rng": at.rng})
        after = f"stopped after {at.step} of {iterations} steps"
        raise Requeue(f"{after}, saved in {resume}: run the same command to resume") from None


def _load_snapshot(resume: str, identity: dict[str, Any]) -> Snapshot | None:
    stored = io.load_checkpoint(resume)
    if stored is None:
        return None
    arrays, meta = stored
    earlier = {"geometry"} - set(meta)  # checkpoints of earlier versions lack it
    if any(meta.get(name) != value for name, value in identity.items() if name not in earlier):
        raise GatlasError(
            f"{resume}: the checkpoint of another mesh, of other photos or of other options: remove it to start afresh"
        )
    if type(meta.get("step")) is not int or not isinstance(meta.get("rng"), dict):
        raise GatlasError(f"{resume}: the checkpoint is damaged: remove it to start afresh")
    message(f"resuming after {meta['step']} steps")
    return Snapshot(meta["step"], arrays, meta["rng"])


def fit_report(
    result: Fit, options: FitOptions, path: str, lpips: str | None, spent: dict[str, float]
) -> dict[str, Any]:
    """Return what --report holds."""
    from gatlas.fit.cleanness import cleanness

    measured = [{"count": level.number, "psnr": finite(level.psnr), "ssim": level.ssim} for level in result.levels]
    levels = {"levels": measured} if measured else {}
    chosen = {"input": path, "model": options.model, "profile": options.profile, "init": options.init}
    return {
        "source": result.gaussians.origin.name,
        "count": len(result.gaussians),
        "held_out": {"psnr": finite(result.psnr), "ssim": result.ssim},
        "clean": cleanness(result.gaussians, result.mesh),
        **levels,
        **spent,
        "seed": options.seed,
        "version": __version__,
        "lpips": lpips,
        "arguments": {**chosen, **options.as_record(), "lambda": asdict(loss_weights(options))},
    }


def hex_color(color: np.ndarray) -> str:
    """Return a color in [0, 1] as --background of render takes it."""
    return "#" + "".join(f"{round(255 * float(value)):02x}" for value in color)


def background_report(background: FittedBackground, names: list[str]) -> Any:
    """Return the color behind all photos, or that behind each by its name."""
    if background.shared:
        return hex_color(background.colors[0])
    return {name: hex_color(color) for name, color in zip(names, background.colors, strict=True)}


def exposure_report(exposure: FittedExposure, names: list[str]) -> dict[str, Any]:
    """Return the gain and offset (red, green, blue) of each photo by its name; those held out were solved, not fitted.

    "psnr" is of the held-out photos with their exposure, that of "held_out" without.
    """
    found = [
        {"photo": name, "gain": gain.tolist(), "offset": offset.tolist(), "held_out": i in exposure.held_out}
        for i, (name, gain, offset) in enumerate(zip(names, *exposure.photos, strict=True))
    ]
    return {"psnr": finite(exposure.psnr), "photos": found}
