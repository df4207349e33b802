"""Options of `gatlas mesh`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatlas.config import Options, option
from gatlas.io.splats.options import drop_invalid_option, up_option


@dataclass(frozen=True)
class MeshOptions(Options):
    """Make a textured triangle mesh of a splat, in the splat's own frame and units.

    The splat is rendered from all around; where a ray has lost half of its light is its surface. These depths are fused
    in a sparse grid, in which thin parts keep both of their sides. The surface is closed, smoothed, simplified and
    moved to the outlines that the pictures show, and takes its colors from them.

    The output's suffix is the format: .glb (also that of standard output), .obj with its .mtl and .png beside it, or
    .ply with vertex colors. Its coordinates are those of the object before it was normalized, y up. An atlas as input
    is decoded first.

    Example: gatlas mesh chair.ply -o chair.glb
    """

    triangles: int = option(20_000, min=4, max=5_000_000, help="Number of triangles, at most.")
    texture: int = option(
        1024, min=0, max=8192, metavar="PIXELS", help="Width and height of the texture; 0 for vertex colors."
    )
    texture_rounds: int = option(1, min=0, max=20, help="Rounds in which the texture is corrected by its own pictures.")
    views: int = option(96, min=8, max=2000, help="Number of views from all around.")
    resolution: int = option(512, min=32, max=4096, help="Width and height of the views in pixels.")
    grid: int | None = option(
        None,
        min=16,
        max=1024,
        help="Cells of the grid along the diameter of the object; default 320, or 240 where the surface is very large.",
    )
    smooth: int = option(10, min=0, max=1000, help="Rounds of smoothing.")
    fill_holes: bool = option(False, help="Fill enclosed space also where views see into it through small openings.")
    lit: bool = option(
        False,
        off="--unlit",
        help="Let viewers light the mesh, whose colors hold the light of the splat already, or not (the default).",
    )
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = up_option()
    drop_invalid: bool = drop_invalid_option()
    reference: str | None = option(
        None, metavar="MESH", affects_result=False, help="Source mesh to measure the result against."
    )
    reference_up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = option(
        None,
        metavar="AXIS",
        affects_result=False,
        help="Vertical axis of the --reference mesh, as it was given to fit --up; default y.",
    )
    report: str | None = option(None, metavar="FILE.json", output=".json", help="Write what was measured, as JSON.")
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", affects_result=False, help="Device for rendering Gaussians; auto is the CPU."
    )
