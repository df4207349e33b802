"""What `gatlas pose-pnp` does: load, find or refine each photo's camera, tell, save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import typer

from gatlas import io
from gatlas.cli.terminal import counting_bar, finite, say
from gatlas.errors import GatlasError
from gatlas.frames import scaled_views, unscaled_views
from gatlas.io.poses import PoseRecord, read_matches, read_named_viewmats, write_poses

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.pose.refine import Refined, RefineOptions
    from gatlas.types import Gaussians

EXIT_SOME_LOST = 3
STEM = "{stem}"


class Wish(NamedTuple):
    """What the command line says."""

    scene: str
    photos: tuple[str, ...]
    output: str
    fov: float | None
    intrinsics: str | None
    find: str
    matches: str | None
    init: str | None
    candidates: str | None
    views: int
    mask: str | None
    background: str | None
    refine: str
    focal: bool
    min_inliers: int
    own_units: bool
    ground_truth: str | None
    lpips_weights: str | None
    threads: int | None
    force: bool


class Photo(NamedTuple):
    """One photo, undistorted."""

    path: str
    stem: str
    image: Float[np.ndarray, "h w d"]
    K: Float[np.ndarray, "3 3"]  # pixels
    mask: Float[np.ndarray, "h w"] | None

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[1], self.image.shape[0]


class Answer(NamedTuple):
    """A camera, or the reason why there is none, and what is known of it."""

    viewmat: Float[np.ndarray, "4 4"] | None
    K: Float[np.ndarray, "3 3"]
    said: dict[str, Any]


def work(wish: Wish) -> None:
    """Find or refine the cameras; ends with 1 where no camera was found and 3 where some were not."""
    from gatlas.raster.threads import set_num_threads

    set_num_threads(wish.threads)
    io.check_output(wish.output, force=wish.force, suffix=".json", what="cameras")
    _refuse_mixtures(wish)
    gaussians = io.load_gaussians(wish.scene)
    photos = _photos(wish)
    truths = None if wish.ground_truth is None else read_named_viewmats(wish.ground_truth)
    if wish.init is not None:
        answers, method = _refined_from(wish, gaussians, photos), "init"
    else:
        finder, method = _finder(wish, gaussians, photos)
        answers = []
        with counting_bar("pose-pnp", len(photos)) as count:
            for number, photo in enumerate(photos):
                answers.append(_refined(wish, gaussians, photo, finder(number, photo)))
                count()
    records = []
    for photo, answer in zip(photos, answers, strict=True):
        viewmat = answer.viewmat
        if viewmat is None:
            say(f"{photo.path}: no camera found: {answer.said['reason']}")
        elif wish.own_units:
            viewmat = scaled_views(viewmat, gaussians.origin.center, gaussians.origin.scale)
        records.append(PoseRecord(photo.path, photo.size, answer.K, viewmat, answer.said))
    found = sum(record.viewmat is not None for record in records)
    summary: dict[str, Any] = {"method": method, "refine": wish.refine}
    if truths is not None:
        summary["errors"] = _errors(gaussians, wish, photos, records, truths)
    write_poses(wish.output, records, force=wish.force, summary=summary)
    say(f"{found} of {len(records)} cameras found")
    if found < len(records):
        raise typer.Exit(EXIT_SOME_LOST if found else 1)


def _refuse_mixtures(wish: Wish) -> None:
    ways = {"--matches": wish.matches, "--init": wish.init, "--candidates": wish.candidates}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise GatlasError(f"{given[0]} and {given[1]} exclude each other")
    if given and wish.find == "grid":
        raise GatlasError(f"--find grid does not go with {given[0]}")
    if wish.init is not None and wish.refine == "none":
        raise GatlasError("--init is to refine: leave out --refine none")
    if wish.init is not None and wish.refine == "noposplat":
        raise GatlasError("--refine noposplat refines one photo at a time from PnP: it does not go with --init")
    if wish.focal and wish.refine != "photometric":
        raise GatlasError("--focal needs --refine photometric")


def _photos(wish: Wish) -> list[Photo]:
    """The photos with their intrinsics and masks."""
    from gatlas.io.photos import read_photos

    paths, source = list(wish.photos), wish.intrinsics
    if not paths and wish.init is not None:
        paths = [str(Path(wish.init).parent)]
    if len(paths) == 1 and io.is_folder(paths[0]):
        index = wish.init or str(Path(paths[0]) / "transforms.json")
        paths = _pictures_of(index)
        source = source or (index if wish.fov is None else None)
    source = source or (wish.init if wish.fov is None else None)
    if not paths:
        paths = ["-"]
    if "-" in paths and wish.scene == "-":
        raise GatlasError("the scene and the photo cannot both come from standard input: name one of them")
    photos = []
    for path, (stem, image, K) in zip(paths, read_photos(paths, fov=wish.fov, source=source), strict=True):
        photos.append(Photo(path, stem, image, K, _mask(wish, path, image)))
    return photos


def _pictures_of(index: str) -> list[str]:
    from gatlas.io.transforms import read_shots

    _, shots, _, _ = read_shots(index)
    missing = [shot.name for shot in shots if shot.picture is None]
    if missing:
        raise GatlasError(f"{index}: {len(missing)} of its pictures are missing, the first is {missing[0]}")
    return [str(shot.picture) for shot in shots]


def _mask(wish: Wish, path: str, image: Float[np.ndarray, "h w d"]) -> Float[np.ndarray, "h w"] | None:
    if wish.mask is None:
        return None
    if len(wish.photos) > 1 and STEM not in wish.mask:
        raise GatlasError(f"--mask {wish.mask}: all photos would have one mask: put {STEM} into its name")
    name = wish.mask.replace(STEM, Path(path).stem)
    grey = io.load_image(name)[..., :3].mean(axis=-1)
    if grey.shape != image.shape[:2]:
        raise GatlasError(
            f"{name}: has {grey.shape[1]} x {grey.shape[0]} pixels, its photo {image.shape[1]} x {image.shape[0]}"
        )
    return grey


def _finder(wish: Wish, gaussians: Gaussians, photos: list[Photo]) -> tuple[Callable[[int, Photo], Answer], str]:
    """How each photo's camera is found, and what that is called."""
    if wish.matches is not None:
        if len(photos) != 1:
            raise GatlasError(f"--matches is of one photo, and {len(photos)} are given")
        pairs = read_matches(io.read(wish.matches))
        return lambda number, photo: _solved(wish, photo, *pairs), "matches"
    grid = gaussians.origin.grid
    views = 0 if grid is None else len(gaussians) // (grid[0] * grid[1])
    if wish.find == "grid" and grid is None:
        raise GatlasError(f"{wish.scene}: has no pixel grid: --find grid is for splats that were sampled from photos")
    if wish.find == "grid" and views != len(photos):
        raise GatlasError(f"{wish.scene}: was sampled from {views} photos, and {len(photos)} are given")
    if grid is not None and views == len(photos) and wish.find != "render" and wish.candidates is None:
        return lambda number, photo: _from_grid(wish, gaussians, number, photo), "grid"
    return _render_finder(wish, gaussians, photos), "render"


def _from_grid(wish: Wish, gaussians: Gaussians, number: int, photo: Photo) -> Answer:
    """The camera by the Gaussians that stand for the photo's own pixels, whose middle the model saw."""
    from gatlas.crop import cover
    from gatlas.pose.solve import grid_correspondences

    rows, columns = gaussians.origin.grid or (0, 0)
    width, height = photo.size
    size = np.array([[width], [height], [1.0]])
    _, normalized = cover(photo.image, photo.K / size, columns, rows)
    # The middle of the photo at the grid's size has the intrinsics `inner`: back to the photo's own pixels.
    inner = normalized * np.array([[columns], [rows], [1.0]])
    points, pixels = grid_correspondences(gaussians, number, columns, rows)
    rays = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1) @ np.linalg.inv(inner).T
    return _solved(wish, photo, points, (rays @ photo.K.T)[:, :2])


def _solved(wish: Wish, photo: Photo, points: Float[np.ndarray, "m 3"], pixels: Float[np.ndarray, "m 2"]) -> Answer:
    from gatlas.pose.solve import solve_pnp

    threshold = 3 / 256 * max(photo.size)
    solution = solve_pnp(points, pixels, photo.K, threshold=threshold, least=wish.min_inliers)
    if solution is None:
        return _lost(photo, f"fewer than {wish.min_inliers} of {len(points)} correspondences agree")
    said = {"inliers": solution.count, "correspondences": len(points), "residual": solution.reprojection}
    return Answer(solution.viewmat, photo.K, said)


def _render_finder(wish: Wish, gaussians: Gaussians, photos: list[Photo]) -> Callable[[int, Photo], Answer]:
    """Render and match; all photos share the views of the scene."""
    from gatlas.pose.bank import make_bank
    from gatlas.pose.locate import locate

    cameras = None
    if wish.candidates is not None:
        cameras = io.load_cameras(wish.candidates)
        if wish.own_units:
            viewmats = unscaled_views(cameras.viewmats, gaussians.origin.center, gaussians.origin.scale)
            cameras = replace(cameras, viewmats=viewmats.astype(np.float32))
    first = photos[0]
    bank = make_bank(gaussians, first.K, *first.size, cameras=cameras, views=wish.views)

    def find(number: int, photo: Photo) -> Answer:
        located = locate(bank, photo.image, photo.K, mask=photo.mask, least=wish.min_inliers)
        if located is None:
            return _lost(photo, f"no view of the scene has {wish.min_inliers} matches that agree, nor its silhouette")
        said: dict[str, Any] = {"inliers": located.inliers, "cost": finite(located.cost)}
        if len(located.residuals):
            said["residual"] = float(np.median(located.residuals))
        if located.runner_up is not None:
            other = located.runner_up
            viewmat = other.viewmat
            if wish.own_units:
                viewmat = scaled_views(viewmat, gaussians.origin.center, gaussians.origin.scale)
            said["runner_up"] = {
                "inliers": other.inliers,
                "cost": finite(other.cost),
                "viewmat": np.asarray(viewmat, dtype=np.float64).tolist(),
            }
        return Answer(located.viewmat, photo.K, said)

    return find


def _lost(photo: Photo, reason: str) -> Answer:
    return Answer(None, photo.K, {"reason": reason})


def _refined(wish: Wish, gaussians: Gaussians, photo: Photo, answer: Answer) -> Answer:
    """The camera after its refinement; one that the picture does not bear out is no camera."""
    if answer.viewmat is None or wish.refine == "none":
        return answer
    from gatlas.pose.locate import CONFIDENT

    if wish.refine == "noposplat":
        from gatlas.pictures import parse_background
        from gatlas.pose.refine_published import refine_published

        behind = parse_background(wish.background or "black")
        if behind is None:
            raise GatlasError("--background transparent: the photos' background must be a colour")
        image = photo.image[..., :3]
        if photo.image.shape[2] == 4:
            alpha = photo.image[..., 3:]
            image = image * alpha + np.asarray(behind, dtype=np.float32) * (1 - alpha)
        refined = refine_published(gaussians, image, answer.viewmat, photo.K, background=behind, lpips=_lpips(wish))
    else:
        from gatlas.pose.refine import refine

        options = _options(wish, near=answer.said.get("inliers", 0) > 0)
        refined = refine(
            gaussians, photo.image, answer.viewmat, photo.K, mask=photo.mask, options=options, lpips=_lpips(wish)
        )
    if refined.failure and answer.said.get("cost") is not None and answer.said["inliers"] >= CONFIDENT:
        # On a poor splat the pictures differ too much to be compared, and matches are what there is.
        say(f"{photo.path}: not refined: {refined.failure}")
        return answer._replace(said={**answer.said, "not_refined": refined.failure})
    if refined.failure:
        return _lost(photo, f"PnP found one by {answer.said.get('inliers', 0)} matches, but {refined.failure}")
    return Answer(refined.viewmat, refined.K, {**answer.said, **_said(refined)})


def _refined_from(wish: Wish, gaussians: Gaussians, photos: list[Photo]) -> list[Answer]:
    """The photos' cameras in --init, refined together."""
    from gatlas.pose.bundle import refine_bundle
    from gatlas.types import Cameras, Views

    given = read_named_viewmats(str(wish.init))
    unknown = [photo.path for photo in photos if photo.stem not in given]
    if unknown:
        raise GatlasError(f"{wish.init}: has no camera of {unknown[0]}")
    sizes = {photo.image.shape for photo in photos}
    if len(sizes) > 1:
        raise GatlasError("--init needs photos of one size and kind: some differ")
    viewmats = [given[photo.stem] for photo in photos]
    if wish.own_units:
        viewmats = list(unscaled_views(np.stack(viewmats), gaussians.origin.center, gaussians.origin.scale))
    cameras = Cameras(np.stack(viewmats), np.stack([photo.K for photo in photos]), *photos[0].size)
    views = Views(np.stack([photo.image for photo in photos]), cameras)
    masks = [photo.mask for photo in photos]
    bundle = refine_bundle(gaussians, views, masks=masks, options=_options(wish), lpips=_lpips(wish))
    return [
        _lost(photo, each.failure) if each.failure else Answer(each.viewmat, each.K, _said(each))
        for photo, each in zip(photos, bundle.photos, strict=True)
    ]


def _options(wish: Wish, near: bool = False) -> RefineOptions:
    """Of a refinement; `near` is for a start that matches found, where the focal length is known."""
    from gatlas.pictures import parse_background
    from gatlas.pose.refine import NEAR, RefineOptions

    behind = None if wish.background is None else parse_background(wish.background)
    return replace(NEAR if near and not wish.focal else RefineOptions(), focal=wish.focal, background=behind)


def _lpips(wish: Wish) -> Any:
    if wish.lpips_weights is None:
        return None
    from gatlas.metrics.lpips import Lpips

    found = io.load_lpips_weights(wish.lpips_weights)
    return Lpips(found.network, found.state)


def _said(refined: Refined) -> dict[str, Any]:
    return {
        "loss_before": finite(refined.loss_before),
        "loss_after": finite(refined.loss_after),
        "agreement": finite(refined.agreement),
    }


def _errors(
    gaussians: Gaussians,
    wish: Wish,
    photos: list[Photo],
    records: list[PoseRecord],
    truths: dict[str, Float[np.ndarray, "4 4"]],
) -> dict[str, Any]:
    """Errors of the found cameras, printed and for the report; a camera that was not found is never recalled."""
    from gatlas.metrics.pose_errors import center_errors, direction_errors, recall_area, rotation_errors

    unknown = [photo.path for photo in photos if photo.stem not in truths]
    if unknown:
        raise GatlasError(f"{wish.ground_truth}: has no camera of {unknown[0]}")
    nothing = np.full((4, 4), np.nan)
    found = np.stack([nothing if record.viewmat is None else record.viewmat for record in records])
    true = np.stack([truths[photo.stem] for photo in photos])
    if gaussians.origin.grid is not None:
        # A scene from unposed photos has a frame and a scale of its own: the first camera's.
        found, true = found[1:] @ np.linalg.inv(found[0]), true[1:] @ np.linalg.inv(true[0])
        if not len(true):
            raise GatlasError("--ground-truth: cameras relative to the first one need two photos or more")
        places, unit = direction_errors(found, true), "degrees of direction"
    else:
        scene = np.median(gaussians.means, axis=0) if not wish.own_units else _middle(gaussians)
        places, unit = center_errors(found, true, scene), "% of the distance"
    turns = rotation_errors(found, true)
    worst = np.maximum(turns, places)
    areas = {f"auc@{limit}": recall_area(worst, limit) for limit in (5, 10, 20)}
    there = np.isfinite(worst)
    if there.any():
        say(
            f"rotation {np.median(turns[there]):.3f} deg, position {np.median(places[there]):.3f} {unit} in the median "
            f"of {there.sum()} of {len(worst)}; worst {turns[there].max():.3f} and {places[there].max():.3f}; "
            + ", ".join(f"AUC@{name[4:]} {area:.3f}" for name, area in areas.items())
        )
    return {
        "rotation_degrees": [finite(float(value)) for value in turns],
        "position": [finite(float(value)) for value in places],
        "position_unit": unit,
        **areas,
    }


def _middle(gaussians: Gaussians) -> Float[np.ndarray, " 3"]:
    origin = gaussians.origin
    return np.median(gaussians.means, axis=0) * origin.scale + np.asarray(origin.center)
