"""Splats as a page for a browser: the first frame of each, and where the camera begins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from gatlas.errors import GatlasError
from gatlas.images.colors import parse_background
from gatlas.images.sheets import atlas_picture
from gatlas.io.viewer.page import TOGETHER, Page, ShownSplat
from gatlas.render.views import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatlas.render.options import RenderOptions
    from gatlas.types import Atlas, Gaussians

SIDE, SMALL_SIDE = 512, 256  # pixels of the first frame, of one splat and of several


class PageSplat(NamedTuple):
    """A splat that a page shall show."""

    name: str
    gaussians: Gaussians  # numpy, upright
    atlas: Atlas | None = None  # shown below the splat


def splat_page(splats: Sequence[PageSplat], options: RenderOptions) -> Page:
    """Return the page of some splats, which begins as `options` say: elevation, azimuth, background.

    Without a background it is white; transparent is the browser's own, light or dark. Splats of one name are numbered.
    """
    side = SIDE if len(splats) == 1 else SMALL_SIDE
    look = replace(options, background="transparent", orbit=1, width=side, height=side)
    names = _distinct([each.name or "splat" for each in splats])
    shown = []
    for name, each in zip(names, splats, strict=True):
        if len(each.gaussians) == 0:
            raise GatlasError(f"{name}: nothing to show: it has no Gaussians")
        picture = None if each.atlas is None else atlas_picture(each.atlas, each.atlas.size)
        shown.append(ShownSplat(each.gaussians, name, render(each.gaussians, look).images[0], picture))
    return Page(
        shown, _title(names), options.azimuth, options.elevation, parse_background(options.background or "white")
    )


def _title(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return ", ".join(names) if len(names) <= TOGETHER else f"{names[0]} and {len(names) - 1} more"


def _distinct(names: Sequence[str]) -> list[str]:
    """Return the names, the second and later ones of a name with a number behind them."""
    taken: set[str] = set(names)
    seen: set[str] = set()
    found = []
    for name in names:
        number, shown = 2, name
        while shown in seen or (shown != name and shown in taken):
            shown, number = f"{name} ({number})", number + 1
        seen.add(shown)
        found.append(shown)
    return found
