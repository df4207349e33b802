"""gatlas render"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatlas import io
from gatlas.cli.render_page import names_page, run_page
from gatlas.cli.terminal import check_outputs, counting_bar, message
from gatlas.cli.verb import Input
from gatlas.errors import GatlasError
from gatlas.images.colors import parse_background
from gatlas.images.sheets import atlas_picture, contact_sheet
from gatlas.io.films import check_film, has_even_sides, names_film
from gatlas.io.terminal_pictures import check_terminal, show_picture
from gatlas.raster.devices import choose_device
from gatlas.render import RenderOptions, render, render_film
from gatlas.render.film import FPS
from gatlas.render.views import views_for_file

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from gatlas.io import Blob
    from gatlas.types import Gaussians, Mesh


def run(source: Input | list[Input], output: str, options: RenderOptions, *, force: bool) -> dict[str, Any]:
    """Render one splat, mesh or atlas; into a page, several."""
    folder = io.is_folder(output)
    sources = source if isinstance(source, list) else [source]
    if not folder and names_page(output):
        return run_page(sources, output, options, force=force)
    (source,) = sources
    if options.with_atlas:
        raise GatlasError("--with-atlas is for pages: name the output x.html")
    if options.device != "auto":
        choose_device(options.device)
    if not folder and names_film(output):
        return _film(source, output, options, force=force)
    options.check_picture()
    if options.inline:
        _check_inline(output)
    else:
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
        _save(output, atlas_picture(atlas), options, force=force, name=name)
        return {"views": 1}
    subject, options = _load(blob, options)
    cameras = None if options.camera is None else io.load_cameras(options.camera)
    views = render(subject, options, cameras, report=message)
    if folder:
        io.save_views(output, views_for_file(views, subject.origin), force=force)
        message(f"{len(views)} pictures in {output}")
    else:
        _save(output, contact_sheet(views.images), options, force=force, name=subject.origin.name)
    return {"views": len(views)}


def _check_inline(output: str) -> None:
    """Raise a GatlasError, before any work, where a picture cannot be shown in the terminal."""
    if output != "-":
        raise GatlasError(f"--inline shows the picture in the terminal and writes no file: leave out -o {output}")
    check_terminal()


def _save(output: str, picture: Float[np.ndarray, "h w d"], options: RenderOptions, *, force: bool, name: str) -> None:
    """Write a picture, or show it in the terminal."""
    if options.inline:
        show_picture(picture)
    else:
        io.save_image(output, picture, force=force, name=name)


def _load(blob: Blob, options: RenderOptions) -> tuple[Gaussians | Mesh, RenderOptions]:
    """Return what is shown, and the options that are left to do."""
    if blob.kind == "mesh":
        return io.load_mesh(blob), options
    gaussians = io.load_gaussians(blob, up=options.up, drop_invalid=options.drop_invalid, report=message)
    return gaussians, replace(options, up=None)


def _film(source: Input, output: str, options: RenderOptions, *, force: bool) -> dict[str, Any]:
    """Render a film of one splat or mesh."""
    check_outputs(output, options, noun="film", force=force)
    options.check_film()
    transparent = parse_background(options.background or "white") is None
    check_film(output, transparent=transparent, fps=options.fps or FPS)
    blob = io.as_blob(source)
    if blob.kind == "atlas":
        raise GatlasError("an atlas is drawn as one picture of its planes; for a film of it, run atlas-decode first")
    subject, options = _load(blob, options)
    path = None if options.path is None else io.load_cameras(options.path)
    film = render_film(subject, options, path, even=has_even_sides(output), report=message)
    with counting_bar("frames", film.length) as count:
        io.save_film(output, film.watched(count), force=force, name=subject.origin.name)
    return {"frames": film.length}
