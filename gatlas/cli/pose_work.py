"""What `gatlas pose-pnp` does: load, find or refine each photo's camera, tell, save."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import typer

from gatlas import io
from gatlas.cli.pose_photos import Photo, Wish, checked, read_album
from gatlas.cli.pose_truth import read_truth, told_errors
from gatlas.cli.terminal import about, counting_bar, finite, say
from gatlas.errors import GatlasError
from gatlas.geometry.frames import scaled_views, unscaled_views
from gatlas.io.photos.pose_file import PoseRecord, read_matches, read_viewmats, write_poses

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

    from gatlas.io import Blob
    from gatlas.pose.bank import Bank
    from gatlas.pose.refine import Refined, RefineOptions
    from gatlas.types import Cameras, Gaussians

    Finder = Callable[[int, Photo], "Answer"]

EXIT_SOME_LOST = 3
GRID_AGREEMENT = 0.5  # of a photo with the Gaussians of its pixels; measured: 0.65 to 0.84, of other photos under 0.05
ZOOM = 0.15  # log of a step of the focal length that is spoken of; right ones: 0.04 on renders, 0.13 on real photos
BLACK = (0.0, 0.0, 0.0)
NOTHING = np.zeros((0, 3)), np.zeros((0, 2))


class Answer(NamedTuple):
    """A camera, or the reason why there is none, and what is known of it."""

    viewmat: Float[np.ndarray, "4 4"] | None
    K: Float[np.ndarray, "3 3"]
    said: dict[str, Any]
    pairs: tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m 2"]] = NOTHING  # points and pixels that agree
    sure: bool = False  # enough of them agree: it stands also where its refinement fails
    given: bool = False  # the pairs were not found by rendering: they outweigh the pictures
    on_black: bool = False  # what is transparent in the photo is black Gaussians in the scene


def work(wish: Wish) -> None:
    """Find or refine the cameras; ends with 1 where no camera was found and 3 where some were not."""
    from gatlas.raster.threads import set_num_threads

    set_num_threads(wish.threads)
    io.check_output(wish.output, force=wish.force, suffix=".json", what="cameras")
    wish = checked(wish)
    gaussians = io.load_gaussians(wish.scene)
    album = read_album(wish)
    photos = album.photos
    truth = None
    if wish.ground_truth is not None:
        truth = read_truth(wish.ground_truth, [photo.path for photo in photos], gaussians, wish.own_units)
    if album.init is not None:
        answers, method = _refined_from(wish, gaussians, photos, album.init), "init"
    else:
        finder, method = _finder(wish, gaussians, photos)
        answers = []
        with counting_bar("pose-pnp", len(photos)) as count:
            for number, photo in enumerate(photos):
                answers.append(_refined(wish, gaussians, photo, finder(number, photo)))
                count()
    records = [_record(wish, gaussians, photo, answer) for photo, answer in zip(photos, answers, strict=True)]
    there = [record for record in records if record.viewmat is not None]
    summary: dict[str, Any] = {"method": method, "refine": wish.refine}
    if truth is not None:
        nothing = np.full((4, 4), np.nan)
        found = np.stack([nothing if record.viewmat is None else record.viewmat for record in records])
        summary["errors"] = told_errors(found, truth)
    write_poses(wish.output, records, force=wish.force, summary=summary)
    if len({record.size for record in there}) > 1:
        say("the photos have several sizes: render --camera and fit take a file of one, so run pose-pnp for each size")
    say(f"{len(there)} of {len(records)} cameras found")
    if len(there) < len(records):
        raise typer.Exit(EXIT_SOME_LOST if there else 1)


def _record(wish: Wish, gaussians: Gaussians, photo: Photo, answer: Answer) -> PoseRecord:
    """What is written of a photo, in the units of the files."""
    viewmat = answer.viewmat
    if viewmat is None:
        say(f"{photo.path}: no camera found: {answer.said['reason']}")
    else:
        viewmat = _in_files(wish, gaussians, viewmat)
        if "not_refined" in answer.said:
            say(f"{photo.path}: not refined: {answer.said['not_refined']}")
    return PoseRecord(photo.path, photo.size, *photo.as_taken(answer.K), viewmat, answer.said)


def _in_files(wish: Wish, gaussians: Gaussians, viewmat: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    origin = gaussians.origin
    return scaled_views(viewmat, origin.center, origin.scale) if wish.own_units else viewmat


def _finder(wish: Wish, gaussians: Gaussians, photos: list[Photo]) -> tuple[Finder, str]:
    """How each photo's camera is found, and what that is called."""
    origin = gaussians.origin
    if wish.matches is not None:
        if len(photos) != 1:
            raise GatlasError(f"--matches is of one photo, and {len(photos)} are given")
        matches = io.read(wish.matches)
        points, pixels = read_matches(matches)
        if wish.own_units:
            points = (points - np.asarray(origin.center)) / origin.scale
        pixels = _straight(photos[0], pixels, matches.name)
        threshold = 3 / 256 * max(photos[0].size)
        return lambda number, photo: _solved(wish, photo, points, pixels, threshold), "matches"
    views = 0 if origin.grid is None else len(gaussians) // (origin.grid[0] * origin.grid[1])
    if wish.find == "grid" and origin.grid is None:
        raise GatlasError(f"{wish.scene}: has no pixel grid: --find grid is for splats that were sampled from photos")
    if wish.find == "grid" and views != len(photos):
        raise GatlasError(f"{wish.scene}: was sampled from {views} photos, and {len(photos)} are given")
    render = _render_finder(wish, gaussians, photos[0])
    if origin.grid is None or views != len(photos) or wish.find == "render" or wish.candidates is not None:
        return render, "render"
    if origin.name and origin.name != Path(photos[0].path).stem:
        say(f"{photos[0].path}: the scene was sampled from {origin.name!r} first: photos must come in that order")

    def find(number: int, photo: Photo) -> Answer:
        answer = _from_grid(wish, gaussians, number, photo)
        if answer.viewmat is not None or wish.find == "grid":
            return answer
        say(f"{photo.path}: not by the splat's pixel grid: {answer.said['reason']}: it is looked for from all sides")
        other = render(number, photo)
        return other._replace(said={"method": "render", **other.said})

    return find, "grid"


def _straight(photo: Photo, pixels: Float[np.ndarray, "m 2"], matches: str) -> Float[np.ndarray, "m 2"]:
    """Pixels of the photo as it was taken, in the undistorted photo; those without a ray are said, and never agree."""
    straight = photo.straight(pixels)
    lost = np.isfinite(pixels).all(axis=1) & np.isnan(straight).any(axis=1)
    if lost.any():
        say(
            f"{matches}: {lost.sum()} of {len(pixels)} pixels lie where the lens of {photo.path} puts no ray "
            f"({photo.lens}): they count as outliers"
        )
    return straight


def _from_grid(wish: Wish, gaussians: Gaussians, number: int, photo: Photo) -> Answer:
    """The camera by the Gaussians that stand for the photo's own pixels, whose middle the model saw.

    Such Gaussians agree with their pixels whichever photo is given: that it is theirs, only the pictures can tell.
    """
    from gatlas.images.crop import cover
    from gatlas.pose.solve import grid_correspondences
    from gatlas.systems.noposplat.splat import PNP_THRESHOLD

    rows, columns = gaussians.origin.grid or (0, 0)
    width, height = photo.size
    size = np.array([[width], [height], [1.0]])
    _, normalized = cover(photo.image, photo.K / size, columns, rows)
    # The middle of the photo at the grid's size has the intrinsics `inner`: back to the photo's own pixels.
    inner = normalized * np.array([[columns], [rows], [1.0]])
    points, pixels = grid_correspondences(gaussians, number, columns, rows)
    rays = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1) @ np.linalg.inv(inner).T
    threshold = PNP_THRESHOLD * max(columns, rows) * float(photo.K[0, 0] / inner[0, 0])
    answer = _solved(wish, photo, points, (rays @ photo.K.T)[:, :2], threshold)
    if answer.viewmat is None:
        return answer
    agreement = _agreement(gaussians, photo, answer.viewmat, _options(wish))
    if not agreement >= GRID_AGREEMENT:
        return _lost(photo, f"the Gaussians explain {agreement:.0%} of the photo there")
    return answer._replace(said={**answer.said, "agreement": agreement}, on_black=True)


def _agreement(gaussians: Gaussians, photo: Photo, viewmat: Float[np.ndarray, "4 4"], options: RefineOptions) -> float:
    """The share of the photo, on black, that the Gaussians explain from a camera; NaN where nothing compares."""
    from gatlas.pose.compare import Camera, make_target
    from gatlas.pose.refine import agreement_of, judge

    target = make_target(_over(photo.image, BLACK), photo.mask, options.background, options.side)
    camera = Camera(viewmat, photo.K)
    judged = judge(gaussians, target, camera, options)
    return agreement_of(gaussians, target, camera, judged.exposure, [judged.shot])


def _over(image: Float[np.ndarray, "h w d"], behind: tuple[float, float, float]) -> Float[np.ndarray, "h w 3"]:
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:]
    return image[..., :3] * alpha + np.asarray(behind, dtype=np.float32) * (1 - alpha)


def _solved(
    wish: Wish,
    photo: Photo,
    points: Float[np.ndarray, "m 3"],
    pixels: Float[np.ndarray, "m 2"],
    threshold: float,
) -> Answer:
    from gatlas.pose.solve import solve_pnp

    solution = solve_pnp(points, pixels, photo.K, threshold=threshold, least=wish.min_inliers)
    if solution is None:
        return _lost(photo, f"fewer than {wish.min_inliers} of {len(points)} correspondences agree")
    said = {"inliers": solution.count, "correspondences": len(points), "residual": solution.reprojection}
    pairs = points[solution.inliers], pixels[solution.inliers]
    return Answer(solution.viewmat, photo.K, said, pairs, sure=2 * solution.count > len(points), given=True)


def _render_finder(wish: Wish, gaussians: Gaussians, first: Photo) -> Finder:
    """Render and match; all photos share the views of the scene, which are made when a photo first needs them."""
    from gatlas.pose.bank import make_bank
    from gatlas.pose.candidates import VIEWS

    cameras = None if wish.candidates is None else _candidates(wish, gaussians)
    banks: list[Bank] = []

    def find(number: int, photo: Photo) -> Answer:
        if not banks:
            with about(wish.scene):
                banks.append(make_bank(gaussians, first.K, *first.size, cameras=cameras, views=wish.views or VIEWS))
        return _located(wish, gaussians, banks[0], photo)

    return find


def _candidates(wish: Wish, gaussians: Gaussians) -> Cameras:
    cameras = io.load_cameras(str(wish.candidates))
    if wish.own_units:
        viewmats = unscaled_views(cameras.viewmats, gaussians.origin.center, gaussians.origin.scale)
        cameras = replace(cameras, viewmats=viewmats.astype(np.float32))
    return cameras


def _located(wish: Wish, gaussians: Gaussians, bank: Bank, photo: Photo) -> Answer:
    from gatlas.pose.locate import CONFIDENT, Missed, locate
    from gatlas.pose.motion import turn_between

    located = locate(bank, photo.image, photo.K, mask=photo.mask, least=wish.min_inliers)
    if isinstance(located, Missed):
        return _lost(photo, located.reason)
    said: dict[str, Any] = {"inliers": located.inliers, "cost": finite(located.cost)}
    if len(located.residuals):
        said["residual"] = float(np.median(located.residuals))
    other = located.runner_up
    if other is not None:
        said["runner_up"] = {
            "inliers": other.inliers,
            "cost": finite(other.cost),
            "viewmat": np.asarray(_in_files(wish, gaussians, other.viewmat), dtype=np.float64).tolist(),
        }
    if other is not None and located.ambiguous:
        said["ambiguous"] = True
        apart = turn_between(other.viewmat, located.viewmat)
        say(f"{photo.path}: ambiguous: a camera {apart:.0f} degrees away fits nearly as well: see its runner_up")
    pairs = located.points, located.pixels
    return Answer(located.viewmat, photo.K, said, pairs, sure=located.inliers >= CONFIDENT)


def _lost(photo: Photo, reason: str) -> Answer:
    return Answer(None, photo.K, {"reason": reason})


def _refined(wish: Wish, gaussians: Gaussians, photo: Photo, answer: Answer) -> Answer:
    """The camera after its refinement; the one before it where that fails and enough correspondences agree.

    Correspondences that were given, and the pixel grid, outweigh the pictures: where the median residual of those
    that agree rises, the refinement counts as failed.
    """
    if answer.viewmat is None or wish.refine == "none":
        return answer
    from gatlas.pose.solve import reprojection_errors

    refined = _refinement(wish, gaussians, photo, answer, answer.viewmat)
    failure, said = refined.failure, {**answer.said, **_said(refined)}
    if not failure and len(answer.pairs[0]):
        residual = float(np.median(reprojection_errors(refined.viewmat, *answer.pairs, refined.K)))
        said["residual"] = finite(residual)
        if answer.given and answer.sure and residual > (before := answer.said["residual"]):
            failure = f"the residual of the correspondences would rise from {before:.3g} to {residual:.3g} pixels"
    if not failure:
        if abs(np.log(refined.zoom)) > ZOOM:  # never where it is NaN
            far, how = abs(1 - 1 / refined.zoom), "long" if refined.zoom < 1 else "short"
            say(f"{photo.path}: the focal length looks too {how}, by {far:.0%} or more: check --fov, or try --focal")
        return answer._replace(viewmat=refined.viewmat, K=refined.K, said=said)
    if answer.sure:
        return answer._replace(said={**answer.said, "not_refined": failure})
    return _lost(photo, f"PnP found one by {answer.said['inliers']} matches, but {failure}")


def _refinement(
    wish: Wish, gaussians: Gaussians, photo: Photo, answer: Answer, viewmat: Float[np.ndarray, "4 4"]
) -> Refined:
    if wish.refine == "noposplat":
        from gatlas.pose.refine import RefineOptions
        from gatlas.pose.refine_published import refine_published

        behind = _options(wish).background
        if behind is None and photo.image.shape[2] == 4:
            behind = BLACK
        return refine_published(
            gaussians,
            photo.image if behind is None else _over(photo.image, behind),
            viewmat,
            photo.K,
            background=behind,
            side=RefineOptions().side,
            lpips=_lpips(wish),
        )
    from gatlas.pose.refine import refine

    options = _options(wish, near=answer.said["inliers"] > 0)
    image = _over(photo.image, BLACK) if answer.on_black else photo.image
    return refine(gaussians, image, viewmat, photo.K, mask=photo.mask, options=options, lpips=_lpips(wish))


def _refined_from(wish: Wish, gaussians: Gaussians, photos: list[Photo], init: Blob) -> list[Answer]:
    """The photos' cameras in --init, refined together."""
    from gatlas.pose.bundle import refine_bundle
    from gatlas.types import Cameras, Views

    viewmats = read_viewmats(init, [photo.path for photo in photos])
    sizes = {photo.image.shape for photo in photos}
    if len(sizes) > 1:
        raise GatlasError("--init needs photos of one size and kind: some differ")
    if wish.own_units:
        viewmats = unscaled_views(viewmats, gaussians.origin.center, gaussians.origin.scale)
    cameras = Cameras(viewmats, np.stack([photo.K for photo in photos]), *photos[0].size)
    views = Views(np.stack([photo.image for photo in photos]), cameras)
    masks = [photo.mask for photo in photos]
    bundle = refine_bundle(gaussians, views, masks=masks, options=_options(wish), lpips=_lpips(wish))
    return [
        _lost(photo, each.failure) if each.failure else Answer(each.viewmat, each.K, _said(each))
        for photo, each in zip(photos, bundle.photos, strict=True)
    ]


def _options(wish: Wish, near: bool = False) -> RefineOptions:
    """Of a refinement; `near` is for a start that matches found, where the focal length is known."""
    from gatlas.images.colors import parse_background
    from gatlas.pose.refine import NEAR, RefineOptions

    behind = None if wish.background is None else parse_background(wish.background)
    return replace(NEAR if near and not wish.focal else RefineOptions(), focal=wish.focal, background=behind)


def _lpips(wish: Wish) -> Any:
    if wish.lpips_weights is None:
        return None
    from gatlas.metrics.lpips import load_lpips

    return load_lpips(wish.lpips_weights)


def _said(refined: Refined) -> dict[str, Any]:
    return {
        "loss_before": finite(refined.loss_before),
        "loss_after": finite(refined.loss_after),
        "agreement": finite(refined.agreement),
    }
