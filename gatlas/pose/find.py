"""Finding and refining the cameras of photos in a scene: which way is taken, and which results are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.images.colors import parse_background
from gatlas.images.composite import composite
from gatlas.pose.bank import FeatureBank, make_feature_bank
from gatlas.pose.bundle import refine_bundle
from gatlas.pose.candidates import DEFAULT_VIEWS
from gatlas.pose.methods import find_by_grid, find_by_matches, find_by_renders, grid_photos
from gatlas.pose.refinement import MATCHED_START, RefinedPose, RefineOptions, refine
from gatlas.pose.results import FoundCamera, NotFound, PoseResult
from gatlas.pose.solve import reprojection_errors
from gatlas.types import Cameras, MixedCameras, MixedViews, Views, join_cameras

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.io.photos.photo_loader import UndistortedPhoto
    from gatlas.metrics.lpips import Lpips
    from gatlas.pose.options import PoseOptions
    from gatlas.pose.solve import Correspondences
    from gatlas.types import AnyCameras, Gaussians

    Finder = Callable[[int, UndistortedPhoto], FoundCamera | NotFound]

WRONG_FOCAL = 0.15  # |log| of a step of the focal length that is reported; right ones: 0.04 on renders, 0.13 on photos
BLACK = (0.0, 0.0, 0.0)


def find_cameras(
    gaussians: Gaussians,
    photos: Sequence[UndistortedPhoto],
    options: PoseOptions,
    *,
    matches: Correspondences | None = None,
    init: Float[np.ndarray, "n 4 4"] | None = None,
    candidates: AnyCameras | None = None,
    lpips: Lpips | None = None,
    report: Report = ignore,
    on_photo: Callable[[], None] | None = None,
) -> list[PoseResult]:
    """Return the camera of each photo in the scene, or why it was not found, in the order of the photos (numpy).

    Files that `options` names are not read here. `matches` are correspondences with the one photo, in pixels of the
    undistorted image; `init` are cameras (world -> camera) that are only refined, together; `candidates` are views to
    start from. `lpips` adds its term to the refinement's loss. All are in the units of the Gaussians. `on_photo` is
    called once per photo that is done. A pixel grid of other photos with `options.find` "grid", and a scene without
    visible Gaussians, are a GatlasError.
    """
    method = choose_method(gaussians, len(photos), options, matches=matches, init=init, candidates=candidates)
    done = on_photo or (lambda: None)
    if init is not None:
        results = _refine_given(gaussians, photos, init, options, lpips, done)
    else:
        find = _finder(method, gaussians, photos, options, matches, candidates, report)
        results = []
        for number, photo in enumerate(photos):
            found = find(number, photo)
            if isinstance(found, NotFound):
                results.append(PoseResult(None, photo.K, method, found.reason))
            else:
                results.append(_refined(gaussians, photo, found, options, lpips, report))
            done()
    for photo, result in zip(photos, results, strict=True):
        if result.viewmat is None:
            report(f"{photo.path}: no camera found: {result.reason}")
        elif result.not_refined is not None:
            report(f"{photo.path}: not refined: {result.not_refined}")
    return results


def choose_method(
    gaussians: Gaussians,
    count: int,
    options: PoseOptions,
    *,
    matches: Correspondences | None = None,
    init: Float[np.ndarray, "n 4 4"] | None = None,
    candidates: AnyCameras | None = None,
) -> str:
    """Return how the cameras of `count` photos are found first: "init", "matches", "grid" or "render"."""
    if init is not None:
        return "init"
    if matches is not None:
        if count != 1:
            raise ValueError(f"matches are of one photo, got {count}")
        return "matches"
    sampled = grid_photos(gaussians)
    if options.find == "grid":
        if not sampled:
            raise GatlasError("has no pixel grid: --find grid needs a splat that was sampled from photos")
        if sampled != count:
            raise GatlasError(f"was sampled from {sampled} photos, but {count} are given")
    if sampled != count or options.find == "render" or candidates is not None:
        return "render"
    return "grid"


def _finder(
    method: str,
    gaussians: Gaussians,
    photos: Sequence[UndistortedPhoto],
    options: PoseOptions,
    matches: Correspondences | None,
    candidates: AnyCameras | None,
    report: Report,
) -> Finder:
    """Return the function that finds the camera of a photo; the first photo that needs the feature bank makes it."""
    if matches is not None:
        points, pixels = matches
        return lambda number, photo: find_by_matches(photo, points, pixels, min_inliers=options.min_inliers)
    banks: list[FeatureBank] = []

    def by_renders(number: int, photo: UndistortedPhoto) -> FoundCamera | NotFound:
        if not banks:
            views = options.views or DEFAULT_VIEWS
            starts = candidates
            if isinstance(starts, MixedCameras):  # only where they stand and look counts: shown as the first photo is
                Ks = np.tile(photos[0].K, (len(starts), 1, 1))
                starts = Cameras(starts.viewmats, Ks, *photos[0].size)
            banks.append(make_feature_bank(gaussians, photos[0].K, *photos[0].size, cameras=starts, views=views))
        return find_by_renders(banks[0], photo, min_inliers=options.min_inliers, report=report)

    if method == "render":
        return by_renders
    name = gaussians.origin.name
    if name and name != Path(photos[0].path).stem:
        first = photos[0].path
        report(f"{first}: the first photo that the scene was sampled from is {name!r}: name the photos in that order")

    def by_grid(number: int, photo: UndistortedPhoto) -> FoundCamera | NotFound:
        settings = refine_options(options)
        found = find_by_grid(gaussians, number, photo, min_inliers=options.min_inliers, options=settings)
        if isinstance(found, FoundCamera) or options.find == "grid":
            return found
        report(f"{photo.path}: not found by the pixel grid: {found.reason}: falling back to rendered views")
        return by_renders(number, photo)

    return by_grid


def _refined(
    gaussians: Gaussians,
    photo: UndistortedPhoto,
    found: FoundCamera,
    options: PoseOptions,
    lpips: Lpips | None,
    report: Report,
) -> PoseResult:
    """Return the refined camera; the one before where the refinement fails and enough correspondences agree with it.

    Correspondences that were given, and the pixel grid, outweigh the pictures: where the median residual of those
    that agree rises, the refinement counts as failed.
    """
    result = found.result
    if options.refine == "none":
        return result
    refined = _refine(gaussians, photo, found, options, lpips)
    failure, residual = refined.failure, result.residual
    if not failure and len(found.points):
        residual = float(np.median(reprojection_errors(refined.viewmat, found.points, found.pixels, refined.K)))
        before = result.residual
        if found.outweighs_pictures and found.reliable and before is not None and residual > before:
            failure = f"the residual of the correspondences would rise from {before:.3g} to {residual:.3g} pixels"
    if failure and found.reliable:
        return replace(result, not_refined=failure)
    if failure:
        reason = f"PnP found one with {result.inliers} inliers, but {failure}"
        return PoseResult(None, photo.K, result.method, reason)
    if abs(np.log(refined.zoom)) > WRONG_FOCAL:  # never where it is NaN
        error, length = abs(1 - 1 / refined.zoom), "long" if refined.zoom < 1 else "short"
        report(
            f"{photo.path}: the focal length looks too {length}, by {error:.0%} or more: check --fov, or try --focal"
        )
    return _with_refinement(replace(result, residual=residual), refined)


def _refine(
    gaussians: Gaussians, photo: UndistortedPhoto, found: FoundCamera, options: PoseOptions, lpips: Lpips | None
) -> RefinedPose:
    if options.refine == "noposplat":
        from gatlas.pose.refine_published import refine_published

        settings = refine_options(options)
        background = settings.background
        if background is None and photo.image.shape[2] == 4:
            background = BLACK
        image = photo.image
        if background is not None:
            image = composite(image, np.asarray(background, dtype=np.float32))
        return refine_published(
            gaussians, image, found.viewmat, photo.K, background=background, side=settings.side, lpips=lpips
        )
    settings = refine_options(options, from_matches=bool(found.result.inliers))
    image = composite(photo.image, 0.0) if found.on_black else photo.image
    return refine(gaussians, image, found.viewmat, photo.K, mask=photo.mask, options=settings, lpips=lpips)


def _refine_given(
    gaussians: Gaussians,
    photos: Sequence[UndistortedPhoto],
    viewmats: Float[np.ndarray, "n 4 4"],
    options: PoseOptions,
    lpips: Lpips | None,
    done: Callable[[], None],
) -> list[PoseResult]:
    """Return the given cameras, refined together."""
    cameras = join_cameras(viewmats, np.stack([photo.K for photo in photos]), [photo.size for photo in photos])
    images = [photo.image for photo in photos]
    views = (
        MixedViews(tuple(images), cameras) if isinstance(cameras, MixedCameras) else Views(np.stack(images), cameras)
    )
    bundle = refine_bundle(
        gaussians,
        views,
        masks=[photo.mask for photo in photos],
        options=refine_options(options),
        lpips=lpips,
        progress=lambda *_: done(),
    )
    return [
        PoseResult(None, photo.K, "init", refined.failure)
        if refined.failure
        else _with_refinement(PoseResult(refined.viewmat, refined.K, "init"), refined)
        for photo, refined in zip(photos, bundle.photos, strict=True)
    ]


def _with_refinement(result: PoseResult, refined: RefinedPose) -> PoseResult:
    return replace(
        result,
        viewmat=refined.viewmat,
        K=refined.K,
        loss_before=refined.loss_before,
        loss_after=refined.loss_after,
        agreement=refined.agreement,
    )


def refine_options(options: PoseOptions, *, from_matches: bool = False) -> RefineOptions:
    """Return the settings of a refinement; `from_matches` is for a start that correspondences found."""
    background = None if options.background is None else parse_background(options.background)
    base = MATCHED_START if from_matches and not options.focal else RefineOptions()
    return replace(base, focal=options.focal, background=background)
