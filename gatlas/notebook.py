"""Pictures of the data types for notebooks, which show what the last line of a cell is.

`gatlas.types` imports nothing that draws: its classes load this module when a notebook asks them for a picture.
"""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatlas.errors import GatlasError
from gatlas.geometry.sh import degree_of
from gatlas.images.resize import reduce_picture, reduced_size
from gatlas.images.sheets import atlas_picture, contact_sheet
from gatlas.io.arrays import host_array
from gatlas.io.images import encode_png
from gatlas.io.viewer.page import encode_page
from gatlas.render import RenderOptions, render
from gatlas.render.page import PageSplat, splat_page
from gatlas.types import Atlas, Gaussians, Mesh, MixedViews, Views

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.types import AnyViews

    Shown = Gaussians | Mesh | Atlas | Views | MixedViews

SIDE = 384  # pixels of a picture of an object
MOST_VIEWS, VIEW_SIDE = 16, 160  # of a contact sheet
PLANE_SIDE = 160  # pixels of a plane of an atlas, at least


def png_of(shown: Shown) -> bytes | None:
    """Return a PNG of an object (numpy or torch); None where there is nothing to show."""
    try:
        picture = picture_of(shown)
        return None if picture is None else encode_png(picture)
    except GatlasError:
        return None  # such as values that are NaN: the text of the object is shown instead


def html_of(shown: Shown) -> str:
    """Return the picture of an object with a line below it of how many things it holds."""
    png = png_of(shown)
    facts = html.escape(describe(shown))
    if png is None:
        return f"<div>{facts}</div>"
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f'<div><img src="{source}" alt="{facts}" style="max-width: 100%"><br>{facts}</div>'


def viewer(*gaussians: Gaussians, height: int = 480) -> PageFrame:
    """Return a page of splats (numpy or torch) that can be turned, for the last line of a cell; `height` in pixels.

    The notebook holds the page: 0.4 MB for 16,384 Gaussians.
    """
    splats = [PageSplat(each.origin.name, _on_host(each)) for each in gaussians]
    page = splat_page(splats, RenderOptions(background="transparent"))
    return PageFrame(b"".join(encode_page(page)).decode(), height)


@dataclass(frozen=True)
class PageFrame:
    """A page in a frame of a notebook."""

    page: str = field(repr=False)  # HTML
    height: int  # pixels

    def _repr_html_(self) -> str:
        style = f"width: 100%; height: {self.height}px; border: 0"
        return f'<iframe srcdoc="{html.escape(self.page)}" style="{style}" sandbox="allow-scripts"></iframe>'


def describe(shown: Shown) -> str:
    """Return what an object is, in a few words."""
    if isinstance(shown, Atlas):
        return f"Atlas of {shown.size} x {shown.size} cells"
    if isinstance(shown, (Views, MixedViews)):
        sizes = sorted(set(shown.cameras.sizes))
        of = f"{sizes[0][0]} x {sizes[0][1]} pixels" if len(sizes) == 1 else f"{len(sizes)} sizes"
        return f"{len(shown)} view{'s' * (len(shown) != 1)} of {of}" if sizes else "0 views"
    name = f"{shown.origin.name}: " if shown.origin.name else ""
    if isinstance(shown, Mesh):
        return f"{name}{len(shown.vertices):,} vertices, {len(shown.faces):,} triangles"
    return f"{name}{len(shown):,} Gaussians, spherical harmonics of degree {degree_of(shown.sh.shape[1])}"


def picture_of(shown: Shown) -> Float[np.ndarray, "h w d"] | None:
    """Return a picture of an object over white; the views' own colors, the planes of an atlas. None of nothing."""
    if isinstance(shown, (Views, MixedViews)):
        return contact_sheet(_small_views(shown)) if len(shown) else None
    if isinstance(shown, Atlas):
        return atlas_picture(_on_host(shown), PLANE_SIDE)
    if len(shown.faces if isinstance(shown, Mesh) else shown) == 0:
        return None
    picture: Float[np.ndarray, "h w d"] = render(_on_host(shown), RenderOptions(width=SIDE)).images[0]
    return picture


def _on_host(shown: Any) -> Any:
    """Return the object with numpy arrays in place of tensors."""
    tensors = {f.name: getattr(shown, f.name) for f in fields(shown) if hasattr(getattr(shown, f.name), "detach")}
    return replace(shown, **{name: host_array(tensor).astype(np.float32) for name, tensor in tensors.items()})


def _small_views(views: AnyViews) -> list[Float[np.ndarray, "_ _ d"]]:
    """Return small pictures of some of the views, evenly picked."""
    picked = np.unique(np.linspace(0, len(views) - 1, min(len(views), MOST_VIEWS)).round().astype(int))
    pictures = [host_array(views.images[i]).astype(np.float32) for i in picked]
    return [reduce_picture(each, *reduced_size(each.shape[1], each.shape[0], VIEW_SIDE)) for each in pictures]
