"""Arguments and options that several verbs share."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

Input = Annotated[str, typer.Argument(metavar="INPUT", help="File to read; - is standard input.", show_default=False)]
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
    Device, typer.Option("--device", metavar="auto|cpu|cuda", help="Where Gaussians are rendered; see below.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, metavar="N", help="Threads; default all processors it may run on.", show_default=False
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
