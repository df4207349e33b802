"""Maps of what cameras see of Gaussians or a mesh: depth, normals, alpha, overdraw, and errors of color."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from gatlas.config import Report, ignore
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import camera_centers
from gatlas.geometry.rotations import quats_to_matrices
from gatlas.geometry.sh import rgb_to_dc
from gatlas.images.colormap import viridis
from gatlas.images.legend import color_bar, stacked
from gatlas.images.sheets import contact_sheet
from gatlas.meshes.edits import normalize_mesh
from gatlas.meshes.render import mesh_hits
from gatlas.raster import median_depths, overdraw, rasterize
from gatlas.render.views import choose_cameras, prepared, take_views
from gatlas.types import Gaussians, Mesh

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Float64

    from gatlas.images.colors import Background
    from gatlas.render.options import RenderOptions
    from gatlas.types import AnyCameras, Cameras

    Show = Literal["color", "depth", "normal", "alpha", "overdraw", "error"]

LABELS = {
    "depth": "depth, in units of the object",
    "overdraw": "Gaussians blended in a pixel",
    "error": "error of color, root mean square over red, green and blue",
}
HIGHEST_SHARE = 0.999  # of the pixels: the errors of the rest have the last color
TO_COLOR = np.array([0.5, -0.5, -0.5], dtype=np.float32)  # of a normal: right, up and towards the viewer
SHOWN_ALPHA = 0.5  # from which a pixel has a depth and a normal


class Maps(NamedTuple):
    """One map for each camera."""

    show: Show
    # color: straight RGBA. depth: z in the camera, units of the object, 0 where alpha is below a half. normal: unit, in
    # the camera (x right, y down, z forward), towards it, 0 where there is no depth. overdraw: a count.
    values: tuple[Float32[np.ndarray, "h w *d"], ...]
    cameras: AnyCameras


def render_maps(
    subject: Gaussians | Mesh, options: RenderOptions, cameras: AnyCameras | None = None, *, report: Report = ignore
) -> Maps:
    """Return the maps that `options.show` names (numpy), but "error": see `gatlas.render.comparison`.

    The cameras are those of `gatlas.render.render`. A depth is the median depth, of the Gaussian behind which half of
    the light is gone. A normal is the mean, by the weights of blending, of the Gaussians' shortest axes.
    """
    if options.show == "overdraw" and isinstance(subject, Mesh):
        raise GatlasError("overdraw is of Gaussians: a mesh has none")
    subject, shading, device = prepared(subject, options, report)
    chosen = choose_cameras(subject, options, cameras)
    if isinstance(subject, Mesh):
        subject = normalize_mesh(subject)
    found = []
    for camera in chosen:
        if options.show in ("color", "alpha"):
            look = {"device": device, "supersample": options.supersample, "shading": shading}
            image = take_views(subject, camera, None, **look).images[0]  # type: ignore[arg-type]
            found.append(image[..., 3] if options.show == "alpha" else image)
        elif isinstance(subject, Mesh):
            found.append(_of_mesh(subject, camera, options.show))
        else:
            found.append(_of_gaussians(subject, camera, options.show, device))
    return Maps(options.show, tuple(np.asarray(each, dtype=np.float32) for each in found), chosen)


def _of_gaussians(gaussians: Gaussians, camera: Cameras, show: str, device: str) -> Float[np.ndarray, "h w *d"]:
    if show == "overdraw":
        return overdraw(gaussians, camera)[0].astype(np.float32)
    backend: Literal["cuda", "cpu"] = "cuda" if device == "cuda" else "cpu"
    if show == "depth":
        return median_depths(gaussians, camera, backend=backend)[0, ..., 0]
    towards = camera_centers(np.asarray(camera.viewmats, dtype=np.float64))[0] - gaussians.means
    axes = shortest_axes(gaussians)
    axes *= np.where((axes * towards).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    axes = axes @ np.asarray(camera.viewmats[0, :3, :3], dtype=np.float64).T
    colored = replace(gaussians, sh=rgb_to_dc(axes[:, None] / 2 + 0.5).astype(np.float32))
    rendering = rasterize(colored, camera, backend=backend)
    alphas = rendering.alphas[0]
    mean = 2 * rendering.colors[0] - alphas  # of colors (n + 1) / 2 that alpha weighs
    return np.where(alphas >= SHOWN_ALPHA, _unit(mean), 0.0)


def shortest_axes(gaussians: Gaussians) -> Float64[np.ndarray, "n 3"]:
    """Return the axis along which each Gaussian (numpy) is thinnest: a unit vector, of either sign."""
    quats = np.asarray(gaussians.quats, dtype=np.float64)
    axes = quats_to_matrices(quats / np.linalg.norm(quats, axis=1, keepdims=True))  # columns
    return axes[np.arange(len(axes)), :, np.argmin(gaussians.scales, axis=1)]


def _of_mesh(mesh: Mesh, camera: Cameras, show: str) -> Float[np.ndarray, "h w *d"]:
    hits = mesh_hits(mesh, camera)
    there = hits.faces[0] >= 0
    if show == "depth":
        return np.where(there, hits.depths[0], 0.0)
    a, b, c = np.moveaxis(np.asarray(mesh.vertices, dtype=np.float64)[np.asarray(mesh.faces)], 1, 0)
    normals = _unit(np.cross(b - a, c - a)) @ np.asarray(camera.viewmats[0, :3, :3], dtype=np.float64).T
    found = normals[hits.faces[0]]
    rays = _rays(camera)
    found *= np.where((found * rays).sum(axis=-1, keepdims=True) > 0, -1.0, 1.0)
    return np.where(there[..., None], found, 0.0)


def _rays(camera: Cameras) -> Float64[np.ndarray, "h w 3"]:
    """Return the directions of the pixels in the camera."""
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    return pixels @ np.linalg.inv(np.asarray(camera.Ks[0], dtype=np.float64)).T


def _unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def map_range(maps: Maps) -> tuple[float, float]:
    """Return the values of the first and of the last color of all maps."""
    if maps.show == "depth":
        depths = np.concatenate([each[each > 0] for each in maps.values])
        return (float(depths.min()), float(depths.max())) if len(depths) else (0.0, 1.0)
    values = np.concatenate([each.reshape(-1) for each in maps.values])
    high = float(np.quantile(values, HIGHEST_SHARE)) if maps.show == "error" else float(values.max())
    return 0.0, high or float(values.max()) or 1.0


def map_pictures(maps: Maps, background: Background) -> list[Float32[np.ndarray, "h w d"]]:
    """Return the maps as pictures in [0, 1]: RGB over a background, or RGBA where it is None.

    Depth, overdraw and error are in viridis, over the range of all maps. A normal (x, y, z) towards the right, the top
    and the viewer has the color (x, y, z) / 2 + 1/2. Alpha is gray.
    """
    if maps.show == "alpha":
        return [np.repeat(each[..., None], 3, axis=2) for each in maps.values]
    if maps.show == "error":
        return [viridis(each / map_range(maps)[1]) for each in maps.values]
    pictures = []
    low, high = (0.0, 1.0) if maps.show == "normal" else map_range(maps)
    for each in maps.values:
        if maps.show == "normal":
            there, colors = each.any(axis=-1, keepdims=True), each * TO_COLOR + 0.5
        else:
            there, colors = (each > 0)[..., None], viridis((each - low) / ((high - low) or 1.0))
        if background is None:
            pictures.append(np.concatenate([colors * there, there], axis=2, dtype=np.float32))
        else:
            pictures.append(np.where(there, colors, np.array(background, dtype=np.float32)).astype(np.float32))
    return pictures


def map_sheet(maps: Maps, background: Background) -> Float32[np.ndarray, "h w d"]:
    """Return all maps in one picture, with a color bar below where colors stand for numbers."""
    sheet = contact_sheet(map_pictures(maps, background))
    if maps.show not in LABELS:
        return sheet
    return stacked(sheet, color_bar(sheet.shape[1], *map_range(maps), LABELS[maps.show]))
