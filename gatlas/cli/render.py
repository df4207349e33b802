"""gatlas render"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gatlas import io
from gatlas.cli.render_film import run_film
from gatlas.cli.render_inputs import load_subject
from gatlas.cli.render_maps import names_arrays, run_maps
from gatlas.cli.render_outputs import check_picture_output, save_picture
from gatlas.cli.render_page import names_page, run_page
from gatlas.cli.terminal import message
from gatlas.cli.verb import Input
from gatlas.errors import GatlasError
from gatlas.images.colors import parse_background
from gatlas.images.sheets import atlas_picture, contact_sheet
from gatlas.io.films import names_film
from gatlas.raster.devices import choose_device
from gatlas.render import RenderOptions, render
from gatlas.render.views import views_for_file


def run(source: Input | list[Input], output: str, options: RenderOptions, *, force: bool) -> dict[str, Any]:
    """Render one splat, mesh or atlas; into a page, several."""
    folder = io.is_folder(output)
    sources = source if isinstance(source, list) else [source]
    if not folder and names_page(output):
        return run_page(sources, output, options, force=force)
    if len(sources) > 1:
        return _show_each(sources, output, options, force=force)
    (source,) = sources
    if options.with_atlas:
        raise GatlasError("--with-atlas is for pages: name the output x.html")
    if options.device != "auto":
        choose_device(options.device)
    if not folder and names_film(output):
        return run_film(source, output, options, force=force)
    options.check_picture()
    if options.show != "color" or options.compare is not None or names_arrays(output):
        return run_maps(source, output, options, force=force)
    check_picture_output(output, options, force=force)
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
        save_picture(output, atlas_picture(atlas), options, force=force, name=name)
        return {"views": 1}
    subject, options = load_subject(blob, options)
    cameras = None if options.camera is None else io.load_cameras(options.camera)
    views = render(subject, options, cameras, report=message)
    if folder:
        io.save_views(output, views_for_file(views, subject.origin), force=force)
        message(f"{len(views)} pictures in {output}")
    else:
        save_picture(output, contact_sheet(views.images), options, force=force, name=subject.origin.name)
    return {"views": len(views)}


def _show_each(sources: list[Input], output: str, options: RenderOptions, *, force: bool) -> dict[str, Any]:
    """Show several in the terminal, one below the other, each below its name."""
    check_picture_output(output, options, force=force)
    views = 0
    for source in sources:
        message(io.as_blob(source).name)
        views += run(source, output, options, force=force)["views"]
    return {"views": views}
