"""gatlas pose-pnp"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from gatlas import io
from gatlas.cli.terminal import about, counting_bar, message
from gatlas.cli.video_input import with_frames
from gatlas.errors import GatlasError
from gatlas.geometry.frames import scaled_views, unscaled_views
from gatlas.io.photos.photo_set import read_photo_set
from gatlas.io.photos.pose_file import PoseRecord, read_matches, read_viewmats, write_poses
from gatlas.metrics.pose_errors import GroundTruth, make_ground_truth, measure_poses
from gatlas.pose.find import choose_method, find_cameras
from gatlas.pose.solve import Correspondences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatlas.io.photos.photo_loader import UndistortedPhoto
    from gatlas.metrics.lpips import Lpips
    from gatlas.pose.options import PoseOptions
    from gatlas.pose.results import PoseResult
    from gatlas.types import Gaussians

EXIT_SOME_NOT_FOUND = 3
FRAMES = 20  # of a video


def run(names: Sequence[str] | None, output: str, options: PoseOptions, *, force: bool, given: frozenset[str]) -> None:
    """Find or refine the cameras of photos; exits with 1 where none was found and 3 where some were not."""
    io.check_output(output, force=force, suffix=".json", what="cameras")
    names = with_frames(list(names or ()), options.frames, FRAMES, options.frames_out, force=force)
    _refuse_shared_input(names, options)
    gaussians = io.load_gaussians(options.scene, up=options.up, drop_invalid=options.drop_invalid, report=message)
    photos, viewmats = read_photo_set(
        names, fov=options.fov, intrinsics=options.intrinsics, init=options.init, mask=options.mask
    )
    truth = _load_truth(photos, gaussians, options)
    sources: dict[str, Any] = {
        "matches": _load_matches(photos, gaussians, options),
        "init": None if viewmats is None else _from_file_units(viewmats, gaussians, options),
        "candidates": _load_candidates(gaussians, options),
    }
    lpips = _load_lpips(options)
    with about(options.scene), counting_bar("pose-pnp", len(photos)) as count:
        method = choose_method(gaussians, len(photos), options, **sources)
        results = find_cameras(gaussians, photos, options, **sources, lpips=lpips, report=message, on_photo=count)
    results = [_to_file_units(result, gaussians, options) for result in results]
    summary: dict[str, Any] = {"method": method, "refine": options.refine}
    if truth is not None:
        missing = np.full((4, 4), np.nan)
        found = np.stack([missing if result.viewmat is None else result.viewmat for result in results])
        errors = measure_poses(found, truth)
        if errors.summary():
            message(errors.summary())
        summary["errors"] = errors.to_json()
    records = [
        PoseRecord(
            photo.path,
            photo.size,
            *photo.distorted_intrinsics(result.K),
            result.viewmat,
            ({} if result.method == method else {"method": result.method}) | result.details(),
            photo.exif_turned,
        )
        for photo, result in zip(photos, results, strict=True)
    ]
    write_poses(output, records, force=force, summary=summary)
    found_count = sum(record.viewmat is not None for record in records)
    message(f"{found_count} of {len(records)} cameras found")
    if found_count < len(records):
        raise typer.Exit(EXIT_SOME_NOT_FOUND if found_count else 1)


def _refuse_shared_input(names: Sequence[str], options: PoseOptions) -> None:
    """Raise a GatlasError where two inputs are standard input, from which a photo is read that is not named."""
    inputs = {
        "the scene": options.scene,
        "the photo": "-" if "-" in names or (not names and options.init is None) else None,
        "--matches": options.matches,
        "--init": options.init,
        "--candidates": options.candidates,
        "--intrinsics": options.intrinsics,
        "--ground-truth": options.ground_truth,
    }
    piped = [name for name, value in inputs.items() if value == "-"]
    if len(piped) > 1:
        raise GatlasError(f"{piped[0]} and {piped[1]} cannot both come from standard input: name one of them")


def _load_truth(photos: Sequence[UndistortedPhoto], gaussians: Gaussians, options: PoseOptions) -> GroundTruth | None:
    if options.ground_truth is None:
        return None
    names = [photo.path for photo in photos]
    viewmats = read_viewmats(options.ground_truth, names)
    with about(options.ground_truth):
        return make_ground_truth(viewmats, names, gaussians, own_units=_in_own_units(gaussians, options))


def _load_matches(
    photos: Sequence[UndistortedPhoto], gaussians: Gaussians, options: PoseOptions
) -> Correspondences | None:
    """Return points in the units of the Gaussians and undistorted pixels; those without a ray are reported."""
    if options.matches is None:
        return None
    if len(photos) != 1:
        raise GatlasError(f"--matches takes one photo, got {len(photos)}")
    blob, (photo,) = io.read(options.matches), photos
    points, pixels = read_matches(blob)
    if _in_own_units(gaussians, options):
        points = (points - np.asarray(gaussians.origin.center)) / gaussians.origin.scale
    undistorted = photo.undistort_pixels(pixels)
    lost = np.isfinite(pixels).all(axis=1) & np.isnan(undistorted).any(axis=1)
    if lost.any():
        message(
            f"{blob.name}: {lost.sum()} of {len(pixels)} pixels are outside the field of the lens of {photo.path} "
            f"({photo.lens}): they count as outliers"
        )
    return Correspondences(points, undistorted)


def _load_candidates(gaussians: Gaussians, options: PoseOptions) -> Any:
    if options.candidates is None:
        return None
    cameras = io.load_cameras(options.candidates)
    viewmats = _from_file_units(cameras.viewmats, gaussians, options)
    return replace(cameras, viewmats=viewmats.astype(np.float32))


def _load_lpips(options: PoseOptions) -> Lpips | None:
    if options.lpips_weights is None or options.refine == "none":
        return None
    from gatlas.metrics.lpips import load_lpips

    return load_lpips(options.lpips_weights)


def _in_own_units(gaussians: Gaussians, options: PoseOptions) -> bool:
    """Return True if the cameras of files are in the object's own units, not in those of the Gaussians' positions."""
    return options.own_units or gaussians.origin.recentered


def _from_file_units(viewmats: np.ndarray, gaussians: Gaussians, options: PoseOptions) -> np.ndarray:
    origin = gaussians.origin
    return unscaled_views(viewmats, origin.center, origin.scale) if _in_own_units(gaussians, options) else viewmats


def _to_file_units(result: PoseResult, gaussians: Gaussians, options: PoseOptions) -> PoseResult:
    if result.viewmat is None or not _in_own_units(gaussians, options):
        return result
    origin, other = gaussians.origin, result.runner_up
    if other is not None:
        other = other._replace(viewmat=scaled_views(other.viewmat, origin.center, origin.scale))
    return replace(result, viewmat=scaled_views(result.viewmat, origin.center, origin.scale), runner_up=other)
