"""Options of `gatlas render`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gatlas.config import ABSENT, Options, option
from gatlas.errors import GatlasError
from gatlas.io.splats.options import drop_invalid_option


@dataclass(frozen=True)
class RenderOptions(Options):
    """Render a splat PLY or a mesh to pictures, or show the planes of an atlas.

    One camera gives one PNG, several a contact sheet. An atlas NPZ gives one PNG: offset, color, opacity, scale and
    rotation side by side.

    For one object, -o DIR/ writes a PNG per camera and a transforms.json that fit, pose-pnp and --camera read; its
    cameras are in the units of the splat, or in the unit ball for a mesh. For many objects, -o DIR/ writes a picture or
    a contact sheet of each, and -o 'DIR/{stem}/' such a folder of each.

    -o x.mp4, x.gif or x.webp is a film that turns about the object once, or follows the cameras of --path: a frame per
    camera or, with --seconds, moving smoothly from one to the next. MP4 needs the extra video.

    -o x.html is one page for a browser that shows the splats, or those of atlases, side by side or from a menu. It
    needs no network. It begins at --elevation and --azimuth, over --background.

    --show draws a map with a color bar: the median depth, normals, alpha, overdraw (how many Gaussians are blended in
    a pixel), or the error against --reference. With it -o x.npz writes the values, and -o DIR/ with --show depth 16-bit
    depths beside the pictures. --compare draws another splat or mesh beside this one and the error between.

    --device auto is the CPU here, which is faster than starting torch; cuda pays off for many large pictures.

    Example: gatlas render obj.ply --orbit 8 -o obj.png
    """

    orbit: int | None = option(None, min=1, help="Number of cameras around the object.")
    sphere: int | None = option(
        None,
        min=1,
        recorded=ABSENT,
        help="Number of cameras evenly on all sides; with --orbit after those of the orbit.",
    )
    camera: str | None = option(None, metavar="FILE", help="Cameras from a transforms.json.")
    path: str | None = option(None, metavar="FILE", recorded=ABSENT, help="Cameras that a film follows; see above.")
    seconds: float | None = option(
        None,
        min=0.01,
        max=86_400,
        recorded=ABSENT,
        help="Length of a film; default 4, or a frame per camera of --path.",
    )
    fps: int | None = option(
        None, min=1, max=240, metavar="N", recorded=ABSENT, help="Frames per second of a film; default 30."
    )
    width: int | None = option(None, min=1, help="Width in pixels; default 512, or that of --camera.")
    height: int | None = option(None, min=1, help="Height in pixels; default the width, or that of --camera.")
    elevation: float = option(20.0, min=-90, max=90, metavar="DEGREES", help="Camera elevation above the horizon.")
    azimuth: float = option(0.0, metavar="DEGREES", help="Camera azimuth from the front (+z) toward +x.")
    show: Literal["color", "depth", "normal", "alpha", "overdraw", "error"] = option(
        "color", recorded=ABSENT, help="What is drawn; see above."
    )
    reference: str | None = option(
        None,
        metavar="FILE",
        recorded=ABSENT,
        help="Mesh, splat or folder of views that --show error measures against.",
    )
    compare: str | None = option(
        None, metavar="FILE", recorded=ABSENT, help="Splat, mesh or folder of views to draw beside, and the error."
    )
    other_up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = option(
        None, metavar="AXIS", recorded=ABSENT, help="Vertical axis of --reference or --compare, as --up."
    )
    background: str | None = option(
        None,
        metavar="COLOR",
        help="white, black, gray, transparent or #rrggbb; default white, transparent for a folder.",
    )
    shading: Literal["auto", "unlit", "headlight"] = option(
        "auto", help="Shading of a mesh; auto is unlit if its textures or colors show its form."
    )
    inline: bool = option(
        False, recorded=ABSENT, help="Show the picture in the terminal (kitty, iTerm2, sixel, else half blocks)."
    )
    with_atlas: bool = option(
        False, recorded=ABSENT, help="Show the planes of an atlas below its splat, on a page (.html)."
    )
    up: Literal["x", "y", "z", "-x", "-y", "-z"] | None = option(
        None,
        metavar="AXIS",
        recorded="y",
        help="Vertical axis of the file, such as z or -y; default y, for a splat what its header says, or -y.",
    )
    drop_invalid: bool = drop_invalid_option()
    ignore_vertex_colors: bool = option(False, help="Ignore vertex colors, for files that store other data there.")
    supersample: int = option(4, min=1, max=16, help="Samples per pixel side when rendering a mesh.")
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", affects_result=False, help="Device for rendering Gaussians; see above."
    )

    def validate(self) -> None:
        if not math.isfinite(self.azimuth):
            raise GatlasError(f"--azimuth must be a finite angle, not {self.azimuth}")
        chosen = [name for name in ("orbit", "sphere", "path", "camera") if getattr(self, name) is not None]
        if {"path", "camera"} & set(chosen[1:]):
            raise GatlasError(f"--{chosen[0]} and --{chosen[-1]} exclude each other")
        if self.show != "color" and self.compare is not None:
            raise GatlasError("--show and --compare exclude each other")
        if (self.show == "error") != (self.reference is not None):
            given, lacks = (
                ("--show error", "--reference FILE") if self.reference is None else ("--reference", "--show error")
            )
            raise GatlasError(f"{given} needs {lacks}")
        if self.other_up is not None and self.other is None:
            raise GatlasError("--other-up is the vertical axis of --reference or --compare: give one of them")

    @property
    def other(self) -> str | None:
        """The file that the subject is compared with, or None."""
        return self.reference or self.compare

    def check_film(self) -> None:
        """Raise a GatlasError where an option that was given is not of films."""
        self.check_not_inline()
        self._check_color("films")
        for name in ("orbit", "sphere", "camera"):
            if getattr(self, name) is not None:
                advice = "use --path FILE" if name == "camera" else "its cameras are --seconds times --fps"
                raise GatlasError(f"--{name} is not for films: {advice}")

    def check_picture(self) -> None:
        """Raise a GatlasError where an option that was given is only of films."""
        for name in ("path", "seconds", "fps"):
            if getattr(self, name) is not None:
                raise GatlasError(f"--{name} is for films: name the output x.mp4, x.gif or x.webp")

    def check_page(self) -> None:
        """Raise a GatlasError where an option that was given is not of pages."""
        self.check_not_inline()
        self._check_color("pages")
        for name in ("orbit", "sphere", "camera", "path", "seconds", "fps", "width", "height"):
            if getattr(self, name) is not None:
                raise GatlasError(f"--{name} is not for pages, where the user moves the camera and sets the size")

    def _check_color(self, kind: str) -> None:
        if self.show != "color" or self.compare is not None:
            raise GatlasError(f"--{'compare' if self.compare else 'show'} is not for {kind}: name the output x.png")

    def check_not_inline(self) -> None:
        """Raise a GatlasError where a picture shall be shown in the terminal."""
        if self.inline:
            raise GatlasError("--inline shows a picture in the terminal and writes no file: leave out -o")
