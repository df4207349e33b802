"""gatlas render"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.cli.terminal import check_outputs, message
from gatlas.cli.verb import Input
from gatlas.errors import GatlasError
from gatlas.images.colors import parse_background
from gatlas.images.sheets import atlas_picture, contact_sheet
from gatlas.raster.devices import choose_device
from gatlas.render import RenderOptions, render
from gatlas.render.views import views_for_file

if TYPE_CHECKING:
    from gatlas.types import Gaussians, Mesh


def run(source: Input, output: str, options: RenderOptions, *, force: bool) -> dict[str, Any]:
    """Render one splat, mesh or atlas."""
    folder = io.is_folder(output)
    if options.device != "auto":
        choose_device(options.device)
    check_outputs(output, options, noun=None if folder else "image", force=force)
    options = replace(options, background=options.background or ("transparent" if folder else "white"))
    parse_background(str(options.background))
    blob = io.as_blob(source)
    if blob.kind == "atlas":
        if folder or options.camera is not None or options.orbit is not None:
            raise GatlasError("an atlas is drawn as one picture of its planes; for views of it, run atlas-decode first")
        if options.up is not None:
            raise GatlasError("--up is for meshes and splats: an atlas is upright")
        atlas = io.load_atlas(blob)
        name = blob.stem or str(atlas.meta.get("origin", {}).get("name", ""))
        io.save_image(output, atlas_picture(atlas), force=force, name=name)
        return {"views": 1}
    subject: Mesh | Gaussians
    if blob.kind == "mesh":
        subject = io.load_mesh(blob)
    else:
        subject = io.load_gaussians(blob, up=options.up, drop_invalid=options.drop_invalid, report=message)
        options = replace(options, up=None)
    cameras = None if options.camera is None else io.load_cameras(options.camera)
    views = render(subject, options, cameras, report=message)
    if folder:
        io.save_views(output, views_for_file(views, subject.origin), force=force)
        message(f"{len(views)} pictures in {output}")
    else:
        io.save_image(output, contact_sheet(views.images), force=force, name=subject.origin.name)
    return {"views": len(views)}
