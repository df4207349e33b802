"""The ways in which a photo's camera is found: given correspondences, the pixel grid of the splat, and renders."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gatlas.geometry.rays import directions_of
from gatlas.images.composite import composite
from gatlas.images.crop import cover
from gatlas.pose.compare import Camera, make_target
from gatlas.pose.locate import CONFIDENT_INLIERS, locate
from gatlas.pose.motion import rotation_angle
from gatlas.pose.refinement import agreement_at, evaluate_camera
from gatlas.pose.results import FoundCamera, NotFound, PoseResult, RunnerUp
from gatlas.pose.solve import GRID_THRESHOLD, grid_correspondences, solve_pnp

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.config import Report
    from gatlas.io.photos.photo_loader import UndistortedPhoto
    from gatlas.pose.bank import FeatureBank
    from gatlas.pose.refinement import RefineOptions
    from gatlas.types import Gaussians

MATCH_THRESHOLD = 3 / 256  # of the photo's longer side: largest error of a given correspondence that agrees
GRID_AGREEMENT = 0.5  # of a photo with the Gaussians of its pixels; measured: 0.65 to 0.84, of other photos under 0.05


def grid_photos(gaussians: Gaussians) -> int:
    """Return the number of photos that a pixel-aligned splat was sampled from; 0 where it has no pixel grid."""
    grid = gaussians.origin.grid
    return 0 if grid is None else len(gaussians) // (grid[0] * grid[1])


def find_by_matches(
    photo: UndistortedPhoto,
    points: Float[np.ndarray, "m 3"],
    pixels: Float[np.ndarray, "m 2"],
    *,
    min_inliers: int,
    threshold: float | None = None,
    method: str = "matches",
) -> FoundCamera | NotFound:
    """Return the camera with which most correspondences agree, to within `threshold` pixels.

    It is reliable where more than half of them agree.
    """
    threshold = MATCH_THRESHOLD * max(photo.size) if threshold is None else threshold
    solution = solve_pnp(points, pixels, photo.K, threshold=threshold, min_inliers=min_inliers)
    if solution is None:
        return NotFound(f"fewer than {min_inliers} of {len(points)} correspondences agree")
    result = PoseResult(
        solution.viewmat,
        photo.K,
        method,
        inliers=solution.count,
        correspondences=len(points),
        residual=solution.residual,
    )
    return FoundCamera(
        solution.viewmat,
        result,
        points[solution.inliers],
        pixels[solution.inliers],
        reliable=2 * solution.count > len(points),
        outweighs_pictures=True,
    )


def find_by_grid(
    gaussians: Gaussians, number: int, photo: UndistortedPhoto, *, min_inliers: int, options: RefineOptions
) -> FoundCamera | NotFound:
    """Return the camera of photo `number` by the Gaussians of its own pixels, which are a crop of its middle.

    Such Gaussians agree with their pixels whichever photo is given: only the picture shows whether they are its own.
    """
    rows, columns = gaussians.origin.grid or (0, 0)
    width, height = photo.size
    size = np.array([[width], [height], [1.0]])
    _, normalized = cover(photo.image, photo.K / size, columns, rows)
    # The crop at the grid's size has the intrinsics `crop_K`: back to the photo's own pixels.
    crop_K = normalized * np.array([[columns], [rows], [1.0]])
    points, pixels = grid_correspondences(gaussians, number, columns, rows)
    rays = directions_of(pixels, crop_K)
    threshold = GRID_THRESHOLD * max(columns, rows) * float(photo.K[0, 0] / crop_K[0, 0])
    pixels = (rays @ photo.K.T)[:, :2]
    found = find_by_matches(photo, points, pixels, min_inliers=min_inliers, threshold=threshold, method="grid")
    if isinstance(found, NotFound):
        return found
    target = make_target(composite(photo.image, 0.0), photo.mask, options.background, options.side)
    camera = Camera(found.viewmat, photo.K)
    evaluation = evaluate_camera(gaussians, target, camera, options)
    agreement = agreement_at(gaussians, target, camera, evaluation.exposure, [evaluation.comparison])
    if not agreement >= GRID_AGREEMENT:
        return NotFound(f"the Gaussians explain only {agreement:.0%} of the photo there")
    return replace(found, result=replace(found.result, agreement=agreement), on_black=True)


def find_by_renders(
    bank: FeatureBank, photo: UndistortedPhoto, *, min_inliers: int, report: Report
) -> FoundCamera | NotFound:
    """Return the camera by matches with renders, see `locate`; an ambiguous one is reported."""
    located = locate(bank, photo.image, photo.K, mask=photo.mask, min_inliers=min_inliers)
    if isinstance(located, NotFound):
        return located
    other = located.runner_up
    result = PoseResult(
        located.viewmat,
        photo.K,
        "render",
        inliers=located.inliers,
        cost=located.cost,
        residual=float(np.median(located.residuals)) if len(located.residuals) else None,
        runner_up=None if other is None else RunnerUp(other.viewmat, other.inliers, other.cost),
        ambiguous=other is not None and bool(located.ambiguous),
    )
    if other is not None and located.ambiguous:
        apart = rotation_angle(other.viewmat, located.viewmat)
        report(f"{photo.path}: ambiguous: a camera {apart:.0f} degrees away fits nearly as well: see runner_up")
    return FoundCamera(
        located.viewmat, result, located.points, located.pixels, reliable=located.inliers >= CONFIDENT_INLIERS
    )
