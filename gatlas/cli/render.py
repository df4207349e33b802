"""gatlas render"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatlas.cli.many import Output, many
from gatlas.cli.options import (
    Device,
    DeviceOption,
    Force,
    IgnoreVertexColors,
    Input,
    Shading,
    ShadingOption,
    Supersample,
    Threads,
    Up,
    UpOption,
)

if TYPE_CHECKING:
    from gatlas.types import Cameras, Gaussians, Mesh


@many(".png", accepts=(".ply", ".splat", ".spz", ".npz", ".glb", ".gltf", ".obj"), may_fill_folder=True)
def render(
    source: Input = "-",
    output: Output = "-",
    orbit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="N cameras around the object.", show_default=False)
    ] = None,
    camera: Annotated[
        str | None, typer.Option(metavar="FILE", help="Cameras from a transforms.json.", show_default=False)
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Pixels; 512 without --camera.", show_default=False)
    ] = None,
    height: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Pixels; as the width.", show_default=False)
    ] = None,
    elevation: Annotated[
        float, typer.Option(min=-90, max=90, metavar="DEGREES", help="Degrees above the horizon.")
    ] = 20.0,
    azimuth: Annotated[float, typer.Option(metavar="DEGREES", help="Degrees from the front (+z) towards +x.")] = 0.0,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="COLOR",
            help="white, black, grey, transparent or #rrggbb; white for one picture, transparent for a folder.",
            show_default=False,
        ),
    ] = None,
    shading: ShadingOption = Shading.auto,
    up: UpOption = Up.plus_y,
    ignore_vertex_colors: IgnoreVertexColors = False,
    supersample: Supersample = 4,
    device: DeviceOption = Device.auto,
    threads: Threads = None,
    force: Force = False,
) -> dict[str, Any]:
    """Render a splat PLY or a mesh to pictures, or show the planes of an atlas.

    One camera gives one PNG, several a contact sheet. An atlas NPZ gives one PNG: offset, colour, opacity, scale and
    rotation side by side.

    Of one object, -o DIR/ gives a PNG for each camera, with a transforms.json that fit, pose-pnp and --camera read; its
    cameras are in the units of what is rendered, and those of a mesh in its unit ball. Of many objects, -o DIR/ gives a
    picture or a contact sheet of each, and -o 'DIR/{stem}/' such a folder of each.

    --device auto is the CPU here, which has its picture before torch has started; cuda pays for many large pictures.

    Example: gatlas render obj.ply --orbit 8 -o obj.png
    """
    import math

    from gatlas import io
    from gatlas.cli.terminal import say
    from gatlas.errors import GatlasError
    from gatlas.images.colors import parse_background
    from gatlas.images.sheets import atlas_picture, contact_sheet
    from gatlas.meshes.edits import stand_up, without_vertex_colors
    from gatlas.raster.devices import choose_device
    from gatlas.raster.threads import set_num_threads
    from gatlas.render import take_views
    from gatlas.types import Views

    set_num_threads(threads)
    chosen = "cpu" if device is Device.auto else choose_device(device.value)
    folder = io.is_folder(output)
    if folder:
        io.check_output(output, force=force, folder=True)
    else:
        io.check_output(output, force=force, suffix=".png", what="a picture")
    backdrop = parse_background(background or ("transparent" if folder else "white"))
    if not math.isfinite(azimuth):
        raise GatlasError(f"--azimuth must be a finite angle, not {azimuth}")
    if camera is not None and orbit is not None:
        raise GatlasError("--orbit and --camera exclude each other")

    blob = io.as_blob(source)
    if blob.kind == "atlas":
        if folder or camera is not None or orbit is not None:
            raise GatlasError("an atlas is drawn as one picture of its planes; for views of it, run atlas-decode first")
        atlas = io.load_atlas(blob)
        name = blob.stem or str(atlas.meta.get("origin", {}).get("name", ""))
        io.save_image(output, atlas_picture(atlas), force=force, name=name)
        return {"views": 1}
    subject: Gaussians | Mesh
    if blob.kind == "mesh":
        subject = stand_up(io.load_mesh(blob), up.value)
        subject = without_vertex_colors(subject) if ignore_vertex_colors else subject
    else:
        subject = io.load_gaussians(blob)
    cameras = _cameras(subject, orbit, camera, width, height, elevation, azimuth)
    views: Views = take_views(subject, cameras, backdrop, device=chosen, supersample=supersample, shading=shading.value)
    if folder:
        io.save_views(output, views, force=force)
        say(f"{len(views)} pictures in {output}")
    else:
        io.save_image(output, contact_sheet(views.images), force=force, name=subject.origin.name)
    return {"views": len(views)}


def _cameras(
    subject: Gaussians | Mesh,
    orbit_count: int | None,
    camera: str | None,
    width: int | None,
    height: int | None,
    elevation: float,
    azimuth: float,
) -> Cameras:
    """The cameras that the options ask for."""
    from gatlas import io
    from gatlas.geometry.cameras import around, orbit, resized
    from gatlas.types import Gaussians

    if camera is not None:
        cameras = io.load_cameras(camera)
        if width is None and height is None:
            return cameras
        wide = width or round(cameras.width * (height or cameras.height) / cameras.height)
        return resized(cameras, wide, height or max(1, round(cameras.height * wide / cameras.width)))
    wide = width or height or 512
    cameras = orbit(orbit_count or 1, wide, height or wide, elevation=elevation, azimuth=azimuth)
    return around(subject, cameras) if isinstance(subject, Gaussians) else cameras
