"""Splat PLY: the 3DGS layout that every viewer reads, to and from `Gaussians`.

The file stores f_dc and f_rest coefficients, opacities as logits, scales as natural logs and quaternions as wxyz.
Viewers take its y axis to point down, so the file is the object after a half turn about z: (-x, -y, z).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

import numpy as np

from gatlas import __version__
from gatlas.errors import GatlasError
from gatlas.geometry.cameras import plausible_pixels
from gatlas.io import ply_container as plyheader
from gatlas.io.sniff import is_gltf_splat, is_ply
from gatlas.io.splats.decoded import SplatReading, checked_gaussians
from gatlas.io.splats.stored import stored_columns
from gatlas.io.splats.up_axis import Y_DOWN, Y_UP, describe, stated_up
from gatlas.io.streams import as_blob
from gatlas.types import MAX_GROWTH, Origin

if TYPE_CHECKING:
    from jaxtyping import Float

    from gatlas.io.splats.up_axis import Up
    from gatlas.io.streams import Blob
    from gatlas.types import Gaussians

REST_COUNTS = (0, 9, 24, 45)  # f_rest properties of degree 0 to 3
FRAMES = ("y-down", "y-up")
MIN_OPACITY = 1e-6  # of what is written; the largest is one minus this: a logit must be finite
MAX_NAME = 1024  # bytes of a name, the rest is cut off: one viewer reads no header beyond 10 KiB

_NAMES = {
    "opacity": ("opacity",),
    "scales": ("scale_0", "scale_1", "scale_2"),
    "quats": ("rot_0", "rot_1", "rot_2", "rot_3"),
    "dc": ("f_dc_0", "f_dc_1", "f_dc_2"),
    "means": ("x", "y", "z"),
}
_FIELD = re.compile(r"gatlas (frame|name|center|scale|normalized|grid|pixels|ball|levels|growth)(?:\s+(.*?))?\s*")
_RENDER_MODE = re.compile(r"SplatRenderMode:\s*(default|mip|2dgs)|antialiased\s+([01])", re.IGNORECASE)
_LAYOUT = "gatlas reads the 3DGS layout (x, y, z, f_dc_*, opacity, scale_*, rot_*)."


def decode_ply(blob: Blob, **asked: Any) -> Gaussians:
    """Return the Gaussians of a splat PLY, float32, in the object's own frame. Anything else is a GatlasError.

    `asked` are the fields of `SplatReading`.
    """
    reading = SplatReading(**asked)
    header = plyheader.parse(blob)
    names = header.vertex(blob).names
    missing = [name for group in _NAMES.values() for name in group if name not in names]
    if missing:
        raise GatlasError(_not_a_splat(blob, missing[0]))
    rest = _rest_names(blob, names)
    vertices = plyheader.read_vertices(blob, header, noun="Gaussians")
    count = len(vertices)
    with np.errstate(over="ignore"):  # a logit of -infinity is the opacity 0
        opacities = 1.0 / (1.0 + np.exp(-vertices.columns(_NAMES["opacity"], np.float64)[:, 0]))
    sh = np.empty((count, 1 + len(rest) // 3, 3), dtype=np.float32)
    sh[:, 0] = vertices.columns(_NAMES["dc"], np.float32)
    if rest:  # all of red, then green, then blue
        sh[:, 1:] = vertices.columns(rest, np.float32).reshape(count, 3, -1).transpose(0, 2, 1)
    comments = _Comments.parse(blob, header.comments, count)
    return checked_gaussians(
        blob,
        vertices.columns(_NAMES["means"], np.float64),
        vertices.columns(_NAMES["quats"], np.float64),
        vertices.columns(_NAMES["scales"], np.float64),
        opacities,
        sh,
        reading,
        stated=header_up(blob, header.comments, reading),
        origin=comments.origin,
    )


def header_up(blob: Blob, comments: tuple[str, ...], reading: SplatReading) -> Up:
    """Return the direction that points up by a PLY's comments: ours, else those of other programs, else y down.

    Where theirs decide, or cannot be understood, a line says so.
    """
    frame = _Comments.parse(blob, comments, 0).frame
    if frame is not None:
        return Y_UP if frame == "y-up" else Y_DOWN
    stated = stated_up(comments)
    if stated is None:
        return Y_DOWN
    said, up = stated
    if reading.up is None and not reading.as_stored:
        if up is None:
            reading.report(f"{blob.name}: its header's {said!r} is not understood: y down is assumed; --up sets it")
        elif up != Y_DOWN:
            reading.report(f"{blob.name}: read as {describe(up)}, as its header says ({said!r}); --up overrides it")
    return Y_DOWN if up is None else up


def stored_frame(source: str | Path | Blob) -> str:
    """Return the frame of a splat's axes: "y-down", as viewers take it, unless a PLY's comments or glTF say "y-up".

    Another vertical axis is a GatlasError.
    """
    blob = as_blob(source)
    if not is_ply(blob):
        return FRAMES[is_gltf_splat(blob)]
    up = header_up(blob, plyheader.parse(blob).comments, SplatReading())
    if up not in (Y_DOWN, Y_UP):
        raise GatlasError(f"{blob.name}: its header says {describe(up)}: in its own axes it must point y down or y up")
    return FRAMES[up == Y_UP]


def encode_ply(gaussians: Gaussians, frame: str = "y-down") -> tuple[bytes, Float[np.ndarray, "n p"]]:
    """Header and body of a splat PLY. What viewers would take silently and show wrongly is a GatlasError.

    `frame` is "y-down", which viewers expect, or "y-up": the object's own, unturned.
    """
    if frame not in FRAMES:
        raise ValueError(f"frame must be one of {', '.join(FRAMES)}, got {frame!r}")
    means, quats, log_scales, opacities, sh = stored_columns(gaussians, y_down=frame == "y-down")
    count, coefficients = sh.shape[:2]
    # Bounds that float32 holds, so that what is read back is written alike.
    alphas = np.clip(opacities, np.float32(MIN_OPACITY), np.float32(1 - MIN_OPACITY)).astype(np.float64)
    rest = 3 * (coefficients - 1)
    table = np.empty((count, 14 + rest), dtype="<f4")
    table[:, 0:3] = means
    table[:, 3:6] = sh[:, 0]
    table[:, 6 : 6 + rest] = sh[:, 1:].transpose(0, 2, 1).reshape(count, rest)
    table[:, 6 + rest] = np.log(alphas) - np.log1p(-alphas)
    table[:, 7 + rest : 10 + rest] = log_scales
    table[:, 10 + rest :] = quats
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in _Comments(frame, gaussians.origin).lines(count)),
        f"element vertex {count}",
        *(f"property float {name}" for name in _property_names(rest)),
        "end_header",
    ]
    return ("\n".join(lines) + "\n").encode("ascii"), table


def _property_names(rest: int) -> list[str]:
    coefficients = [f"f_rest_{i}" for i in range(rest)]
    return [*_NAMES["means"], *_NAMES["dc"], *coefficients, "opacity", *_NAMES["scales"], *_NAMES["quats"]]


def _not_a_splat(blob: Blob, name: str) -> str:
    lines = [f"{blob.name}: not a splat PLY: it has no property '{name}'.", _LAYOUT]
    if blob.kind == "mesh":
        lines.append(
            f"For a mesh, run: gatlas fit{'' if blob.path is None else f' {shlex.quote(blob.name)}'} -o splat.ply"
        )
    return "\n".join(lines)


def _rest_names(blob: Blob, names: tuple[str, ...]) -> tuple[str, ...]:
    """f_rest_0 … in order, none missing, and as many as a degree has."""
    count = sum(name.startswith("f_rest_") for name in names)
    wanted = tuple(f"f_rest_{i}" for i in range(count))
    missing = [name for name in wanted if name not in names]
    if missing or count not in REST_COUNTS:
        fault = f"'{missing[0]}' is missing" if missing else f"{count} of them"
        raise GatlasError(
            f"{blob.name}: its f_rest properties fit no degree of spherical harmonics: {fault}; "
            "degrees 0 to 3 have 0, 9, 24 or 45"
        )
    return wanted


def origin_comments(origin: Origin, count: int) -> list[str]:
    """Return the comments of a PLY that points y down about the origin of its Gaussians."""
    return _Comments("y-down", origin).lines(count)


def commented_origin(blob: Blob, comments: tuple[str, ...], count: int) -> Origin:
    """Return the origin that a PLY's comments name; its name is that of the file where they name none."""
    return _Comments.parse(blob, comments, count).origin


def is_antialiased(comments: tuple[str, ...]) -> bool:
    """Return True where the last of a PLY's comments on it says that the splat is for the antialiased mode.

    Brush and splat-transform write `SplatRenderMode: mip`, Postshot `antialiased 1`.
    """
    matches = [_RENDER_MODE.fullmatch(comment.strip()) for comment in comments]
    modes = [(match[1] or match[2]).lower() for match in matches if match]
    return modes[-1:] in (["mip"], ["1"])


@dataclass(frozen=True)
class _Comments:
    """Content of the header's comments: the frame of the file and the origin of the object."""

    frame: str | None  # None: it is not named
    origin: Origin

    def lines(self, count: int) -> list[str]:
        origin = self.origin
        shown = origin.name[:MAX_NAME]
        while len(name := shown.encode("utf-8", "surrogatepass")) > MAX_NAME:
            shown = shown[:-1]
        mode = "mip" if origin.antialiased else "default"
        lines = [f"generated by gatlas {__version__}", f"SplatRenderMode: {mode}", f"gatlas frame {self.frame}"]
        if name:
            lines.append(f"gatlas name {quote(name, safe='')}")
        lines.append("gatlas center " + " ".join(repr(float(x)) for x in origin.center))
        lines.append(f"gatlas scale {float(origin.scale)!r}")
        if origin.normalized:
            lines.append("gatlas normalized yes")
        if origin.pixel_sizes is not None:
            lines.append("gatlas pixels " + " ".join(repr(float(x)) for x in origin.pixel_sizes))
            if origin.ball is not None:
                lines.append("gatlas ball " + " ".join(repr(float(x)) for x in origin.ball))
        if origin.grid is not None and _grid_holds(origin.grid, count):
            lines.append(f"gatlas grid {origin.grid[0]} {origin.grid[1]}")
        if origin.levels and origin.levels[-1] == count:
            lines.append("gatlas levels " + " ".join(str(int(each)) for each in origin.levels))
            if origin.growth:
                lines.append(f"gatlas growth {float(origin.growth)!r}")
        return lines

    @classmethod
    def parse(cls, blob: Blob, comments: tuple[str, ...], count: int) -> _Comments:
        """Ours; for those of other programs see `header_up`."""
        fields = {}
        for comment in comments:
            match = _FIELD.fullmatch(comment.strip())
            if match:
                fields[match[1]] = match[2] or ""
        try:
            frame = fields.get("frame")
            center = [float(x) for x in fields.get("center", "0 0 0").split()]
            scale = float(fields.get("scale", "1"))
            height, width = (int(x) for x in fields.get("grid", "0 0").split())
            levels = tuple(int(x) for x in fields.get("levels", "").split())
            growth = float(fields.get("growth", "0"))
            name = unquote_to_bytes(fields["name"]).decode("utf-8", "surrogatepass") if "name" in fields else blob.stem
            sound = frame in (None, *FRAMES) and len(center) == 3 and np.isfinite([*center, scale]).all() and scale > 0
            low, high = (float(x) for x in fields.get("pixels", "1 1").split())
            x, y, z, radius = (float(x) for x in fields.get("ball", "0 0 0 1").split())
            sound = sound and ("pixels" not in fields or plausible_pixels((low, high), (x, y, z, radius)))
            sound = sound and 0 <= growth <= MAX_GROWTH and all(one < more for one, more in pairwise((0, *levels)))
        except ValueError:
            sound = False
        if not sound:
            raise GatlasError(f"{blob.name}: its 'comment gatlas …' lines are damaged: remove them from the header")
        grid = (height, width) if height > 0 and width > 0 and _grid_holds((height, width), count) else None
        origin = Origin(name, (center[0], center[1], center[2]), scale, "normalized" in fields, grid)
        if "pixels" in fields:
            origin = replace(origin, pixel_sizes=(low, high), ball=(x, y, z, radius) if "ball" in fields else None)
        if levels[-1:] == (count,):  # of a file that lost or gained some since, no one knows which they were
            origin = replace(origin, levels=levels, growth=growth)
        return cls(frame, replace(origin, antialiased=is_antialiased(comments)))


def _grid_holds(grid: tuple[int, int], count: int) -> bool:
    """Gaussians that were taken out or added since leave no whole pictures: then the grid means nothing any more."""
    return count % (grid[0] * grid[1]) == 0
