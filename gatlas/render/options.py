"""Options of `gatlas render`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option
from gatlas.errors import GatlasError


@dataclass(frozen=True)
class RenderOptions(Options):
    """Render a splat PLY or a mesh to pictures, or show the planes of an atlas.

    One camera gives one PNG, several a contact sheet. An atlas NPZ gives one PNG: offset, colour, opacity, scale and
    rotation side by side.

    Of one object, -o DIR/ gives a PNG for each camera, with a transforms.json that fit, pose-pnp and --camera read; its
    cameras are in the units of what is rendered, and those of a mesh in its unit ball. Of many objects, -o DIR/ gives a
    picture or a contact sheet of each, and -o 'DIR/{stem}/' such a folder of each.

    --device auto is the CPU here, which has its picture before torch has started; cuda pays for many large pictures.

    Example: gatlas render obj.ply --orbit 8 -o obj.png
    """

    orbit: int | None = option(None, min=1, help="N cameras around the object.")
    camera: str | None = option(None, metavar="FILE", help="Cameras from a transforms.json.")
    width: int | None = option(None, min=1, help="Pixels; 512 without --camera.")
    height: int | None = option(None, min=1, help="Pixels; as the width.")
    elevation: float = option(20.0, min=-90, max=90, metavar="DEGREES", help="Degrees above the horizon.")
    azimuth: float = option(0.0, metavar="DEGREES", help="Degrees from the front (+z) towards +x.")
    background: str | None = option(
        None,
        metavar="COLOR",
        help="white, black, grey, transparent or #rrggbb; white for one picture, transparent for a folder.",
    )
    shading: Literal["auto", "unlit", "headlight"] = option(
        "auto", help="Light on a mesh: auto is none where it has textures or colours to tell apart."
    )
    up: Literal["x", "y", "z", "-x", "-y", "-z"] = option(
        "y", metavar="AXIS", help="Axis of a mesh file that points up, as z or -y."
    )
    ignore_vertex_colors: bool = option(False, help="Leave out vertex colours that are no colours.")
    supersample: int = option(4, min=1, max=16, help="Samples a side of a pixel of a mesh.")
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", affects_result=False, help="Where Gaussians are rendered; see above."
    )

    def validate(self) -> None:
        if not math.isfinite(self.azimuth):
            raise GatlasError(f"--azimuth must be a finite angle, not {self.azimuth}")
        if self.camera is not None and self.orbit is not None:
            raise GatlasError("--orbit and --camera exclude each other")
