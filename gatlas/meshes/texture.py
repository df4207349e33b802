"""The colors of a mesh of a splat: a texture or vertex colors that show in the mesh what the splat shows.

The splat and the mesh are seen by the same cameras. A texel is the weighted mean of the pixels that see it, corrected
by rounds of simultaneous algebraic reconstruction, which bring the mesh's own pictures closer to the splat's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatlas.images.srgb import srgb_to_linear, to_bytes
from gatlas.meshes.baking import Samples, Unknowns, add_by_face, add_residuals, paint_faces, take_samples
from gatlas.meshes.colors import face_normals, unit
from gatlas.meshes.depth_maps import parts_of
from gatlas.meshes.render import mesh_hits
from gatlas.meshes.unwrap import unwrap
from gatlas.raster.threads import announced_compilation, get_num_threads, launch, split_range
from gatlas.types import Material, Mesh, Texture

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, Float64, Int

    from gatlas.meshes.splat_views import SplatViews

TOLERANCE = 0.02  # of the object's radius: depths that differ more are of different surfaces


class Observations(NamedTuple):
    """A mesh that has no colors yet, and what views of a splat show of it."""

    mesh: Mesh
    size: int  # texels a side; 0: vertex colors
    groups: list[Samples]


def colored(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    views: SplatViews,
    *,
    size: int = 1024,
    rounds: int = 1,
    radius: float = 1.0,
    lit: bool = False,
) -> Mesh:
    """Return a surface in the frame of a splat as a mesh with the colors that views of the splat show.

    See `observe` and `with_colors`; between the two the views may be freed.
    """
    return with_colors(observe(vertices, faces, views, size=size, radius=radius, lit=lit), rounds)


def observe(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    views: SplatViews,
    *,
    size: int = 1024,
    radius: float = 1.0,
    lit: bool = False,
    on_view: Callable[[], None] = lambda: None,
) -> Observations:
    """Return what views of a splat show of a surface in its frame.

    With `size` > 0 the mesh has a texture of so many texels a side, else vertex colors. `radius` is that of the object,
    in world units. The material is unlit, since the colors hold the light of the splat, unless `lit`. `on_view` is
    called once per view.
    """
    if size:
        sources, faces, uvs = unwrap(vertices, faces, size)
        vertices = vertices[sources]
    else:
        uvs = np.zeros((len(vertices), 2), dtype=np.float32)
    mesh = Mesh(
        vertices=vertices,
        faces=np.ascontiguousarray(faces, dtype=np.int32),
        face_materials=np.zeros(len(faces), dtype=np.int32),
        uvs=uvs,
        colors=np.ones((len(vertices), 4), dtype=np.float32),
        materials=(Material(unlit=not lit),),
    )
    groups = []
    for part in parts_of(views.cameras):
        groups.append(take(mesh, views, part, radius))
        for _ in range(part.start, part.stop):
            on_view()
    return Observations(mesh, size, groups)


def with_colors(observations: Observations, rounds: int = 1) -> Mesh:
    """Return the mesh with the colors that were observed, after so many rounds of correction.

    Parts that no camera sees have the colors of the nearest part that one does.
    """
    mesh, size, groups = observations
    corners = (np.asarray(mesh.uvs)[mesh.faces] * size).reshape(-1, 6).astype(np.float32)
    unknowns = Unknowns(mesh.faces, corners, size, size)
    return _with_colors(mesh, solve(groups, unknowns, face_centers(mesh), rounds), size)


def _with_colors(mesh: Mesh, values: Float64[np.ndarray, "t 3"], size: int) -> Mesh:
    if size:
        pixels = np.full((size, size, 4), 255, dtype=np.uint8)
        pixels[..., :3] = to_bytes(values).reshape(size, size, 3)
        material = replace(mesh.materials[0], texture=0)
        return replace(mesh, materials=(material,), textures=(Texture(pixels, ("clamp", "clamp")),))
    colors = mesh.colors.copy()
    colors[:, :3] = srgb_to_linear(values)
    return replace(mesh, colors=colors)


def face_centers(mesh: Mesh) -> Float64[np.ndarray, "f 3"]:
    """Return the middles of the faces."""
    centers: Float64[np.ndarray, "f 3"] = np.asarray(mesh.vertices, dtype=np.float64)[mesh.faces].mean(axis=1)
    return centers


def take(mesh: Mesh, views: SplatViews, part: slice, radius: float) -> Samples:
    """Return what the pixels of some of the views show of the mesh, in the colors of the splat, view by view."""
    cameras, depths = views.cameras[part], views.maps.depths[part]
    hits = mesh_hits(mesh, cameras)
    normals = unit(face_normals(mesh))
    found: list[Samples | None] = [None] * len(cameras)

    def take_views(start: int, stop: int) -> None:
        for i in range(start, stop):
            view, K = (np.asarray(each[i], dtype=np.float64) for each in (cameras.viewmats, cameras.Ks))
            rays = view[:3, :3].T @ np.linalg.inv(K)
            room = _room(int((hits.faces[i] >= 0).sum()))
            count = take_samples(
                views.pictures[part][i],
                depths[i],
                hits.faces[i],
                hits.barycentrics[i],
                hits.depths[i],
                normals,
                rays,
                TOLERANCE * radius,
                room,
            )
            found[i] = Samples(*(array[:count] for array in room))

    with announced_compilation(take_samples):
        launch(take_views, split_range(len(cameras), get_num_threads()))
    return Samples(*(np.concatenate(arrays) for arrays in zip(*(each for each in found if each), strict=True)))


def _room(count: int) -> Samples:
    return Samples(
        np.empty(count, dtype=np.int32),
        np.empty((count, 2), dtype=np.uint16),
        np.empty((count, 3), dtype=np.uint8),
        np.empty(count, dtype=np.float32),
    )


def solve(
    groups: list[Samples], unknowns: Unknowns, centers: Float64[np.ndarray, "f 3"], rounds: int
) -> Float64[np.ndarray, "t 3"]:
    """Return the colors of the unknowns, sRGB in [0, 1]; `centers` are those of the faces."""
    count = unknowns.width * unknowns.height or int(unknowns.faces.max()) + 1
    values, sums = np.zeros((count, 3)), np.zeros((count, 4))
    with announced_compilation(add_residuals):
        for samples in groups:
            add_residuals(samples, unknowns, values, sums)
    seen = sums[:, 3] > 0
    values[seen] = sums[seen, :3] / sums[seen, 3:]
    known = seen.copy()
    _paint_unseen(groups, unknowns, centers, values, known)
    sources = _nearest_known(known, unknowns) if unknowns.width else np.arange(count)
    values = values[sources]
    for _ in range(rounds):
        sums[:] = 0
        for samples in groups:
            add_residuals(samples, unknowns, values, sums)
        values[seen] = np.clip(values[seen] + sums[seen, :3] / sums[seen, 3:], 0.0, 1.0)
        values = values[sources]
    return values


def _paint_unseen(
    groups: list[Samples],
    unknowns: Unknowns,
    centers: Float64[np.ndarray, "f 3"],
    values: Float64[np.ndarray, "t 3"],
    known: Bool[np.ndarray, " t"],
) -> None:
    """Give faces that no pixel shows the color of the nearest that one does; gray where there is none."""
    from scipy.spatial import cKDTree

    sums = np.zeros((len(centers), 4))
    for samples in groups:
        add_by_face(samples, sums)
    seen = sums[:, 3] > 0
    colors = np.full((len(centers), 3), 0.5)
    colors[seen] = sums[seen, :3] / sums[seen, 3:]
    if seen.any() and not seen.all():
        colors[~seen] = colors[np.flatnonzero(seen)[cKDTree(centers[seen]).query(centers[~seen])[1]]]
    paint_faces(np.flatnonzero(~seen), unknowns, colors, values, known)


def _nearest_known(known: Bool[np.ndarray, " t"], unknowns: Unknowns) -> Int[np.ndarray, " t"]:
    """Return for each texel the known one that is nearest in the texture, itself where it is known."""
    from scipy.ndimage import distance_transform_edt

    if not known.any():
        return np.arange(len(known))
    picture = known.reshape(unknowns.height, unknowns.width)
    rows, columns = distance_transform_edt(~picture, return_distances=False, return_indices=True)
    nearest: Int[np.ndarray, " t"] = (rows.astype(np.int64) * unknowns.width + columns).reshape(-1)
    return nearest
