"""The visual hull: all of space that no picture shows as empty (Laurentini 1994), on a grid of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.errors import GatlasError
from gatlas.fit.projection import project_points
from gatlas.fit.scene_frame import SceneFrame

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Num

    from gatlas.types import AnyViews

COARSE = 48  # cells a side of the first grid, each of which is then divided in 8
LEVELS = 2  # divisions
REACH = 1.5  # half side of the grid, in radii of the frame
SHOWN = 0.5  # of the pictures must show a cell, or the parts in front of few cameras would stay
MISSES = 0.02  # of the pictures that show a cell may be wrong about it
SOLID = 0.5  # alpha above which a pixel shows the object


class Hull(NamedTuple):
    """The cells of the hull."""

    filled: Bool[np.ndarray, "g g g"]  # x, y, z
    corner: Float[np.ndarray, " 3"]  # world position of the grid's lowest corner
    cell: float  # world units a side

    def centers(self, cells: Num[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """World positions of the middles of cells that are given by their indices."""
        return self.corner + (cells + 0.5) * self.cell


class HullSurface(NamedTuple):
    """Random points on a surface."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]  # unit, outward
    area: float  # of the whole surface, world units squared


def carve_hull(views: AnyViews, frame: SceneFrame) -> Hull:
    """The hull of RGBA views within a cube about the frame; a GatlasError where the silhouettes leave nothing.

    A cell is carved where the pictures show it as empty. So are parts that fewer than half of the pictures show.
    """
    if views.channels != 4:
        raise ValueError(f"a visual hull needs RGBA views, got {views.channels} channels")
    solid = _silhouettes(views)
    corner = frame.center - REACH * frame.radius
    side = COARSE
    cell = 2 * REACH * frame.radius / side
    cells = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    for level in range(LEVELS + 1):
        reach = 0.5 * np.sqrt(3) * cell if level < LEVELS else 0.0  # in the end a cell is where its middle is
        cells = cells[_uncarved(corner + (cells + 0.5) * cell, reach, views, solid)]
        if len(cells) == 0:
            raise GatlasError(
                "the visual hull is empty: no part of space is inside the silhouettes of all pictures: "
                "check the masks (white is the object) and the poses"
            )
        if level < LEVELS:
            octants = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
            cells = (2 * cells[:, None] + octants).reshape(-1, 3)
            side, cell = 2 * side, cell / 2
    filled = np.zeros((side, side, side), dtype=bool)
    filled[tuple(cells.T)] = True
    return Hull(filled, corner, cell)


def hull_surface(hull: Hull, count: int, rng: np.random.Generator) -> HullSurface:
    """`count` points spread evenly, at random, over the hull's surface, with normals."""
    from scipy.ndimage import binary_erosion, gaussian_filter

    padded = np.pad(hull.filled, 2)
    shell = np.argwhere(padded & ~binary_erosion(padded))  # [m 3]: filled, with an empty neighbor across a face
    smooth = gaussian_filter(padded.astype(np.float32), 1.0)
    x, y, z = shell.T
    slope = (
        np.stack(
            [
                smooth[x + 1, y, z] - smooth[x - 1, y, z],
                smooth[x, y + 1, z] - smooth[x, y - 1, z],
                smooth[x, y, z + 1] - smooth[x, y, z - 1],
            ],
            axis=-1,
        )
        / 2
    )  # per cell
    steepness = np.linalg.norm(slope, axis=1, keepdims=True)
    normals = -slope / np.maximum(steepness, 1e-6)
    normals[steepness[:, 0] < 1e-6] = (0.0, 1.0, 0.0)  # a cell on its own has no side
    # A plane has one such cell per cell of the axis plane that it faces most, so tilted parts have fewer per area.
    areas = hull.cell**2 / np.maximum(np.abs(normals).max(axis=1), 0.5)
    chosen = rng.choice(len(shell), size=count, p=areas / areas.sum())
    jitter = rng.uniform(-0.5, 0.5, size=(count, 3))
    jitter -= normals[chosen] * np.einsum("ni,ni->n", jitter, normals[chosen])[:, None]
    # From the cell's middle to where the smoothed hull is half full: the surface between the steps of the cells.
    outward = np.clip((smooth[x, y, z] - 0.5)[:, None] / np.maximum(steepness, 1e-6), -1.0, 1.0)[chosen]
    places = shell[chosen] - 2 + jitter + outward * normals[chosen]
    return HullSurface(hull.centers(places), normals[chosen], float(areas.sum()))


def hull_frame(hull: Hull) -> SceneFrame:
    """The ball about the middle of the hull's bounding box that holds all of its cells."""
    centers = hull.centers(np.argwhere(hull.filled))
    center = (centers.min(axis=0) + centers.max(axis=0)) / 2
    farthest = float(np.linalg.norm(centers - center, axis=1).max())
    return SceneFrame(center, farthest + float(0.5 * np.sqrt(3) * hull.cell))


def inside_silhouettes(points: Float[np.ndarray, "n 3"], views: AnyViews, tolerance: float) -> Bool[np.ndarray, " n"]:
    """Return True for points that at most the share `tolerance` of the RGBA views that show them show as empty."""
    seen, missed = _votes(points, views, _silhouettes(views))
    return missed <= tolerance * seen


def _silhouettes(views: AnyViews) -> list[Bool[np.ndarray, "_ _"]]:
    """Each view's pixels that show the object."""
    return [image[..., 3] > SOLID for image in views.images]


def _uncarved(
    centers: Float[np.ndarray, "n 3"], reach: float, views: AnyViews, solid: list[Bool[np.ndarray, "_ _"]]
) -> Bool[np.ndarray, " n"]:
    """Places within `reach` of which the object may be: the silhouettes are grown by that, in world units."""
    from scipy.ndimage import maximum_filter

    cameras = views.cameras
    middle = centers.mean(axis=0)
    grown = []
    for index in range(len(cameras)):
        depth = float(project_points(middle[None], cameras, index).depths[0])
        pixels = reach * float(cameras.Ks[index, 0, 0]) / max(depth, reach) if reach else 0.0
        size = 2 * int(np.ceil(min(pixels, cameras.sizes[index][0]))) + 1
        grown.append(maximum_filter(solid[index], size=size, mode="constant"))
    seen, missed = _votes(centers, views, grown)
    return (seen >= max(SHOWN * len(cameras), min(2, len(cameras)))) & (missed <= MISSES * seen)


def _votes(
    points: Float[np.ndarray, "n 3"], views: AnyViews, solid: list[Bool[np.ndarray, "_ _"]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of views that show each point, and the number of these that show it as empty."""
    seen, missed = np.zeros(len(points), dtype=np.int32), np.zeros(len(points), dtype=np.int32)
    if views.cameras.viewmats.dtype == np.float32:
        points = np.asarray(points, dtype=np.float32)
    for index in range(len(views)):
        found = project_points(points, views.cameras, index)
        seen += found.inside
        missed += found.inside & ~solid[index][found.rows, found.columns]
    return seen, missed
