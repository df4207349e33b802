"""Arguments and options that several verbs share."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gatlas.io import Blob

    Input = str | Blob  # a batch gives what a tar held
else:
    Input = Any
Output = Annotated[str, typer.Option("--output", "-o", metavar="OUTPUT", help="File to write; - is standard output.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing output.")]
Seed = Annotated[
    int, typer.Option(min=0, metavar="N", help="Seed of everything random; the same seed gives the same bytes.")
]


class Device(str, Enum):
    """Where Gaussians are rendered."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


DeviceOption = Annotated[
    Device, typer.Option("--device", metavar="auto|cpu|cuda", help="Where Gaussians are rendered; see above.")
]


def _at_most_all(count: int | None) -> int | None:
    """More threads than processors only take memory and time."""
    if count is None:
        return None
    from gatlas.raster.threads import available_cpus

    return min(count, available_cpus())


Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        metavar="N",
        callback=_at_most_all,
        help="Threads; default and at most all processors it may run on.",
        show_default=False,
    ),
]

Fov = Annotated[
    float | None,
    typer.Option(
        "--fov", metavar="DEGREES", help="Field of view of the photos, across the shorter side.", show_default=False
    ),
]
Intrinsics = Annotated[
    str | None,
    typer.Option(
        "--intrinsics",
        metavar="FILE.json",
        help="Intrinsics of the photos, as in transforms.json.",
        show_default=False,
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Measure the atlas and print it; an atlas that is wrong is an error.")
]
CheckReport = Annotated[
    str | None, typer.Option("--report", metavar="FILE.json", help="Write what --check measures.", show_default=False)
]


class Layout(str, Enum):
    """How an atlas is kept on disk."""

    gatlas = "gatlas"
    gaussianverse = "gaussianverse"


LayoutOption = Annotated[
    Layout,
    typer.Option(
        "--layout",
        metavar="gatlas|gaussianverse",
        help="gaussianverse: -o DIR/ gets point_cloud.ply, gs2sphere.npy and sphere2plane.npy.",
    ),
]


class Shading(str, Enum):
    """How a mesh is lit."""

    auto = "auto"
    unlit = "unlit"
    headlight = "headlight"


class Up(str, Enum):
    """The axis of a mesh file that points up."""

    plus_x = "x"
    plus_y = "y"
    plus_z = "z"
    minus_x = "-x"
    minus_y = "-y"
    minus_z = "-z"


ShadingOption = Annotated[
    Shading,
    typer.Option(
        "--shading",
        metavar="auto|unlit|headlight",
        help="Light on a mesh: auto is none where it has textures or colours to tell apart.",
    ),
]
UpOption = Annotated[Up, typer.Option("--up", metavar="AXIS", help="Axis of a mesh file that points up, as z or -y.")]
IgnoreVertexColors = Annotated[
    bool, typer.Option("--ignore-vertex-colors", help="Leave out vertex colours that are no colours.")
]
Supersample = Annotated[
    int, typer.Option("--supersample", min=1, max=16, metavar="N", help="Samples a side of a pixel of a mesh.")
]
