"""gatlas render -o x.mp4"""

from __future__ import annotations

from typing import Any

from gatlas import io
from gatlas.cli.render_inputs import load_subject
from gatlas.cli.terminal import check_outputs, counting_bar, message
from gatlas.cli.verb import Input
from gatlas.images.colors import parse_background
from gatlas.io.films import check_film, has_even_sides
from gatlas.render import RenderOptions, render_film
from gatlas.render.film import FPS


def run_film(source: Input, output: str, options: RenderOptions, *, force: bool) -> dict[str, Any]:
    """Render a film of one splat or mesh."""
    check_outputs(output, options, noun="film", force=force)
    options.check_film()
    transparent = parse_background(options.background or "white") is None
    check_film(output, transparent=transparent, fps=options.fps or FPS)
    subject, options = load_subject(io.as_blob(source), options, "a film")
    path = None if options.path is None else io.load_cameras(options.path)
    film = render_film(subject, options, path, even=has_even_sides(output), report=message)
    with counting_bar("frames", film.length) as count:
        io.save_film(output, film.watched(count), force=force, name=subject.origin.name)
    return {"frames": film.length}
