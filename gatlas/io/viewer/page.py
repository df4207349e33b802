"""One HTML file that shows splats: a template, the viewer's script and the data of the splats, without any network."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from gatlas import __version__
from gatlas.errors import GatlasError
from gatlas.geometry.default_camera import DEFAULT_DISTANCE, DEFAULT_FOV
from gatlas.images.srgb import to_bytes
from gatlas.io.arrays import host_array
from gatlas.io.viewer.quantized import MIN_ALPHA, pack
from gatlas.io.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

    from gatlas.types import Gaussians

TOGETHER = 9  # of so many splats, all are shown at first; of more, the first
PREVIEW_QUALITY = 80  # of WebP
PARTS = ("viewer.html", "viewer.js")
AUTO = "auto"  # the background that follows the light or dark scheme of the browser


@dataclass(frozen=True, eq=False)
class ShownSplat:
    """A splat of a page with what is shown of it while it loads, and beside it."""

    gaussians: Gaussians
    name: str
    preview: Float[np.ndarray, "h w 4"]  # straight RGBA, square: the view that the page begins with
    atlas: Float[np.ndarray, "rows columns 3"] | None = None  # the planes to show below it


@dataclass(frozen=True, eq=False)
class Page:
    """Splats that one camera turns around, and where that camera begins."""

    splats: Sequence[ShownSplat]
    title: str
    azimuth: float  # degrees, from the front toward +x
    elevation: float  # degrees above the horizon
    background: tuple[float, float, float] | None  # sRGB; None follows the browser's scheme


def encode_page(page: Page) -> list[bytes]:
    """Return the buffers of the HTML file. A page without splats, or with nothing to show, is a GatlasError."""
    if not page.splats:
        raise GatlasError("a page needs at least one splat")
    headers, data = [], []
    for each in page.splats:
        if not (host_array(each.gaussians.opacities) >= MIN_ALPHA).any():
            raise GatlasError(f"{each.name}: nothing to show: no Gaussian has an opacity of 1/255 or more")
        packed = pack(each.gaussians)
        headers.append(packed.header | {"name": _printable(each.name), "total": len(each.gaussians)})
        data.append(base64.b64encode(packed.data))
    together = 1 < len(page.splats) <= TOGETHER
    color = "auto" if page.background is None else _hex(page.background)
    settings = {
        "splats": headers,
        "together": together,
        "azimuth": float(np.radians(page.azimuth)),
        "elevation": float(np.radians(page.elevation)),
        "distance": DEFAULT_DISTANCE,
        "fov": float(np.radians(DEFAULT_FOV)),
        "background": color,
    }
    template, script = (resources.files("gatlas.io.viewer").joinpath(name).read_text("utf-8") for name in PARTS)
    texts = {
        "title": html.escape(_printable(page.title)),
        "generator": f"gatlas {__version__}",
        "page": "Canvas" if color == AUTO else color,
        "shade": "dark" if page.background is not None and _is_dark(page.background) else "",
        "tiles": "\n".join(_tile(i, each, shown=together or i == 0) for i, each in enumerate(page.splats)),
        "json": json.dumps(settings, allow_nan=False).replace("<", "\\u003c"),  # ends no script element
        "script": script,
        "splats": "\0",  # stands for the data, of which no second copy is made
    }
    before, after = re.sub(r"\[\[(\w+)\]\]", lambda match: texts[match[1]], template).split("\0")
    buffers = [before.encode()]
    for i, text in enumerate(data):
        buffers += [f'<script type="text/plain" id="splat-{i}">'.encode(), text, b"</script>\n"]
    return [*buffers, after.encode()]


def _printable(name: str) -> str:
    """Return a name, which may come from a foreign file, without what steers or cannot be encoded."""
    return visible(name.encode("utf-8", "replace").decode())


def _tile(number: int, splat: ShownSplat, *, shown: bool) -> str:
    """Return the element of a splat: its first frame, the atlas below it, its name."""
    name = html.escape(_printable(splat.name))
    hidden = "" if shown else ' style="display: none"'
    atlas = ""
    if splat.atlas is not None:
        planes = f"Atlas of {name}: offset, color, opacity, scale, rotation"
        atlas = f'<img class="atlas" alt="{planes}" src="{_png(splat.atlas)}">'
    return (
        f'<figure id="tile-{number}"{hidden}><figcaption title="{name}">{name}</figcaption>'
        f'<div class="view"><img alt="" src="{_webp(splat.preview)}"></div>'
        f"{atlas}</figure>"
    )


def _webp(image: Float[np.ndarray, "h w 4"]) -> str:
    return _data_url(image, "WEBP", quality=PREVIEW_QUALITY, method=4)


def _png(image: Float[np.ndarray, "h w 3"]) -> str:
    return _data_url(image, "PNG")


def _data_url(image: Float[np.ndarray, "h w d"], kind: str, **options: Any) -> str:
    payload = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(payload, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(payload.getvalue()).decode()}"


def _hex(color: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * each):02x}" for each in color)


def _is_dark(color: tuple[float, float, float]) -> bool:
    return 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] < 0.43
