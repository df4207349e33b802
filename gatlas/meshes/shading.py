"""The shading that "auto" means for a mesh: unlit where its own colors show its form, else a headlight.

Measured in a few small pictures: of the steps between neighboring pixels of the lit picture, which show the form, the
unlit one should have at least half. An engine in two greys, or white with one red valve, has few; a figure whose parts
differ in color, or whose colors have light baked into them, has most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from gatlas.config import Report, ignore
from gatlas.geometry.cameras import fibonacci_views
from gatlas.meshes.colors import check_indices
from gatlas.meshes.draw import draw_images
from gatlas.meshes.edits import normalize_mesh

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import Mesh

    Shading = Literal["auto", "unlit", "headlight"]

SHADINGS = ("auto", "unlit", "headlight")
_VIEWS, _SIDE, _SUPERSAMPLE = 6, 128, 2
_EDGE = 0.03  # sRGB; the smallest step between two pixels that is an edge
_SHADE = 0.005  # sRGB; the smallest step that shows form: a round surface has no edges
_FAINTEST = 0.25  # of a step by light: colors with light baked into them show it fainter
_LEAST = 0.5  # share of the steps by light that colors must show; measured: two greys 0.15-0.46, many colors 0.55-1.0
_LEAST_TEXTURED = 0.1  # textures are made to be seen as they are, unless they show next to nothing
_PAINTED, _DENSE = 0.02, 0.3  # of the pixels: textures, and other colors, with more edges need no comparison


class ShadingChoice(NamedTuple):
    """The meaning of "auto" for a mesh."""

    shading: Literal["unlit", "headlight"]
    message: str = ""  # what decided, for the user; "" where it goes without saying


def choose_shading(mesh: Mesh, shading: Shading, report: Report = ignore) -> Literal["unlit", "headlight"]:
    """Return the shading that is asked for, or what "auto" means for the mesh, which is reported.

    An unknown one is a ValueError.
    """
    if shading not in SHADINGS:
        raise ValueError(f"shading must be one of {', '.join(SHADINGS)}, got {shading!r}")
    if shading != "auto":
        return shading
    choice = auto_shading(mesh)
    if choice.message:
        report(choice.message)
    return choice.shading


def auto_shading(mesh: Mesh) -> ShadingChoice:
    """Return the shading that "auto" means for a mesh in any units.

    A file may say of all its materials that they are unlit. A mesh of a single color is lit. All others are unlit where
    that shows their form.
    """
    check_indices(mesh)
    used = [mesh.materials[i] for i in np.unique(mesh.face_materials)]
    if all(material.unlit for material in used):
        return ShadingChoice("unlit")
    textured = any(material.texture >= 0 or material.emissive_texture >= 0 for material in used)
    plain = len({(material.factor, material.emissive) for material in used}) == 1
    if plain and not textured and bool((np.asarray(mesh.colors)[np.unique(mesh.faces)] == 1.0).all()):
        return ShadingChoice("headlight", "the mesh has no textures and a single color: shading it with a headlight")
    return _compare(normalize_mesh(mesh), textured)


def _compare(mesh: Mesh, textured: bool) -> ShadingChoice:
    """The choice by pictures of a mesh in the unit ball."""
    cameras = fibonacci_views(_VIEWS, _SIDE, _SIDE)
    unlit = draw_images(mesh, cameras, _SUPERSAMPLE, lit=False)
    colored = steps(unlit)
    share = float((colored > _EDGE).sum() / max((unlit[..., 3] == 1).sum(), 1))
    if textured and share >= _PAINTED:
        return ShadingChoice("unlit")
    if share >= _DENSE:
        return ShadingChoice("unlit", "the colors of the mesh show its form: shading it unlit")
    lit = steps(draw_images(mesh, cameras, _SUPERSAMPLE, lit=True))
    form = lit > _SHADE
    shown = float((_widened(colored)[form] >= _FAINTEST * lit[form]).mean()) if form.any() else 1.0
    said = f"the colors of the mesh alone show {shown:.0%} of the form that light shows"
    if shown >= (_LEAST_TEXTURED if textured else _LEAST):
        return ShadingChoice("unlit", f"{said}: shading it unlit")
    return ShadingChoice("headlight", f"{said}: shading it with a headlight (--shading unlit takes the colors alone)")


def steps(images: Float[np.ndarray, "c h w 4"]) -> Float[np.ndarray, "c h w"]:
    """Return the steps (sRGB) from each pixel to the next one to the right or below, 0 where one is not inside."""
    inside = images[..., 3] == 1
    found = np.zeros(inside.shape)
    for axis in (1, 2):
        here = tuple(slice(None, -1) if k == axis else slice(None) for k in range(3))
        there = tuple(slice(1, None) if k == axis else slice(None) for k in range(3))
        step = np.abs(images[there][..., :3] - images[here][..., :3]).max(axis=-1)
        found[here] = np.maximum(found[here], step * (inside[here] & inside[there]))
    return found


def _widened(found: Float[np.ndarray, "c h w"]) -> Float[np.ndarray, "c h w"]:
    """The largest step at each pixel and its eight neighbors."""
    from scipy.ndimage import maximum_filter

    wide: Float[np.ndarray, "c h w"] = maximum_filter(found, (1, 3, 3))
    return wide
